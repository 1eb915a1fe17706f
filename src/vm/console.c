/* SPDX-License-Identifier: Apache-2.0 */
/* vm/console.c - a ring of the newest bytes, and its last lines in print. */
#include "vm/console.h"

#include <string.h>

#define LINE_MAX_CHARS 200
#define PANIC "Kernel panic - not syncing: "

struct VtConsole {
    gsize used; /* at most VT_CONSOLE_SIZE */
    gsize next; /* where the next byte goes */
    char bytes[VT_CONSOLE_SIZE];
};

/* Where an escape sequence (ECMA-48) has got to. */
typedef enum { PLAIN, ESCAPE, CONTROL, STRING } Sequence;

VtConsole *vt_console_new(void)
{
    VtConsole *console = g_new(VtConsole, 1);

    /* Pages of the ring that are never used cost nothing. */
    console->used = console->next = 0;
    return console;
}

void vt_console_free(VtConsole *console)
{
    g_free(console);
}

void vt_console_add(VtConsole *console, const void *data, gsize size)
{
    const char *from = data;

    if (size > VT_CONSOLE_SIZE) {
        from += size - VT_CONSOLE_SIZE;
        size = VT_CONSOLE_SIZE;
    }
    console->used = MIN(console->used + size, VT_CONSOLE_SIZE);
    while (size > 0) {
        gsize piece = MIN(size, VT_CONSOLE_SIZE - console->next);
        memcpy(console->bytes + console->next, from, piece);
        console->next = (console->next + piece) % VT_CONSOLE_SIZE;
        from += piece;
        size -= piece;
    }
}

/* The ring's bytes from the oldest to the newest. (transfer full) */
static char *straighten(const VtConsole *console)
{
    char *text = g_malloc(console->used + 1);
    gsize first = (console->next + VT_CONSOLE_SIZE - console->used) % VT_CONSOLE_SIZE;
    gsize before_wrap = MIN(console->used, VT_CONSOLE_SIZE - first);

    memcpy(text, console->bytes + first, before_wrap);
    memcpy(text + before_wrap, console->bytes, console->used - before_wrap);
    text[console->used] = '\0';
    return text;
}

/* Follows escape sequences. True if `c` is text, false if it belongs to one. */
static gboolean step(Sequence *state, char c)
{
    if (c == '\n' || c == 033) { /* a new line ends whatever was begun */
        *state = c == '\n' ? PLAIN : ESCAPE;
        return c == '\n';
    }
    switch (*state) {
    case PLAIN:
        return TRUE;
    case ESCAPE:
        *state = c == '[' ? CONTROL : strchr("]PX^_", c) && c ? STRING : PLAIN;
        return FALSE;
    case CONTROL:
        if (c >= 0x40 && c <= 0x7e)
            *state = PLAIN;
        return FALSE;
    case STRING:
        if (c == '\a')
            *state = PLAIN;
        return FALSE;
    }
    return FALSE;
}

/* All lines in print, at most LINE_MAX_CHARS of each. (transfer full) */
static GPtrArray *printable_lines(const VtConsole *console)
{
    g_autofree char *text = straighten(console);
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GString) line = g_string_new(NULL);
    Sequence state = PLAIN;

    for (gsize i = 0; i <= console->used; i++) {
        char c = i < console->used ? text[i] : '\n';
        if (!step(&state, c) || c == '\r')
            continue;
        if (c != '\n') {
            if (line->len < LINE_MAX_CHARS)
                g_string_append_c(line, g_ascii_isprint(c) ? c : c == '\t' ? ' ' : '?');
            continue;
        }
        if (strspn(line->str, " ") < line->len)
            g_ptr_array_add(lines, g_strdup(line->str));
        g_string_truncate(line, 0);
    }
    return lines;
}

char *vt_console_tail(const VtConsole *console, guint lines, const char *prefix)
{
    g_autoptr(GPtrArray) all = printable_lines(console);
    GString *tail = g_string_new(NULL);

    for (guint i = all->len - MIN(lines, all->len); i < all->len; i++)
        g_string_append_printf(tail, "%s%s\n", prefix, (const char *)g_ptr_array_index(all, i));
    return g_string_free(tail, FALSE);
}

char *vt_console_find_panic(const VtConsole *console)
{
    g_autofree char *text = straighten(console);
    const char *panic = memmem(text, console->used, PANIC, strlen(PANIC));

    if (!panic)
        return NULL;
    panic += strlen(PANIC);
    char *why = g_strndup(panic, MIN(strcspn(panic, "\r\n"), LINE_MAX_CHARS));
    for (char *at = why; *at; at++)
        if (!g_ascii_isprint(*at))
            *at = '?';
    return why;
}
