/* SPDX-License-Identifier: Apache-2.0 */
/* job/words.c - a line cut into words, quoted as a shell quotes; nothing is expanded. */
#include "job/words.h"

#include <string.h>

#include "base/error.h"

/* Appends a quoted piece, at whose opening quote `*text` stands, and moves behind its end. */
static bool take_quoted(const char **text, GString *word, GError **error)
{
    const char *at = *text;
    char quote = *at++;
    for (; *at != quote; at++) {
        if (quote == '"' && *at == '\\' && (at[1] == '"' || at[1] == '\\'))
            at++;
        if (!*at)
            return vt_error_set(error, VT_ERROR_USER, "quote %c is not closed", quote);
        g_string_append_c(word, *at);
    }
    *text = at + 1;
    return true;
}

/* One word, up to a character of `separators`. (transfer full) */
static char *take_word(const char **text, const char *separators, GError **error)
{
    g_autoptr(GString) word = g_string_new(NULL);
    while (**text && !strchr(separators, **text)) {
        if (**text == '\'' || **text == '"') {
            if (!take_quoted(text, word, error))
                return NULL;
            continue;
        }
        if (**text == '\\' && (*text)[1])
            (*text)++;
        g_string_append_c(word, *(*text)++);
    }
    return g_string_free(g_steal_pointer(&word), FALSE);
}

static GStrv split(const char *text, const char *separators, bool comments, GError **error)
{
    g_autoptr(GStrvBuilder) words = g_strv_builder_new();
    for (;;) {
        text += strspn(text, separators);
        if (!*text || (comments && *text == '#'))
            return g_strv_builder_end(words);
        g_autofree char *word = take_word(&text, separators, error);
        if (!word)
            return NULL;
        g_strv_builder_add(words, word);
    }
}

GStrv vt_words_split(const char *text, bool comments, GError **error)
{
    return split(text, " \t\r\n\v\f", comments, error);
}

GStrv vt_words_split_list(const char *text, GError **error)
{
    return split(text, ",", false, error);
}
