/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-agent.c - what of the agent has no effect outside itself: setup, input ring,
 * link. */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/group.h"
#include "agent/input.h"
#include "agent/link.h"
#include "agent/setup.h"

static Setup *open_setup(void)
{
    static Setup setup;
    guint8 payload[64];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, 1);
    wire_put_u32(&writer, 2);
    wire_put_u32(&writer, 0177777);
    wire_put_u16(&writer, 24);
    wire_put_u16(&writer, 80);
    wire_put_string(&writer, "/home");
    setup_open(&setup, &(WireHeader){(guint32)writer.used, WIRE_OPEN, WIRE_OPEN_PTY, 5}, payload);
    return &setup;
}

static bool add_word(Setup *setup, WireWordKind kind, const char *word, gsize size)
{
    WireHeader header = {(guint32)size, WIRE_WORD, (guint8)kind, 5};
    return setup_add_word(setup, &header, (const guint8 *)word);
}

static void test_setup(void)
{
    Setup *setup = open_setup();
    g_assert_cmpuint(setup->uid, ==, 1);
    g_assert_cmpuint(setup->gid, ==, 2);
    g_assert_cmphex(setup->mask, ==, 0777);
    g_assert_true(setup->has_terminal);
    g_assert_cmpstr(setup->directory, ==, "/home");
    g_assert_null(setup->argv[0]);
    g_assert_null(setup->envp[0]);
    g_assert_true(add_word(setup, WIRE_WORD_ARG, "one", 3));
    g_assert_true(add_word(setup, WIRE_WORD_ENV, "A=b", 3));
    g_assert_true(add_word(setup, WIRE_WORD_ARG, "", 0));
    g_assert_true(add_word(setup, WIRE_WORD_PROGRAM, "/bin/x", 6));
    g_assert_cmpstr(setup->argv[0], ==, "one");
    g_assert_cmpstr(setup->argv[1], ==, "");
    g_assert_null(setup->argv[2]);
    g_assert_cmpstr(setup->envp[0], ==, "A=b");
    g_assert_null(setup->envp[1]);
    g_assert_cmpstr(setup->program, ==, "/bin/x");
    setup_close(setup);
    g_assert_false(setup->is_open);
}

static void test_setup_limits(void)
{
    Setup *setup = open_setup();
    g_autofree char *word = g_strnfill(WIRE_WORD_MAX, 'x');
    for (int i = 0; i < WIRE_WORDS_MAX; i++)
        g_assert_true(add_word(setup, i % 2 ? WIRE_WORD_ENV : WIRE_WORD_ARG, "w", 1));
    g_assert_false(add_word(setup, WIRE_WORD_ARG, "w", 1));
    setup_close(setup);

    setup = open_setup();
    for (int i = 0; i < WIRE_ARENA_MAX / (WIRE_WORD_MAX + 1); i++)
        g_assert_true(add_word(setup, WIRE_WORD_ARG, word, WIRE_WORD_MAX));
    g_assert_false(add_word(setup, WIRE_WORD_ARG, "", 0));
    g_assert_cmpmem(setup->argv[15], WIRE_WORD_MAX + 1, word, WIRE_WORD_MAX + 1);
    setup_close(setup);

    static guint8 groups[WIRE_GROUPS_MAX * 4];
    setup = open_setup();
    WireHeader header = {sizeof groups, WIRE_GROUPS, 0, 5};
    g_assert_true(setup_add_groups(setup, &header, groups));
    header.length = 4;
    g_assert_false(setup_add_groups(setup, &header, groups));
    setup_close(setup);
}

/* A megabyte through the ring, in odd pieces, at the pace of a pipe of 4 KiB. */
static void test_input_ring(void)
{
    static Input input;
    int ends[2];
    gsize sent = 0, seen = 0, credit = WIRE_INPUT_WINDOW;
    const gsize total = 1 << 20;
    g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
    fcntl(ends[1], F_SETPIPE_SZ, 4096);
    input_init(&input, ends[1], false);
    while (seen < total) {
        guint8 piece[7919], back[3001];
        gsize size = MIN(MIN(sizeof piece, credit), total - sent);
        for (gsize i = 0; i < size; i++)
            piece[i] = (guint8)((sent + i) * 31 >> 3);
        if (size > 0)
            g_assert_true(input_take(&input, piece, size));
        sent += size;
        credit -= size;
        if (sent == total)
            input_end(&input);
        g_assert_true(input_pump(&input));
        credit += input_take_credit(&input);
        gssize got = read(ends[0], back, sizeof back);
        for (gssize i = 0; i < got; i++)
            g_assert_cmphex(back[i], ==, (guint8)((seen + (gsize)i) * 31 >> 3));
        seen += got > 0 ? (gsize)got : 0;
    }
    input_pump(&input);
    g_assert_cmpint(input.fd, ==, -1);
    g_assert_cmpint(read(ends[0], ends, 1), ==, 0);
    input_clear(&input);
    close(ends[0]);
}

static void test_input_window(void)
{
    static Input input;
    static guint8 bytes[WIRE_INPUT_WINDOW];
    int ends[2];
    g_assert_cmpint(pipe2(ends, O_CLOEXEC | O_NONBLOCK), ==, 0);
    input_init(&input, ends[1], false);
    g_assert_true(input_take(&input, bytes, sizeof bytes));
    g_assert_false(input_take(&input, bytes, 1));
    g_assert_true(input_pump(&input)); /* into the pipe: passed on, but not credited again yet */
    g_assert_false(input_take(&input, bytes, 1));
    g_assert_cmpuint(input_take_credit(&input), ==, WIRE_INPUT_WINDOW);
    g_assert_cmpuint(input_take_credit(&input), ==, 0);
    g_assert_true(input_take(&input, bytes, 1));
    close(ends[0]);
    g_assert_false(input_pump(&input));
    g_assert_cmpint(input.fd, ==, -1);
    g_assert_true(input_take(&input, bytes, 1)); /* dropped, but counted */
    g_assert_false(input_take(&input, bytes, sizeof bytes));
    g_assert_cmpuint(input_take_credit(&input), ==, 0);
    input_clear(&input);
}

/* Frames that arrive byte by byte, and one of the largest size. */
static void test_link(void)
{
    static Link ours, theirs;
    const guint8 *payload;
    WireHeader header;
    int ends[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), ==,
                    0);
    link_init(&ours, ends[0]);
    link_init(&theirs, ends[1]);
    g_assert_cmpint(link_fill(&ours), ==, 0);
    g_assert_cmpint(link_next(&ours, &header, &payload), ==, 0);

    static const guint8 ping[] = {8, 0, 0, 0, WIRE_PING, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8};
    for (gsize i = 0; i < sizeof ping; i++) {
        g_assert_cmpint(write(ends[1], ping + i, 1), ==, 1);
        g_assert_cmpint(link_fill(&ours), ==, 0);
        g_assert_cmpint(link_next(&ours, &header, &payload), ==, i + 1 == sizeof ping);
    }
    g_assert_cmpmem(payload, header.length, ping + WIRE_HEADER_SIZE, 8);

    memset(link_payload(&theirs), 'x', WIRE_PAYLOAD_MAX);
    link_send(&theirs, WIRE_DATA, WIRE_STDOUT, 31, WIRE_PAYLOAD_MAX);
    link_send_u32(&theirs, WIRE_STARTED, 0, 7, 4711);
    while (link_next(&ours, &header, &payload) == 0)
        g_assert_cmpint(link_fill(&ours), ==, 0);
    g_assert_cmpuint(header.length, ==, WIRE_PAYLOAD_MAX);
    g_assert_cmpuint(header.session, ==, 31);
    while (link_next(&ours, &header, &payload) == 0)
        g_assert_cmpint(link_fill(&ours), ==, 0);
    g_assert_cmpmem(payload, header.length, "\x67\x12\0\0", 4);

    close(ends[1]);
    g_assert_cmpint(link_fill(&ours), ==, -EPIPE);
    link_send_empty(&ours, WIRE_BYE, 0, 0);
    g_assert_cmpint(ours.error, ==, -EPIPE);
    close(ends[0]);
}

static void test_link_bad_header(void)
{
    static const guint8 bytes[WIRE_HEADER_SIZE] = {1, 0, 1, 0, WIRE_DATA, 0, 0, 0};
    static Link link;
    const guint8 *payload;
    WireHeader header;
    int ends[2];
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), ==,
                    0);
    link_init(&link, ends[0]);
    g_assert_cmpint(write(ends[1], bytes, sizeof bytes), ==, sizeof bytes);
    g_assert_cmpint(link_fill(&link), ==, 0);
    g_assert_cmpint(link_next(&link, &header, &payload), ==, -EMSGSIZE);
    close(ends[0]);
    close(ends[1]);
}

/* The beginning and the end of a line of /proc/PID/stat; between them are 23 fields of no matter. */
#define STAT(name, group)                                                                          \
    "70 (" name ") S 1 " group                                                                     \
    " 70 0 -1 4194304 9 8 7 6 5 4 3 2 20 0 1 0 99 111 222 333 1 2 3 4 5 6"
#define TSTP "524288"
#define OTHERS "2147483647"

static void test_group_stops(void)
{
    static const struct {
        const char *stat;
        bool stops;
    } rows[] = {
        {STAT("sh", "70") " 0 0 0 0 0", true},
        {STAT("sh", "71") " 0 0 0 0 0", false},
        {STAT("a) b (c\n) 9", "70") " 0 0 0 0 0", true},
        {STAT("sh", "70") " " TSTP " 0 0 0 0", false}, /* blocked */
        {STAT("sh", "70") " 0 " TSTP " 0 0 0", false}, /* ignored */
        {STAT("sh", "70") " 0 0 " TSTP " 0 0", false}, /* caught */
        {STAT("sh", "70") " 65536 65536 65536 0 0", true},
        {STAT("sh", "70") " 0 0 " OTHERS, false},
        {"70 (sh) S 1 70 70", false},
        {"70 sh S 1 70 70", false},
        {"", false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("%s", rows[i].stat);
        g_assert_cmpint(group_stat_stops(rows[i].stat, 70), ==, rows[i].stops);
    }
}

/* The fields are the kernel's: this process, before and after it ignores the signal. */
static void test_group_stops_kernel(void)
{
    g_autofree char *before = NULL, *after = NULL;
    g_assert_true(g_file_get_contents("/proc/self/stat", &before, NULL, NULL));
    g_assert_true(group_stat_stops(before, getpgrp()));
    signal(SIGTSTP, SIG_IGN);
    g_assert_true(g_file_get_contents("/proc/self/stat", &after, NULL, NULL));
    g_assert_false(group_stat_stops(after, getpgrp()));
    signal(SIGTSTP, SIG_DFL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    g_test_add_func("/agent/setup", test_setup);
    g_test_add_func("/agent/setup-limits", test_setup_limits);
    g_test_add_func("/agent/input-ring", test_input_ring);
    g_test_add_func("/agent/input-window", test_input_window);
    g_test_add_func("/agent/link", test_link);
    g_test_add_func("/agent/link-bad-header", test_link_bad_header);
    g_test_add_func("/agent/group-stops", test_group_stops);
    g_test_add_func("/agent/group-stops-kernel", test_group_stops_kernel);
    return g_test_run();
}
