/* SPDX-License-Identifier: Apache-2.0 */
/* tests/fuzz/fuzz-word.c - any bytes as a request's word, and as the text inside of one; what is
 * taken must come out as a word that says the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base64.h"
#include "job/word.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *word)
{
    g_autoptr(GError) error = NULL;
    VtRequest request = {0}, again = {0}, none = {0};
    if (!vt_word_parse(&request, word, "fuzz", &error)) {
        if (!error || strpbrk(error->message, "\n\r\x1b") ||
            memcmp(&request, &none, sizeof none) != 0)
            abort();
        return;
    }
    g_autofree char *ours = vt_word_format(&request, &none, NULL);
    if (!ours || strlen(ours) > VT_WORD_MAX || !vt_word_parse(&again, ours, "fuzz", NULL))
        abort();
    for (guint key = 0; key < VT_REQUEST_KEYS; key++)
        if (request.items[key].number != again.items[key].number ||
            g_strcmp0(request.items[key].text, again.items[key].text) != 0)
            abort();
    vt_request_clear(&request);
    vt_request_clear(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autofree char *text = g_strndup((const char *)data, size);
    g_autofree char *code = vt_base64_encode(data, size);
    g_autofree char *word = g_strconcat(VT_WORD_PREFIX, code, NULL);
    check(text);
    check(word);
    return 0;
}
