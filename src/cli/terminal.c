/* SPDX-License-Identifier: Apache-2.0 */
/* cli/terminal.c - the user's terminal, raw, and put back whatever happens. */
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

/* What the guard is told. */
#define RAW 'r'
#define AS_IT_WAS 'w'

#define GUARD_PIPE 3
#define GUARD_TERMINAL 4

/* The child. Another's descriptors would keep pipes and connections open that end with our
 * death. */
static _Noreturn void be_guard(int pipe, int terminal, const struct termios *saved)
{
    char newest = AS_IT_WAS, byte;
    ssize_t n;
    int lifted_pipe = fcntl(pipe, F_DUPFD, 16), lifted_terminal = fcntl(terminal, F_DUPFD, 16);
    if (dup2(lifted_pipe, GUARD_PIPE) < 0 || dup2(lifted_terminal, GUARD_TERMINAL) < 0)
        _exit(VT_EXIT_FAILED);
    for (int fd = 0; fd < GUARD_PIPE; fd++)
        close(fd);
    syscall(SYS_close_range, GUARD_TERMINAL + 1, ~0u, 0);
    while ((n = read(GUARD_PIPE, &byte, 1)) == 1 || (n < 0 && errno == EINTR))
        newest = n == 1 ? byte : newest;
    if (newest == RAW)
        tcsetattr(GUARD_TERMINAL, TCSANOW, saved);
    _exit(0);
}

bool vt_terminal_open(VtTerminal *terminal, int fd, GError **error)
{
    sigset_t all, old;
    int both[2];
    *terminal = VT_TERMINAL_NONE;
    terminal->fd = fd;
    if (tcgetattr(fd, &terminal->saved) < 0 || pipe2(both, O_CLOEXEC) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot use the terminal");
    /* It hears nothing from birth on. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &old);
    terminal->guard = fork();
    if (terminal->guard == 0)
        be_guard(both[0], fd, &terminal->saved);
    int errnum = errno;
    sigprocmask(SIG_SETMASK, &old, NULL);
    close(both[0]);
    terminal->to_guard = both[1];
    if (terminal->guard > 0)
        return true;
    vt_fd_clear(&terminal->to_guard);
    return vt_error_set_errno(error, VT_ERROR_HOST, errnum, "cannot start the terminal's guard");
}

/* A guard that somebody killed is no reason to stop; PIPE is ignored where terminals are used. */
static void tell(const VtTerminal *terminal, char what)
{
    while (write(terminal->to_guard, &what, 1) < 0 && errno == EINTR)
        ;
}

/* In the background the kernel stops whoever sets a terminal, unless TTOU is blocked. */
static void set(const VtTerminal *terminal, const struct termios *how)
{
    sigset_t output, old;
    sigemptyset(&output);
    sigaddset(&output, SIGTTOU);
    sigprocmask(SIG_BLOCK, &output, &old);
    tcsetattr(terminal->fd, TCSADRAIN, how);
    sigprocmask(SIG_SETMASK, &old, NULL);
}

void vt_terminal_set_raw(VtTerminal *terminal)
{
    struct termios raw = terminal->saved;
    if (tcgetpgrp(terminal->fd) != getpgrp())
        return;
    cfmakeraw(&raw);
    /* First: we may die between the two. */
    tell(terminal, RAW);
    set(terminal, &raw);
    terminal->is_raw = true;
}

void vt_terminal_restore(VtTerminal *terminal)
{
    if (!terminal->is_raw)
        return;
    set(terminal, &terminal->saved);
    tell(terminal, AS_IT_WAS);
    terminal->is_raw = false;
}

void vt_terminal_get_size(const VtTerminal *terminal, guint16 *rows, guint16 *columns)
{
    struct winsize size = {0};
    ioctl(terminal->fd, TIOCGWINSZ, &size);
    *rows = size.ws_row;
    *columns = size.ws_col;
}

gsize vt_terminal_filter(VtTerminal *terminal, guint8 *bytes, gsize size, bool *is_left)
{
    g_autofree guint8 *typed = g_memdup2(bytes, size);
    gsize n = 0;
    for (gsize i = 0; i < size && !*is_left; i++) {
        guint8 c = typed[i];
        bool was_escape = terminal->is_escape;
        terminal->is_escape = !was_escape && terminal->is_line_start && c == '~';
        terminal->is_line_start = c == '\r' || c == '\n';
        *is_left = was_escape && c == '.';
        if (*is_left || terminal->is_escape)
            continue;
        if (was_escape && c != '~')
            bytes[n++] = '~';
        bytes[n++] = c;
    }
    return n;
}

void vt_terminal_close(VtTerminal *terminal)
{
    vt_terminal_restore(terminal);
    vt_fd_clear(&terminal->to_guard);
    while (terminal->guard > 0 && waitpid(terminal->guard, NULL, 0) < 0 && errno == EINTR)
        ;
    terminal->guard = -1;
}

void vt_terminal_make_printable(char *text, gsize size)
{
    for (gsize i = 0; i < size; i++)
        if (!g_ascii_isprint(text[i]) && text[i] != '\n')
            text[i] = '?';
}
