/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/directive.c - the #PBS lines of a job script, found as Torque's qsub finds them.
 *
 * Trusts: nothing; the script is any bytes, and is not changed.
 */
#include "job/directive.h"

#include <string.h>

#include "base/error.h"
#include "job/words.h"

typedef struct {
    const char *at, *end;
    guint line; /* number of the line that take_line() gave last */
} Lines;

typedef struct {
    const char *text;
    gsize size; /* without its end of line */
} Line;

static bool take_line(Lines *lines, Line *line)
{
    if (lines->at == lines->end)
        return false;
    gsize left = (gsize)(lines->end - lines->at);
    const char *newline = memchr(lines->at, '\n', left);
    line->text = lines->at;
    line->size = newline ? (gsize)(newline - lines->at) : left;
    lines->at += line->size + (newline != NULL);
    lines->line++;
    if (line->size > 0 && line->text[line->size - 1] == '\r')
        line->size--;
    return true;
}

static gsize count_blanks(const Line *line)
{
    gsize n = 0;
    while (n < line->size && g_ascii_isspace(line->text[n]))
        n++;
    return n;
}

/* Sets `rest` to what follows the prefix. */
static bool is_directive(const Line *line, const char *prefix, Line *rest)
{
    gsize blanks = count_blanks(line), length = strlen(prefix);
    if (length == 0 || line->size - blanks < length ||
        memcmp(line->text + blanks, prefix, length) != 0)
        return false;
    rest->text = line->text + blanks + length;
    rest->size = line->size - blanks - length;
    return true;
}

static bool is_command(const Line *line)
{
    if (line->size > 0 && line->text[0] == ':')
        return false;
    gsize blanks = count_blanks(line);
    return blanks < line->size && line->text[blanks] != '#';
}

/* `first` and the lines that continue it, as one text. (transfer full) */
static char *join_lines(Lines *lines, Line first, guint number, GError **error)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (Line line = first;;) {
        if (text->len + line.size > VT_DIRECTIVE_MAX) {
            vt_error_set(error, VT_ERROR_USER, "script line %u: directive is longer than %d bytes",
                         number, VT_DIRECTIVE_MAX);
            return NULL;
        }
        bool more = line.size > 0 && line.text[line.size - 1] == '\\';
        g_string_append_len(text, line.text, (gssize)(line.size - more));
        if (!more)
            break;
        if (!take_line(lines, &line)) {
            vt_error_set(error, VT_ERROR_USER,
                         "script line %u: directive goes on (\\) past the script's end", number);
            return NULL;
        }
    }
    if (strlen(text->str) != text->len) {
        vt_error_set(error, VT_ERROR_USER, "script line %u: directive has a NUL byte", number);
        return NULL;
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static void directive_free(gpointer data)
{
    VtDirective *directive = data;
    g_strfreev(directive->words);
    g_free(directive->text);
    g_free(directive);
}

static VtDirective *read_directive(Lines *lines, Line rest, GError **error)
{
    guint number = lines->line;
    g_autofree char *text = join_lines(lines, rest, number, error);
    if (!text)
        return NULL;
    GStrv words = vt_words_split(text, true, error);
    if (!words) {
        g_prefix_error(error, "script line %u: ", number);
        return NULL;
    }
    VtDirective *directive = g_new0(VtDirective, 1);
    directive->line = number;
    directive->text = g_steal_pointer(&text);
    directive->words = words;
    return directive;
}

GPtrArray *vt_directives_parse(const void *script, gsize size, const char *prefix, GError **error)
{
    g_autoptr(GPtrArray) directives = g_ptr_array_new_with_free_func(directive_free);
    Lines lines = {.at = script, .end = (const char *)script + size};
    Line line, rest;
    while (take_line(&lines, &line)) {
        if (is_directive(&line, prefix, &rest)) {
            VtDirective *directive = read_directive(&lines, rest, error);
            if (!directive)
                return NULL;
            g_ptr_array_add(directives, directive);
        } else if (is_command(&line)) {
            break;
        }
    }
    return g_steal_pointer(&directives);
}
