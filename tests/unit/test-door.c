/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-door.c - frames over the daemon's sockets: whole ones, cut ones, too long ones. */
#include <errno.h>
#include <glib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ctl/door.h"
#include "ctl/live.h"

static guint8 payload[WIRE_PAYLOAD_MAX];

static void make_pair(int pair[2])
{
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), ==, 0);
}

static void test_frame(void)
{
    int pair[2];
    WireHeader header;
    char text[32];
    make_pair(pair);
    g_assert_cmpint(ctl_door_send_text(pair[0], CTL_DOOR_RUN, 3, "17.head"), ==, 0);
    g_assert_cmpint(ctl_door_receive(pair[1], &header, payload, 1000), ==, 0);
    WireReader reader = wire_reader(payload, header.length);
    wire_get_string(&reader, text, sizeof text);
    g_assert_cmpstr(text, ==, "17.head");
    g_assert_cmpuint(header.type, ==, CTL_DOOR_RUN);
    g_assert_cmpuint(header.aux, ==, 3);
    close(pair[0]);
    g_assert_cmpint(ctl_door_receive(pair[1], &header, payload, 1000), ==, -ECONNRESET);
    g_assert_cmpint(ctl_door_send(pair[1], 1, 0, NULL, 0, NULL, 0), ==, -EPIPE);
    close(pair[1]);
}

static void test_bad(void)
{
    static const struct {
        const char *bytes;
        gsize size;
        int err;
    } rows[] = {
        {"\1\0\0", 3, -ETIMEDOUT},                /* half a header */
        {"\4\0\0\0\xc1\0\0\0ab", 10, -ETIMEDOUT}, /* half a payload */
        {"\1\0\1\0\xc1\0\0\0", 8, -EMSGSIZE},     /* 65537 bytes */
        {"\0\0\0\0\xc1\0\1\0", 8, -EPROTO},       /* session 1 */
        {"\0\0\0\0\xc1\0\xff\xff", 8, -EPROTO},   /* no session */
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        int pair[2];
        WireHeader header;
        make_pair(pair);
        g_assert_cmpint(write(pair[0], rows[i].bytes, rows[i].size), ==, (int)rows[i].size);
        g_assert_cmpint(ctl_door_receive(pair[1], &header, payload, 50), ==, rows[i].err);
        close(pair[0]);
        close(pair[1]);
    }
}

static void test_connect(void)
{
    g_assert_cmpint(ctl_door_connect("/no/such/socket", 0), ==, -ENOENT);
}

static void test_id(void)
{
    g_autofree char *longest = g_strnfill(CTL_ID_MAX, 'x');
    g_autofree char *longer = g_strnfill(CTL_ID_MAX + 1, 'x');
    g_assert_true(ctl_id_is_valid("3[0].long-server_1"));
    g_assert_true(ctl_id_is_valid(longest));
    g_assert_false(ctl_id_is_valid(longer));
    g_assert_false(ctl_id_is_valid(""));
    g_assert_false(ctl_id_is_valid("."));
    g_assert_false(ctl_id_is_valid(".."));
    g_assert_false(ctl_id_is_valid("a/b"));
    g_assert_false(ctl_id_is_valid("a b"));
    g_assert_false(ctl_id_is_valid("a\n"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/door/frame", test_frame);
    g_test_add_func("/door/bad", test_bad);
    g_test_add_func("/door/connect", test_connect);
    g_test_add_func("/door/id", test_id);
    return g_test_run();
}
