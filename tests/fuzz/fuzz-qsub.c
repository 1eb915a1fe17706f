/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-qsub.c - any words, cut at NUL, as qsub's command line, and any text behind them as
 * its script: what is submitted has the words in order, and no line that a shell would run. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "batch/torque.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS_MAX 32
#define SITE "VM_CHANNEL=gres\nHOST_IMAGE=true\n"

/* The words that are handed on stand among those that were given, in order. */
static void check_words(const VtQsub *qsub, GPtrArray *given)
{
    guint at = 1;
    for (guint i = 0; i < qsub->words->len; i++) {
        const char *word = qsub->words->pdata[i];
        while (at < given->len && !g_str_has_prefix(given->pdata[at], word))
            at++;
        if (at++ >= given->len)
            abort();
    }
}

static void check_plan(const VtQsub *qsub)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_parse(SITE, strlen(SITE), "fuzz", NULL);
    g_autoptr(VtTorque) torque = vt_torque_new(qsub, settings, &error);
    if (!torque && (!error || strpbrk(error->message, "\n\r\x1b")))
        abort();
    if (torque && (qsub->problem || torque->argv->len < qsub->words->len + 3))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *at = (const char *)data, *end = at + size, *nul;
    g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(argv, g_strdup("vsub"));
    while (argv->len < WORDS_MAX && at < end && (nul = memchr(at, '\0', (gsize)(end - at)))) {
        g_ptr_array_add(argv, g_strdup(at));
        at = nul + 1;
    }
    int argc = (int)argv->len;
    g_ptr_array_add(argv, NULL);
    g_autoptr(VtQsub) qsub = vt_qsub_new(argc, (char *const *)argv->pdata);
    g_ptr_array_set_size(argv, argc);
    check_words(qsub, argv);
    g_autoptr(GPtrArray) directives =
        vt_directives_parse(at, (gsize)(end - at), qsub->prefix, NULL);
    if (directives)
        vt_qsub_add_directives(qsub, directives);
    for (guint i = 0; !qsub->problem && i < qsub->lines->len; i++) {
        const char *line = qsub->lines->pdata[i];
        if (line[0] != '#' || strchr(line, '\n'))
            abort();
    }
    check_plan(qsub);
    return 0;
}
