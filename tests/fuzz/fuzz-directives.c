/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-directives.c - any bytes as a job script. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "job/directive.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) directives = vt_directives_parse(data, size, VT_DIRECTIVE_PREFIX, &error);
    if (!directives) {
        if (!error || strpbrk(error->message, "\n\r\x1b"))
            abort();
        return 0;
    }
    guint last = 0;
    for (guint i = 0; i < directives->len; i++) {
        const VtDirective *directive = directives->pdata[i];
        if (directive->line <= last || !directive->words || strchr(directive->text, '\n'))
            abort();
        last = directive->line;
    }
    return 0;
}
