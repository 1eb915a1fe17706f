/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-channel.c - frames between two ends of a connection that is TLS by a key of both. */
#include <gio/gio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "guest/secure.h"

#define PATIENCE_MS 60000
#define FRAMES 300 /* of WIRE_PAYLOAD_MAX bytes: more than any socket holds */

typedef struct {
    VtChannel *channel;
    guint frames, wrong;
    guint8 next; /* first byte of the next frame */
    char *closed;
} End;

static void on_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    End *end = data;
    end->wrong +=
        header->length == 0 || payload[0] != end->next || payload[header->length - 1] != end->next;
    end->next++;
    end->frames++;
}

static void on_closed(const char *reason, gpointer data)
{
    End *end = data;
    end->closed = g_strdup(*reason ? reason : "end");
}

static gboolean on_patience(gpointer data)
{
    g_error("nothing came of it");
    return G_SOURCE_REMOVE;
}

static void end_init(End *end, int fd)
{
    const VtChannelHandlers handlers = {.frame = on_frame, .closed = on_closed};
    *end = (End){.channel = vt_channel_new(fd, &handlers, end)};
}

static void end_clear(End *end)
{
    vt_channel_free(end->channel);
    g_free(end->closed);
}

static void make(End *client, End *server)
{
    int pair[2];
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    end_init(client, pair[0]);
    end_init(server, pair[1]);
}

static void send_frames(End *end, guint n)
{
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    for (guint i = 0; i < n; i++) {
        memset(payload, (int)(i & 0xff), WIRE_PAYLOAD_MAX);
        vt_channel_send(end->channel, 1, 0, payload, WIRE_PAYLOAD_MAX);
    }
}

/* Both ways at once, and queued before anything is agreed on. */
static void test_both_ways(void)
{
    static const guint8 key[VT_SECURE_KEY_SIZE] = {1, 2, 3};
    End client, server;
    guint timer = g_timeout_add(PATIENCE_MS, on_patience, NULL);
    make(&client, &server);
    g_assert_true(vt_channel_secure(server.channel, true, key));
    g_assert_true(vt_channel_secure(client.channel, false, key));
    send_frames(&client, FRAMES);
    send_frames(&server, FRAMES);
    while (client.frames < FRAMES || server.frames < FRAMES) {
        g_main_context_iteration(NULL, TRUE);
        g_assert_null(client.closed);
        g_assert_null(server.closed);
    }
    g_assert_cmpuint(client.wrong + server.wrong, ==, 0);
    g_clear_pointer(&client.channel, vt_channel_free);
    while (!server.closed)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpstr(server.closed, ==, "end");
    g_source_remove(timer);
    end_clear(&client);
    end_clear(&server);
}

/* Neither takes a frame of the other's. */
static void check_strangers(End *client, End *server)
{
    guint timer = g_timeout_add(PATIENCE_MS, on_patience, NULL);
    send_frames(client, 1);
    send_frames(server, 1);
    while (!server->closed && !client->closed)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(client->frames + server->frames, ==, 0);
    g_source_remove(timer);
    end_clear(client);
    end_clear(server);
}

static void test_other_key(void)
{
    static const guint8 key[VT_SECURE_KEY_SIZE] = {1}, other[VT_SECURE_KEY_SIZE] = {2};
    End client, server;
    make(&client, &server);
    g_assert_true(vt_channel_secure(server.channel, true, key));
    g_assert_true(vt_channel_secure(client.channel, false, other));
    check_strangers(&client, &server);
}

static void test_plain_client(void)
{
    static const guint8 key[VT_SECURE_KEY_SIZE] = {1};
    End client, server;
    make(&client, &server);
    g_assert_true(vt_channel_secure(server.channel, true, key));
    check_strangers(&client, &server);
}

static void test_plain_server(void)
{
    static const guint8 key[VT_SECURE_KEY_SIZE] = {1};
    End client, server;
    make(&client, &server);
    g_assert_true(vt_channel_secure(client.channel, false, key));
    guint timer = g_timeout_add(PATIENCE_MS, on_patience, NULL);
    send_frames(&server, 1);
    while (!client.closed)
        g_main_context_iteration(NULL, TRUE);
    g_assert_cmpuint(client.frames, ==, 0);
    g_source_remove(timer);
    end_clear(&client);
    end_clear(&server);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/channel/secure/both-ways", test_both_ways);
    g_test_add_func("/channel/secure/other-key", test_other_key);
    g_test_add_func("/channel/secure/plain-client", test_plain_client);
    g_test_add_func("/channel/secure/plain-server", test_plain_server);
    return g_test_run();
}
