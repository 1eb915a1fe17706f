/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-terminal.c - escapes in what is typed, and a terminal that is put back. */
#include "cli/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 60

/* What is typed, in pieces (`|`), what reaches the guest, and whether the user goes. */
static const struct {
    const char *typed, *passed;
    bool is_left;
} rows[] = {
    {"ls\r", "ls\r", false},
    {"~.", "", true},
    {"ls\r~.more", "ls\r", true},
    {"ls\n|~|.", "ls\n", true},
    {"a~.", "a~.", false},
    {"~~", "~", false},
    {"~~.", "~.", false},
    {"~", "", false},
    {"~|x~.", "~x~.", false},
    {"~\r~.", "~\r", true},
    {"\r~~|~.\r", "\r~~.\r", false},
};

static void test_filter(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtTerminal terminal = VT_TERMINAL_NONE;
        g_autoptr(GString) passed = g_string_new(NULL);
        g_auto(GStrv) pieces = g_strsplit(rows[i].typed, "|", -1);
        bool is_left = false;
        for (char **piece = pieces; *piece; piece++) {
            guint8 bytes[32];
            gsize size = strlen(*piece);
            memcpy(bytes, *piece, size);
            size = vt_terminal_filter(&terminal, bytes, size, &is_left);
            g_string_append_len(passed, (const char *)bytes, (gssize)size);
        }
        g_test_message("%s", rows[i].typed);
        g_assert_cmpstr(passed->str, ==, rows[i].passed);
        g_assert_cmpint(is_left, ==, rows[i].is_left);
    }
}

/* A child whose own terminal it is, and what that is like after `act`. */
static void check_terminal(void (*act)(VtTerminal *terminal), int wait_status)
{
    struct termios before = {0}, after = {0};
    int status, master = posix_openpt(O_RDWR | O_NOCTTY);
    g_assert_cmpint(grantpt(master), ==, 0);
    g_assert_cmpint(unlockpt(master), ==, 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    g_assert_cmpint(tcgetattr(slave, &before), ==, 0);
    pid_t leader = fork();
    if (leader == 0) {
        /* The session's leader lives on: its end would hang the terminal up. */
        setsid();
        alarm(PATIENCE_S);
        ioctl(slave, TIOCSCTTY, 0);
        pid_t user = fork();
        if (user == 0) {
            VtTerminal terminal;
            if (!vt_terminal_open(&terminal, slave, NULL))
                _exit(9);
            vt_terminal_set_raw(&terminal);
            act(&terminal);
            _exit(0);
        }
        waitpid(user, &status, 0);
        while (tcgetattr(slave, &after) == 0 && memcmp(&before, &after, sizeof before) != 0)
            usleep(1000);
        _exit(status == wait_status ? 0 : 1);
    }
    g_assert_cmpint(waitpid(leader, &status, 0), ==, leader);
    g_assert_cmpint(status, ==, 0);
    close(slave);
    close(master);
}

static void close_it(VtTerminal *terminal)
{
    struct termios raw;
    if (tcgetattr(terminal->fd, &raw) < 0 || raw.c_lflag & (ICANON | ECHO | ISIG))
        _exit(8);
    vt_terminal_close(terminal);
}

static void die(VtTerminal *terminal)
{
    raise(SIGKILL);
}

static void be_interrupted(VtTerminal *terminal)
{
    /* All at the terminal get it; the guard hears none but KILL. */
    signal(SIGTERM, SIG_DFL);
    kill(terminal->guard, SIGTERM);
    kill(terminal->guard, SIGINT);
    kill(terminal->guard, SIGHUP);
    raise(SIGKILL);
}

static void test_close(void)
{
    check_terminal(close_it, 0);
}

static void test_killed(void)
{
    check_terminal(die, SIGKILL);
}

static void test_guard(void)
{
    check_terminal(be_interrupted, SIGKILL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/terminal/filter", test_filter);
    g_test_add_func("/terminal/close", test_close);
    g_test_add_func("/terminal/killed", test_killed);
    g_test_add_func("/terminal/guard", test_guard);
    return g_test_run();
}
