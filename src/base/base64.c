/* SPDX-License-Identifier: Apache-2.0 */
/* base/base64.c - bytes as one word. */
#include "base/base64.h"

#include <string.h>

#define ALPHABET G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_"

char *vt_base64_encode(const void *data, gsize size)
{
    char *word = g_base64_encode(data, size);
    word[strcspn(word, "=")] = '\0';
    g_strdelimit(word, "+", '-');
    return g_strdelimit(word, "/", '_');
}

GBytes *vt_base64_decode(const char *word)
{
    gsize length = strlen(word), size = 0;
    if (strspn(word, ALPHABET) != length || length % 4 == 1)
        return NULL;
    g_autofree char *padded = g_strconcat(word, &"==="[length % 4 ? length % 4 - 1 : 3], NULL);
    g_strdelimit(padded, "-", '+');
    g_strdelimit(padded, "_", '/');
    guchar *data = g_malloc(length + 1);
    gint state = 0;
    guint save = 0;
    size = g_base64_decode_step(padded, strlen(padded), data, &state, &save);
    data[size] = '\0';
    g_autoptr(GBytes) bytes = g_bytes_new_take(data, size);
    /* Two words for the same bytes would be two names of one thing. */
    g_autofree char *again = vt_base64_encode(data, size);
    return strcmp(again, word) == 0 ? g_steal_pointer(&bytes) : NULL;
}
