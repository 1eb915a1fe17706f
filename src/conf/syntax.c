/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf/syntax.c - the text of a settings file, one assignment after the other.
 *
 * Trusts: nothing. `at` never passes `end`; a NUL in the text is an error like any other control
 * character.
 */
#include "conf/syntax.h"

#include <string.h>

#include "base/error.h"

#define KEY_CHARS G_CSET_A_2_Z G_CSET_DIGITS "_"
#define END (-1) /* what peek() says behind the last byte */

VtSyntax vt_syntax(const char *text, gsize size, const char *file)
{
    return (VtSyntax){.at = text, .end = text + size, .file = file, .line = 1};
}

void vt_assignment_free(VtAssignment *assignment)
{
    if (!assignment)
        return;
    g_free(assignment->key);
    g_ptr_array_unref(assignment->words);
    g_free(assignment);
}

static bool fail(const VtSyntax *syntax, GError **error, const char *message)
{
    return vt_error_set(error, VT_ERROR_CONFIG, "%s:%u: %s", syntax->file, syntax->line, message);
}

static int peek(const VtSyntax *syntax)
{
    return syntax->at < syntax->end ? (guchar)*syntax->at : END;
}

static int take(VtSyntax *syntax)
{
    int c = peek(syntax);
    if (c != END)
        syntax->at++;
    if (c == '\n')
        syntax->line++;
    return c;
}

/* Files that were written elsewhere end their lines in CR LF. */
static bool is_blank(int c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Skips blanks and a comment; line ends too if `lines`. */
static void skip(VtSyntax *syntax, bool lines)
{
    for (;;) {
        int c = peek(syntax);
        if (c == '#')
            while (peek(syntax) != '\n' && peek(syntax) != END)
                take(syntax);
        else if (is_blank(c) || (lines && c == '\n'))
            take(syntax);
        else
            return;
    }
}

static bool take_single_quoted(VtSyntax *syntax, GString *word, GError **error)
{
    guint line = syntax->line;
    for (;;) {
        int c = take(syntax);
        if (c == '\'')
            return true;
        if (c == END || c == 0) {
            syntax->line = line;
            return fail(syntax, error, "quote ' is not closed");
        }
        g_string_append_c(word, (char)c);
    }
}

static bool take_double_quoted(VtSyntax *syntax, GString *word, GError **error)
{
    guint line = syntax->line;
    for (;;) {
        int c = take(syntax);
        if (c == '"')
            return true;
        if (c == '\\' && peek(syntax) != END && strchr("\"\\$`", peek(syntax)) && peek(syntax))
            c = take(syntax);
        if (c == END || c == 0) {
            syntax->line = line;
            return fail(syntax, error, "quote \" is not closed");
        }
        g_string_append_c(word, (char)c);
    }
}

static bool ends_word(int c)
{
    return c == END || c == '\n' || is_blank(c) || c == '(' || c == ')';
}

/* One word, at whose first character `syntax` stands. (transfer full) */
static char *take_word(VtSyntax *syntax, GError **error)
{
    g_autoptr(GString) word = g_string_new(NULL);
    while (!ends_word(peek(syntax))) {
        int c = take(syntax);
        bool ok = true;
        if (c == '\'')
            ok = take_single_quoted(syntax, word, error);
        else if (c == '"')
            ok = take_double_quoted(syntax, word, error);
        else if (c == '\\' && peek(syntax) > ' ')
            g_string_append_c(word, (char)take(syntax));
        else if (c < ' ' || strchr(";&|<>`\\", c))
            ok = fail(syntax, error, "this character must be quoted: ; & | < > ` \\ and controls");
        else
            g_string_append_c(word, (char)c);
        if (!ok)
            return NULL;
    }
    return g_string_free(g_steal_pointer(&word), FALSE);
}

static bool take_list(VtSyntax *syntax, GPtrArray *words, GError **error)
{
    guint line = syntax->line;
    take(syntax); /* the ( */
    for (;;) {
        skip(syntax, true);
        int c = peek(syntax);
        if (c == ')') {
            take(syntax);
            return true;
        }
        if (c == END || c == '(') {
            syntax->line = line;
            return fail(syntax, error, "list ( is not closed");
        }
        char *word = take_word(syntax, error);
        if (!word)
            return false;
        g_ptr_array_add(words, word);
    }
}

static char *take_key(VtSyntax *syntax, GError **error)
{
    const char *start = syntax->at;
    while (peek(syntax) > 0 && strchr(KEY_CHARS, peek(syntax)))
        take(syntax);
    if (syntax->at == start || peek(syntax) != '=') {
        fail(syntax, error, "must be KEY=VALUE, with no blank before or after the =");
        return NULL;
    }
    char *key = g_strndup(start, (gsize)(syntax->at - start));
    take(syntax); /* the = */
    return key;
}

static bool take_value(VtSyntax *syntax, VtAssignment *assignment, GError **error)
{
    assignment->is_list = peek(syntax) == '(';
    if (assignment->is_list) {
        if (!take_list(syntax, assignment->words, error))
            return false;
    } else {
        char *word = take_word(syntax, error);
        if (!word)
            return false;
        g_ptr_array_add(assignment->words, word);
    }
    skip(syntax, false);
    int c = peek(syntax);
    if (c != '\n' && c != END)
        return fail(syntax, error, "text behind the value: quote a value that has blanks");
    return true;
}

VtAssignment *vt_syntax_next(VtSyntax *syntax, GError **error)
{
    skip(syntax, true);
    if (peek(syntax) == END)
        return NULL;
    g_autoptr(VtAssignment) assignment = g_new0(VtAssignment, 1);
    assignment->words = g_ptr_array_new_with_free_func(g_free);
    assignment->line = syntax->line;
    assignment->key = take_key(syntax, error);
    if (!assignment->key || !take_value(syntax, assignment, error))
        return NULL;
    return g_steal_pointer(&assignment);
}
