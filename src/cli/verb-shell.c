/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-shell.c - vmgr shell and vmgr console. */
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/session.h"
#include "cli/vmgr.h"
#include "ctl/control.h"

#define ASK_TIMEOUT_MS 5000

static gboolean is_once, is_followed;

static const GOptionEntry no_options[] = {G_OPTION_ENTRY_NULL};

static const GOptionEntry console_options[] = {
    {"once", 0, 0, G_OPTION_ARG_NONE, &is_once, "what it has said so far, and no more", NULL},
    {"follow", 0, 0, G_OPTION_ARG_NONE, &is_followed, "what it will say too, until the job ends",
     NULL},
    G_OPTION_ENTRY_NULL,
};

static bool open_terminal(VtAttachment *what, VtTerminal *terminal, GError **error)
{
    *terminal = VT_TERMINAL_NONE;
    if (!vt_session_has_terminal())
        return true;
    what->terminal = terminal;
    return vt_terminal_open(terminal, STDIN_FILENO, error);
}

/* Words of the command are no options of ours. */
static char **take_command(int *argc, char **argv)
{
    int at = 1;
    while (at < *argc && argv[at][0] == '-' && strcmp(argv[at], "--") != 0)
        at++;
    int rest = at + 1;
    if (rest >= *argc)
        return NULL;
    *argc = rest;
    return argv + rest + (strcmp(argv[rest], "--") == 0);
}

bool vt_verb_shell(int argc, char **argv, int *status, GError **error)
{
    char **words = take_command(&argc, argv);
    guint8 machine = 0;
    VtTerminal terminal;
    VtAttachment what = {.input = STDIN_FILENO, .output = STDOUT_FILENO, .errors = STDERR_FILENO};
    if (!vt_verb_parse(&argc, &argv, no_options, VT_VERB_SHELL_USAGE, 1, 1, error))
        return false;
    g_autoptr(VtLiveJob) live = vt_jobs_find_machine(argv[1], &machine, error);
    if (!live || !open_terminal(&what, &terminal, error))
        return false;
    *status = vt_session_shell(live, machine, words, &what, error);
    vt_terminal_close(&terminal);
    return *status >= 0;
}

/* Where nobody types, what is at standard input is not the guest's. */
static bool follow(int fd, int *status, GError **error)
{
    static const char *const words[] = {"console", NULL};
    VtTerminal terminal;
    VtAttachment what = {.cwd = "/",
                         .program = "/",
                         .argv = words,
                         .input = -1,
                         .output = STDOUT_FILENO,
                         .errors = STDERR_FILENO};
    vt_autofd connection = fd;
    if (!open_terminal(&what, &terminal, error))
        return false;
    if (what.terminal)
        what.input = STDIN_FILENO;
    *status = vt_session_attach(&what, vt_fd_steal(&connection));
    return true;
}

bool vt_verb_console(int argc, char **argv, int *status, GError **error)
{
    guint8 machine = 0;
    if (!vt_verb_parse(&argc, &argv, console_options, VT_VERB_CONSOLE_USAGE, 1, 1, error))
        return false;
    if (is_once && is_followed)
        return vt_error_set(error, VT_ERROR_USER, "usage: vmgr console " VT_VERB_CONSOLE_USAGE);
    guint8 follows = is_followed || (!is_once && vt_session_has_terminal());
    g_autoptr(VtLiveJob) job = vt_jobs_find_machine(argv[1], &machine, error);
    vt_autofd fd = job ? vt_jobs_connect(job, error) : -1;
    g_autofree char *text = fd < 0 ? NULL
                                   : vt_jobs_ask_on(fd, job, CTL_CONSOLE, machine, &follows,
                                                    sizeof follows, ASK_TIMEOUT_MS, error);
    if (!text)
        return false;
    vt_terminal_make_printable(text, strlen(text));
    g_print("%s", text);
    if (follows && vt_session_has_terminal())
        g_printerr("vmgr: note: what you type is the guest's; ~. after Enter leaves\n");
    return !follows || follow(vt_fd_steal(&fd), status, error);
}
