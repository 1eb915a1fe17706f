/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-relay.c - the relay between guests and their ways out. */
#include "net/relay.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAIRS 2
#define DEADLINE_MS 60000
#define MANY 2000 /* frames; more than all buffers between the ends hold */

#define MACS "\2\0\0\0\0\1\2\0\0\0\0\2"

/* An IPv4 frame to `target`, of `size` bytes. */
static void make_frame(guint8 *frame, gsize size, const char target[4])
{
    memset(frame, 0, size);
    memcpy(frame, MACS "\x08\0\x45", 15);
    memcpy(frame + 30, target, 4);
}

static void test_leave(void)
{
    static const struct {
        const char *target;
        bool may;
    } rows[] = {
        {"\x0a\1\1\1", true},        {"\x64\x7f\x4d\1", true}, {"\xe0\0\0\1", true},
        {"\xff\xff\xff\xff", true},  {"\x7f\0\0\1", false},    {"\x7f\5\5\5", false},
        {"\x7f\xff\xff\xff", false}, {"\0\0\0\0", false},      {"\0\1\2\3", false},
        {"\x80\0\0\1", true},
    };
    guint8 frame[34];
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("target %zu", i);
        make_frame(frame, sizeof frame, rows[i].target);
        g_assert_cmpint(vt_relay_may_leave(frame, sizeof frame), ==, rows[i].may);
    }
}

/* What is no IPv4, and what is too short to say where it goes. */
static void test_types(void)
{
    guint8 frame[34];
    make_frame(frame, sizeof frame, "\x0a\1\1\1");
    g_assert_false(vt_relay_may_leave(frame, 33));
    g_assert_false(vt_relay_may_leave(frame, 13));
    g_assert_false(vt_relay_may_leave(frame, 0));
    frame[14] = 0x65; /* says that it is of another version */
    g_assert_false(vt_relay_may_leave(frame, sizeof frame));
    frame[14] = 0x4f; /* with options */
    g_assert_true(vt_relay_may_leave(frame, sizeof frame));
    static const guint8 types[][3] = {{0x08, 0x06, true}, {0x86, 0xdd, false},
                                      {0x81, 0, false},   {0x88, 0xa8, false},
                                      {0, 20, false},     {0x88, 0x64, false}};
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        memcpy(frame + 12, types[i], 2);
        g_assert_cmpint(vt_relay_may_leave(frame, sizeof frame), ==, types[i][2]);
    }
}

/* A UDP frame with `options` words of IP options. Its size. */
static gsize make_udp(guint8 *frame, const char *source, const char *target, const char *ports,
                      guint options)
{
    make_frame(frame, 100, target);
    frame[14] = (guint8)(0x45 + options);
    frame[23] = 17;
    memcpy(frame + 26, source, 4);
    memcpy(frame + 34 + 4 * options, ports, 4);
    return 34 + 4 * options + 8;
}

/* UDP comes from whom the guest has spoken to, to the port that it was; everything else comes. */
static void test_enter(void)
{
    static const struct {
        const char *source, *ports;
        bool may;
    } rows[] = {
        {"\x0a\1\1\1", "\0\x35\x80\1", true},      {"\x0a\1\1\2", "\0\x35\x80\1", false},
        {"\x0a\1\1\1", "\0\x36\x80\1", false},     {"\x0a\1\1\1", "\0\x35\x80\2", false},
        {"\x0a\1\1\1", "\x80\1\0\x35", false},     {"\0\0\0\0", "\0\0\0\0", false},
        {"\x64\x7f\x4d\1", "\0\x35\x80\1", false},
    };
    g_autofree VtRelayPeers *peers = g_new0(VtRelayPeers, 1);
    guint8 frame[100];
    for (guint options = 0; options < 3; options++) {
        gsize size = make_udp(frame, "\x64\x7f\x4d\2", "\x0a\1\1\1", "\x80\1\0\x35", options);
        vt_relay_note(peers, frame, size);
        for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
            size = make_udp(frame, rows[i].source, "\x64\x7f\x4d\2", rows[i].ports, options);
            g_test_message("row %zu", i);
            g_assert_cmpint(vt_relay_may_enter(peers, frame, size), ==, rows[i].may);
            g_assert_false(vt_relay_may_enter(peers, frame, size - 1));
        }
        frame[23] = 6;
        g_assert_true(vt_relay_may_enter(peers, frame, size));
        g_assert_true(vt_relay_may_enter(peers, frame, 10));
    }
    /* One that is too short says nothing of whom it speaks to. */
    memset(peers, 0, sizeof *peers);
    gsize size = make_udp(frame, "\x64\x7f\x4d\2", "\x0a\1\1\1", "\x80\1\0\x35", 0);
    vt_relay_note(peers, frame, size - 1);
    size = make_udp(frame, rows[0].source, "\x64\x7f\x4d\2", rows[0].ports, 0);
    g_assert_false(vt_relay_may_enter(peers, frame, size));
}

typedef struct {
    int guests[PAIRS], uplinks[PAIRS]; /* our ends */
    pid_t pid;
} Relay;

static Relay start(void)
{
    Relay relay;
    int guests[PAIRS], uplinks[PAIRS], pair[2];
    for (guint i = 0; i < PAIRS; i++) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), ==, 0);
        relay.guests[i] = pair[0], guests[i] = pair[1];
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
        relay.uplinks[i] = pair[0], uplinks[i] = pair[1];
    }
    relay.pid = fork();
    for (guint i = 0; i < PAIRS; i++) {
        if (relay.pid == 0)
            close(relay.guests[i]), close(relay.uplinks[i]);
        else
            close(guests[i]), close(uplinks[i]);
    }
    if (relay.pid == 0) {
        vt_relay_run(guests, uplinks, PAIRS);
        _exit(0);
    }
    return relay;
}

static gboolean is_ready(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    return poll(&ready, 1, DEADLINE_MS) == 1;
}

/* The next frame that the uplink is given. */
static gsize receive(int fd, guint8 *frame)
{
    guint32 length;
    g_assert_true(is_ready(fd));
    g_assert_cmpint(recv(fd, &length, 4, MSG_WAITALL), ==, 4);
    g_assert_cmpint(recv(fd, frame, g_ntohl(length), MSG_WAITALL), ==, g_ntohl(length));
    return g_ntohl(length);
}

static void give(int fd, const guint8 *frame, gsize size)
{
    guint32 length = g_htonl((guint32)size);
    g_assert_cmpint(send(fd, &length, 4, 0), ==, 4);
    g_assert_cmpint(send(fd, frame, size, 0), ==, size);
}

static void test_run(void)
{
    static guint8 frame[VT_RELAY_FRAME_MAX + 1], got[VT_RELAY_FRAME_MAX];
    Relay relay = start();
    /* What may not leave is skipped, what comes behind it is not; each pair for itself. */
    make_frame(frame, 60, "\x7f\0\0\1");
    g_assert_cmpint(send(relay.guests[0], frame, 60, 0), ==, 60);
    make_frame(frame, 65536, "\x0a\1\1\3");
    g_assert_cmpint(send(relay.guests[0], frame, 65536, 0), ==, 65536);
    make_frame(frame, 65535, "\x0a\1\1\1");
    g_assert_cmpint(send(relay.guests[0], frame, 65535, 0), ==, 65535);
    make_frame(frame, 61, "\x0a\1\1\2");
    g_assert_cmpint(send(relay.guests[1], frame, 61, 0), ==, 61);
    g_assert_cmpint(receive(relay.uplinks[0], got), ==, 65535);
    g_assert_cmpint(got[33], ==, 1);
    g_assert_cmpint(receive(relay.uplinks[1], got), ==, 61);
    give(relay.uplinks[0], frame, 65535);
    g_assert_true(is_ready(relay.guests[0]));
    g_assert_cmpint(recv(relay.guests[0], got, sizeof got, 0), ==, 65535);
    /* A pair whose uplink is gone, or talks nonsense, ends; the other does not; with it, the relay. */
    guint32 endless = g_htonl(VT_RELAY_FRAME_MAX + 1);
    g_assert_cmpint(send(relay.uplinks[0], &endless, 4, 0), ==, 4);
    g_assert_true(is_ready(relay.uplinks[0]));
    g_assert_cmpint(recv(relay.uplinks[0], got, 4, 0), ==, 0);
    g_assert_cmpint(send(relay.guests[1], frame, 61, 0), ==, 61);
    g_assert_cmpint(receive(relay.uplinks[1], got), ==, 61);
    close(relay.uplinks[1]);
    int status;
    g_assert_cmpint(waitpid(relay.pid, &status, 0), ==, relay.pid);
    g_assert_cmpint(status, ==, 0);
}

/* A guest that does not take its frames gets all of them later, in order, while the other pair's pass. */
static void test_slow(void)
{
    guint8 frame[VT_RELAY_FRAME_MAX], got[VT_RELAY_FRAME_MAX];
    Relay relay = start();
    make_frame(frame, 1000, "\x0a\1\1\1");
    pid_t writer = fork();
    if (writer == 0) {
        for (guint i = 0; i < MANY; i++) {
            memcpy(frame + 100, &i, sizeof i);
            give(relay.uplinks[0], frame, 1000);
        }
        _exit(0);
    }
    for (int i = 0; i < 10; i++) {
        give(relay.uplinks[1], frame, 100);
        g_assert_true(is_ready(relay.guests[1]));
        g_assert_cmpint(recv(relay.guests[1], got, sizeof got, 0), ==, 100);
    }
    for (guint i = 0, number; i < MANY; i++) {
        g_assert_true(is_ready(relay.guests[0]));
        g_assert_cmpint(recv(relay.guests[0], got, sizeof got, 0), ==, 1000);
        memcpy(&number, got + 100, sizeof number);
        g_assert_cmpuint(number, ==, i);
    }
    g_assert_cmpint(waitpid(writer, NULL, 0), ==, writer);
    kill(relay.pid, SIGKILL);
    g_assert_cmpint(waitpid(relay.pid, NULL, 0), ==, relay.pid);
}

/* An uplink that is gone while its guest takes nothing is left alone: with the other pair gone, too,
 * there is nothing left to do. */
static void test_lost(void)
{
    guint8 frame[VT_RELAY_FRAME_MAX];
    Relay relay = start();
    make_frame(frame, sizeof frame, "\x0a\1\1\1");
    const guint32 length = g_htonl(sizeof frame);
    struct iovec parts[] = {{(void *)&length, sizeof length}, {frame, sizeof frame}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    struct timeval patience = {.tv_usec = 200000};
    setsockopt(relay.uplinks[0], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (sendmsg(relay.uplinks[0], &message, 0) > 0)
        continue;
    close(relay.uplinks[0]);
    close(relay.guests[1]);
    close(relay.uplinks[1]);
    g_assert_cmpint(waitpid(relay.pid, NULL, 0), ==, relay.pid);
    close(relay.guests[0]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/relay/enter", test_enter);
    g_test_add_func("/relay/lost", test_lost);
    g_test_add_func("/relay/leave", test_leave);
    g_test_add_func("/relay/types", test_types);
    g_test_add_func("/relay/run", test_run);
    g_test_add_func("/relay/slow", test_slow);
    return g_test_run();
}
