/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-order.c - any bytes as a hook's order: what is taken is whole and printable. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/job.h"
#include "node/order.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(VtOrderKind kind, const char *text, size_t size)
{
    g_autoptr(GError) error = NULL;
    VtOrder order, none = {0};
    if (!vt_order_parse(&order, kind, text, size, &error)) {
        if (!error || strpbrk(error->message, "\n\r\x1b") ||
            memcmp(&order, &none, sizeof none) != 0)
            abort();
        return;
    }
    if (kind == VT_ORDER_USER) {
        if (strlen(order.key) != 64 || strlen(order.nonce) != 32 || order.id)
            abort();
        vt_order_clear(&order);
        return;
    }
    if (!vt_job_id_is_valid(order.id) || strchr(order.request, '\n'))
        abort();
    if (kind != VT_ORDER_FOLLOW &&
        (!vt_job_name_is_valid(order.name) || !vt_job_path_is_valid(order.work_dir)))
        abort();
    if (kind != VT_ORDER_REGISTRATION && order.cores == 0)
        abort();
    if (order.nodes > VT_NODES_MAX || (order.node > 0 && order.node >= order.nodes))
        abort();
    vt_order_clear(&order);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse(VT_ORDER_START, (const char *)data, size);
    parse(VT_ORDER_REGISTRATION, (const char *)data, size);
    parse(VT_ORDER_FOLLOW, (const char *)data, size);
    parse(VT_ORDER_USER, (const char *)data, size);
    return 0;
}
