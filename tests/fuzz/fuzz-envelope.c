/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-envelope.c - any bytes as a job's stored script, and as the script in an
 * envelope, which must come out as it went in. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_any(const uint8_t *data, size_t size)
{
    VtEnvelope found, zero = {0};
    g_autoptr(GError) error = NULL;
    if (!vt_envelope_open(&found, data, size, &error)) {
        if (!error || memcmp(&found, &zero, sizeof zero) != 0)
            abort();
        return;
    }
    if (found.script && (g_bytes_get_size(found.script) != found.bytes ||
                         !vt_envelope_check(&found, found.script, NULL)))
        abort();
    if (!found.script == !found.file)
        abort();
    vt_envelope_clear(&found);
}

static void there_and_back(const uint8_t *data, size_t size)
{
    g_autoptr(GBytes) script = g_bytes_new(data, size);
    g_autoptr(GPtrArray) lines = g_ptr_array_new();
    const VtEnvelopeParts parts = {script, lines, "/x/vtorque-run", "/bin/sh", NULL};
    g_autoptr(GBytes) envelope = vt_envelope_new(&parts, NULL);
    gsize stored;
    const void *text = g_bytes_get_data(envelope, &stored);
    VtEnvelope found;
    if (!vt_envelope_open(&found, text, stored, NULL) || !g_bytes_equal(found.script, script))
        abort();
    vt_envelope_clear(&found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    open_any(data, size);
    there_and_back(data, size);
    return 0;
}
