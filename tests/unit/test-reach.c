/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-reach.c - bytes through two pumps and TLS, and the ends of the sockets. */
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hex.h"
#include "reach/call.h"
#include "reach/pump.h"

#define DIGITS "00112233445566778899aabbccddeeff"
#define SIZE (3u * 1024 * 1024)

/* A pump in a child between `far` and `near`, with those first bytes. */
static pid_t start(int far, int near, bool is_server, const char *digits, const char *first)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    guint8 key[VT_SECURE_KEY_SIZE];
    alarm(60);
    vt_hex_parse(digits, key, VT_SECURE_KEY_SIZE);
    g_unix_set_fd_nonblocking(far, TRUE, NULL);
    g_unix_set_fd_nonblocking(near, TRUE, NULL);
    for (int fd = 3; fd < 32; fd++)
        if (fd != far && fd != near)
            close(fd);
    VtPump pump = {.far = far, .near = near, .secure = vt_secure_new(far, is_server, key)};
    pump.first_size = strlen(first);
    memcpy(pump.first, first, pump.first_size);
    vt_pump_run(&pump);
    _exit(0);
}

typedef struct {
    int client, server; /* this test's, beyond the two pumps */
    pid_t pids[2];
} Way;

static Way way_new(const char *digits, const char *first)
{
    int middle[2], left[2], right[2];
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, middle));
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, left));
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, right));
    Way way = {.client = left[0], .server = right[0]};
    way.pids[0] = start(middle[0], left[1], false, DIGITS DIGITS, "");
    way.pids[1] = start(middle[1], right[1], true, digits, first);
    const int theirs[] = {middle[0], middle[1], left[1], right[1]};
    for (gsize i = 0; i < G_N_ELEMENTS(theirs); i++)
        close(theirs[i]);
    return way;
}

/* Both pumps end by themselves. */
static void way_end(const Way *way)
{
    for (int i = 0; i < 2; i++) {
        int status = -1;
        g_assert_cmpint(waitpid(way->pids[i], &status, 0), ==, way->pids[i]);
        g_assert_cmpint(status, ==, 0);
    }
    close(way->client);
    close(way->server);
}

static gpointer write_all(gpointer data)
{
    const int fd = GPOINTER_TO_INT(data);
    for (gsize i = 0; i < SIZE / 4096; i++) {
        guint8 block[4096];
        memset(block, (int)i, sizeof block);
        g_assert_cmpint(send(fd, block, sizeof block, MSG_NOSIGNAL), ==, sizeof block);
    }
    return NULL;
}

/* All of it, though who reads is slow at first and who wrote has gone. */
static void check_all(int to, int from)
{
    GThread *writer = g_thread_new("writer", write_all, GINT_TO_POINTER(to));
    g_usleep(100000);
    for (gsize i = 0; i < SIZE / 4096; i++) {
        guint8 block[4096];
        g_assert_cmpint(recv(from, block, sizeof block, MSG_WAITALL), ==, sizeof block);
        g_assert_true(block[0] == (guint8)i && block[4095] == (guint8)i);
    }
    g_thread_join(writer);
}

static void test_both_ways(void)
{
    Way way = way_new(DIGITS DIGITS, "");
    check_all(way.client, way.server);
    check_all(way.server, way.client);
    shutdown(way.client, SHUT_RDWR);
    char byte;
    g_assert_cmpint(recv(way.server, &byte, 1, 0), ==, 0);
    way_end(&way);
}

/* What was read before comes first, and what was said before the end comes before it. */
static void test_first_and_last(void)
{
    char text[16] = "";
    Way way = way_new(DIGITS DIGITS, "first");
    g_assert_cmpint(send(way.client, "second", 6, 0), ==, 6);
    shutdown(way.client, SHUT_RDWR);
    g_assert_cmpint(recv(way.server, text, 11, MSG_WAITALL), ==, 11);
    g_assert_cmpstr(text, ==, "firstsecond");
    g_assert_cmpint(recv(way.server, text, 1, 0), ==, 0);
    way_end(&way);
    way = way_new(DIGITS DIGITS, "");
    g_assert_cmpint(send(way.server, "last", 4, 0), ==, 4);
    shutdown(way.server, SHUT_RDWR);
    memset(text, 0, sizeof text);
    g_assert_cmpint(recv(way.client, text, 4, MSG_WAITALL), ==, 4);
    g_assert_cmpstr(text, ==, "last");
    g_assert_cmpint(recv(way.client, text, 1, 0), ==, 0);
    way_end(&way);
}

static void test_other_key(void)
{
    char byte;
    Way way = way_new("ff112233445566778899aabbccddeeff" DIGITS, "");
    send(way.client, "secret", 6, MSG_NOSIGNAL);
    g_assert_cmpint(recv(way.server, &byte, 1, 0), ==, 0);
    way_end(&way);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/reach/both-ways", test_both_ways);
    g_test_add_func("/reach/first-and-last", test_first_and_last);
    g_test_add_func("/reach/other-key", test_other_key);
    return g_test_run();
}
