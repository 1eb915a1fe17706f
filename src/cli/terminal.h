/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/terminal.h - the user's terminal while a guest's program sits at the other end of it.
 *
 * Theory of operation. Raw, all that is typed is the guest's: its terminal echoes, edits lines and
 * makes signals. How the terminal was is put back by vt_terminal_close(), and, where this process
 * dies before, by a guard: a child in the same process group, which the terminal therefore obeys,
 * that holds nothing but the terminal and a pipe, hears no signal but KILL, and learns of our death
 * by the pipe's end.
 *
 * Runs as: the user.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>
#include <termios.h>

typedef struct {
    int fd; /* borrowed */
    struct termios saved;
    bool is_raw;
    bool is_line_start; /* the next that is typed begins a line */
    bool is_escape;     /* ~ was typed at the begin of a line, and is held back */
    pid_t guard;
    int to_guard;
} VtTerminal;

/* No terminal at all: may be closed. */
#define VT_TERMINAL_NONE                                                                           \
    ((VtTerminal){.fd = -1, .is_line_start = true, .guard = -1, .to_guard = -1})

/* Starts the guard of the terminal `fd`, which stays as it is. VT_ERROR_HOST. */
bool vt_terminal_open(VtTerminal *terminal, int fd, GError **error);

/* Raw from now on. Does nothing in the background, where the terminal is somebody else's. */
void vt_terminal_set_raw(VtTerminal *terminal);

/* As it was. */
void vt_terminal_restore(VtTerminal *terminal);

/* 0, 0 where it does not know. */
void vt_terminal_get_size(const VtTerminal *terminal, guint16 *rows, guint16 *columns);

/* Takes the escapes out of the `size` bytes at `bytes`, which were typed; there is room for one
 * more. Sets `is_left` for `~.` at the begin of a line: the user goes. `~~` is one ~. Returns
 * how many bytes there are now. */
gsize vt_terminal_filter(VtTerminal *terminal, guint8 *bytes, gsize size, bool *is_left);

/* As it was, and without the guard. */
void vt_terminal_close(VtTerminal *terminal);

/* What a stranger's text may show on a terminal: all but line feeds that is not printable ASCII
 * becomes a '?'. */
void vt_terminal_make_printable(char *text, gsize size);
