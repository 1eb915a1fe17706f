/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-record.c - any bytes as an image's record; what is taken keeps to its limits. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/record.h"

#define NAME "demo"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtRecord) record = vt_record_parse((const char *)data, size, NAME, &error);
    if (!record) {
        if (!error || strpbrk(error->message, "\n\r\x1b"))
            abort();
        return 0;
    }
    if (strcmp(record->name, NAME) != 0 || !vt_record_digest_is_valid(record->digest) ||
        record->size == 0 || record->size % 512 != 0 || !record->kernel != !record->initramfs ||
        (record->kernel && !vt_record_digest_is_valid(record->kernel)) ||
        (record->initramfs && !vt_record_digest_is_valid(record->initramfs)) ||
        strpbrk(record->root, " =,\n") || strpbrk(record->description, "\n\r\x1b") ||
        (!record->has_init[VT_INIT_AGENT] && !record->has_init[VT_INIT_SYSTEM]))
        abort();
    return 0;
}
