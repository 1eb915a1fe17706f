/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/word.c - a request as one opaque word.
 *
 * Reads from: the user. Trusts: nothing.
 */
#include "job/word.h"

#include <string.h>

#include "base/base64.h"
#include "base/error.h"

#define VERSION_LINE "v=1\n"
#define REQUEST_KEY "vm="

char *vt_word_format(const VtRequest *option, const VtRequest *directive, GError **error)
{
    g_autofree char *pairs = vt_request_format(option, directive);
    g_autofree char *text =
        *pairs ? g_strconcat(VERSION_LINE REQUEST_KEY, pairs, "\n", NULL) : g_strdup(VERSION_LINE);
    if (strlen(text) > VT_WORD_TEXT_MAX) {
        vt_error_set(error, VT_ERROR_USER, "the request is longer than %d bytes", VT_WORD_TEXT_MAX);
        return NULL;
    }
    g_autofree char *word = vt_base64_encode(text, strlen(text));
    return g_strconcat(VT_WORD_PREFIX, word, NULL);
}

static bool refuse(const char *origin, const char *why, GError **error)
{
    return vt_error_set(error, VT_ERROR_USER, "%s: %s", origin, why);
}

/* The text of `word`, of whole lines and without a NUL. (transfer full) */
static char *open_word(const char *word, const char *origin, GError **error)
{
    if (strlen(word) > VT_WORD_MAX) {
        refuse(origin, "the request's word is too long", error);
        return NULL;
    }
    g_autoptr(GBytes) bytes = g_str_has_prefix(word, VT_WORD_PREFIX)
                                  ? vt_base64_decode(word + strlen(VT_WORD_PREFIX))
                                  : NULL;
    gsize size = 0;
    const char *text = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (size == 0 || size > VT_WORD_TEXT_MAX || strlen(text) != size || text[size - 1] != '\n') {
        refuse(origin, "not a request's word", error);
        return NULL;
    }
    return g_strdup(text);
}

/* What stands behind the version: nothing, or the one line vm=. Cuts off its line feed. */
static bool read_lines(VtRequest *request, char *lines, const char *origin, GError **error)
{
    if (!*lines)
        return true;
    char *end = strchr(lines, '\n');
    if (!g_str_has_prefix(lines, REQUEST_KEY) || end[1])
        return refuse(origin, "the request's word has lines that version 1 does not have", error);
    *end = '\0';
    return vt_request_parse(request, lines + strlen(REQUEST_KEY), origin, error);
}

bool vt_word_parse(VtRequest *request, const char *word, const char *origin, GError **error)
{
    g_autofree char *text = open_word(word, origin, error);
    if (!text)
        return false;
    if (!g_str_has_prefix(text, VERSION_LINE))
        return refuse(origin, "the request's word is of a version that is not known here", error);
    if (read_lines(request, text + strlen(VERSION_LINE), origin, error))
        return true;
    vt_request_clear(request);
    return false;
}
