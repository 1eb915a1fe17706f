/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-switch.c - the switch of a job's network. */
#include "net/switch.h"

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORTS 3
#define ALL "\xff\xff\xff\xff\xff\xff"
#define A "\2\0\0\0\0\1"
#define B "\2\0\0\0\0\2"

/* Frames one after the other, and where each goes: -1 to all others, its own port to nobody. */
static void test_route(void)
{
    static const struct {
        const char *frame;
        gsize size;
        guint port;
        int to;
    } rows[] = {
        {ALL A "\x08\0", 14, 0, -1},
        {A B "\x08\0", 14, 1, 0},
        {B A "\x08\0", 14, 0, 1},
        {A B "\x08\0", 13, 1, 1},   /* too short */
        {B ALL "\x08\0", 14, 2, 1}, /* no sender is a group */
        {ALL A "\x08\0", 14, 2, -1},
        {A B "\x08\0", 14, 1, 2},               /* A has moved */
        {"\2\0\0\0\0\7" A "\x08\0", 14, 2, -1}, /* never heard of */
    };
    VtSwitchTable table = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("frame %zu", i);
        g_assert_cmpint(
            vt_switch_route(&table, (const guint8 *)rows[i].frame, rows[i].size, rows[i].port), ==,
            rows[i].to);
    }
}

static bool is_heard(int fd, const char *frame, int timeout_ms)
{
    char bytes[64];
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, timeout_ms) == 1 && recv(fd, bytes, sizeof bytes, 0) == 14 &&
           memcmp(bytes, frame, 14) == 0;
}

/* A frame to all reaches all but its sender; the answer the one alone; a port that is gone ends
 * nothing. */
static void test_run(void)
{
    int ours[PORTS], theirs[PORTS], pair[2];
    for (guint i = 0; i < PORTS; i++) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), ==, 0);
        ours[i] = pair[0];
        theirs[i] = pair[1];
    }
    pid_t pid = fork();
    if (pid == 0) {
        vt_switch_run(theirs, PORTS);
        _exit(0);
    }
    g_assert_cmpint(send(ours[0], ALL A "\x08\0", 14, 0), ==, 14);
    g_assert_true(is_heard(ours[1], ALL A "\x08\0", 60000));
    g_assert_true(is_heard(ours[2], ALL A "\x08\0", 60000));
    g_assert_cmpint(send(ours[1], A B "\x08\0", 14, 0), ==, 14);
    g_assert_true(is_heard(ours[0], A B "\x08\0", 60000));
    g_assert_false(is_heard(ours[2], A B "\x08\0", 0));
    close(ours[2]);
    g_assert_cmpint(send(ours[0], B A "\x08\0", 14, 0), ==, 14);
    g_assert_true(is_heard(ours[1], B A "\x08\0", 60000));
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/switch/route", test_route);
    g_test_add_func("/switch/run", test_run);
    return g_test_run();
}
