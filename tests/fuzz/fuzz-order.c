/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-order.c - any bytes as a hook's order: what is taken is whole and printable. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/job.h"
#include "node/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    VtOrder order, none = {0};
    if (!vt_order_parse(&order, (const char *)data, size, &error)) {
        if (!error || strpbrk(error->message, "\n\r\x1b") ||
            memcmp(&order, &none, sizeof none) != 0)
            abort();
        return 0;
    }
    if (!vt_job_id_is_valid(order.id) || !vt_job_name_is_valid(order.name) || order.cores == 0 ||
        !vt_job_path_is_valid(order.work_dir) || strchr(order.request, '\n'))
        abort();
    vt_order_clear(&order);
    return 0;
}
