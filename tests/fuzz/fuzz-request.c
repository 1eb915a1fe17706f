/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-request.c - any text behind -vm; what is taken must resolve within its limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/request.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void resolve(const VtRequest *request)
{
    static const VtAllocation allocation = {2, 2048, 4, 8192, false, false};
    VtRequest none = {0};
    VtShape shape = {0};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(VtSettings) settings = vt_settings_parse("", 0, "none", NULL);
    if (vt_request_resolve(request, &none, settings, &allocation, &shape, notes, NULL) &&
        (shape.ram_mib < VT_RAM_MIB_MIN || shape.ram_mib > allocation.host_memory_mib ||
         shape.vcpus < 1 || shape.vcpus > VT_VCPUS_MAX || shape.boot_timeout_s < 1))
        abort();
    vt_shape_clear(&shape);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autoptr(GError) error = NULL;
    VtRequest request = {0};
    if (vt_request_parse(&request, text, "fuzz", &error))
        resolve(&request);
    else if (!error || strpbrk(error->message, "\n\r\x1b"))
        abort();
    vt_request_clear(&request);
    return 0;
}
