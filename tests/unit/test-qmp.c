/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-qmp.c - the monitor's client against a peer that says what a script says. */
#include "vm/qmp.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "{\"QMP\": {\"version\": {}, \"capabilities\": [\"oob\"]}}\r\n"
#define NEGOTIATED GREETING "{\"return\": {}, \"id\": 1}\r\n"
#define DEADLINE_MS 10000 /* of what must not be late; a busy machine may take long */
#define PATIENCE_MS 20000

typedef struct {
    VtQmp *qmp;
    int peer;
    GString *log;      /* what the client called, each ended by ';' */
    const char *freer; /* the call in which the client is freed, or NULL */
} Talk;

static void note(Talk *talk, const char *call, const char *detail)
{
    g_string_append_printf(talk->log, "%s%s%s;", call, detail ? " " : "", detail ? detail : "");
    if (g_strcmp0(talk->freer, call) == 0)
        g_clear_pointer(&talk->qmp, vt_qmp_free);
}

static void on_ready(gpointer data)
{
    note(data, "ready", NULL);
}

static void on_event(const char *name, json_t *event_data, gpointer data)
{
    const char *reason = json_string_value(json_object_get(event_data, "reason"));
    g_autofree char *detail = g_strconcat(name, reason ? ":" : NULL, reason, NULL);

    note(data, "event", detail);
}

static void on_failed(const GError *error, gpointer data)
{
    g_assert_nonnull(error);
    note(data, "failed", error->message);
}

static void on_reply(json_t *result, const GError *error, gpointer data)
{
    g_autofree char *number = g_strdup_printf("%" JSON_INTEGER_FORMAT, json_integer_value(result));

    g_assert_true(!result == !!error);
    note(data, "reply", error ? error->message : number);
}

static void talk_start(Talk *talk, guint deadline_ms)
{
    const VtQmpHandlers handlers = {.ready = on_ready, .event = on_event, .failed = on_failed};
    int ends[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), ==, 0);
    *talk = (Talk){.peer = ends[1], .log = g_string_new(NULL)};
    talk->qmp = vt_qmp_new(ends[0], deadline_ms, &handlers, talk);
}

static void talk_end(Talk *talk)
{
    vt_qmp_free(talk->qmp);
    if (talk->peer >= 0)
        close(talk->peer);
    while (g_main_context_iteration(NULL, FALSE))
        continue;
    g_string_free(talk->log, TRUE);
}

static void say(Talk *talk, const char *text)
{
    g_assert_cmpint(write(talk->peer, text, strlen(text)), ==, (gssize)strlen(text));
}

/* What the client has sent, waiting for `lines` lines of it. (transfer full) */
static char *hear(Talk *talk, guint lines)
{
    GString *heard = g_string_new(NULL);

    while (lines > 0) {
        char bytes[65536];
        ssize_t n = recv(talk->peer, bytes, sizeof bytes, MSG_DONTWAIT | MSG_PEEK);
        if (n <= 0) {
            g_main_context_iteration(NULL, FALSE);
            continue;
        }
        /* What stands behind the line stays in the socket. */
        const char *end = memchr(bytes, '\n', (gsize)n);
        n = recv(talk->peer, bytes, end ? (gsize)(end - bytes) + 1 : (gsize)n, 0);
        g_string_append_len(heard, bytes, n);
        lines -= end != NULL;
    }
    return g_string_free(heard, FALSE);
}

static gboolean on_impatience(gpointer data)
{
    g_error("the client did not call anything");
    return G_SOURCE_REMOVE;
}

/* Runs the main loop until the log is as expected, and some more to see that it stays so. */
static void expect(Talk *talk, const char *log)
{
    guint timer = g_timeout_add(PATIENCE_MS, on_impatience, NULL);

    while (strlen(talk->log->str) < strlen(log))
        g_main_context_iteration(NULL, TRUE);
    g_source_remove(timer);
    for (int i = 0; i < 5; i++)
        g_main_context_iteration(NULL, FALSE);
    g_assert_cmpstr(talk->log->str, ==, log);
}

/* What QEMU says, and what the client makes of it. */
static const struct Script {
    const char *name, *said, *log;
} scripts[] = {
    {"greeting", NEGOTIATED, "ready;"},
    {"event", NEGOTIATED "{\"event\": \"RESET\", \"timestamp\": {}}\n", "ready;event RESET;"},
    {"event before negotiation", GREETING "{\"event\": \"RESUME\"}\n{\"return\": {}, \"id\": 1}\n",
     "event RESUME;ready;"},
    {"event with data",
     NEGOTIATED "{\"event\": \"SHUTDOWN\", \"data\": {\"reason\": \"guest-panic\"}}\n",
     "ready;event SHUTDOWN:guest-panic;"},
    {"event before greeting", "{\"event\": \"RESET\"}\n",
     "failed QEMU's monitor did not greet first;"},
    {"second greeting", NEGOTIATED GREETING, "ready;failed QEMU's monitor greeted twice;"},
    {"refused negotiation",
     GREETING
     "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\\u001b[1m!\"}, \"id\": 1}\n",
     "failed QEMU refused 'qmp_capabilities': no?[1m!;"},
    {"garbage", NEGOTIATED "hello\n{\"event\": \"RESET\"}\n",
     "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"empty line", NEGOTIATED "\n", "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"two kinds at once", NEGOTIATED "{\"event\": \"RESET\", \"return\": {}}\n",
     "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"event without a name", NEGOTIATED "{\"event\": 7}\n",
     "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"event with a list as data", NEGOTIATED "{\"event\": \"RESET\", \"data\": []}\n",
     "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"error that is none", NEGOTIATED "{\"error\": \"x\", \"id\": 2}\n",
     "ready;failed QEMU's monitor sent what is not its protocol;"},
    {"answer that nobody asked for", NEGOTIATED "{\"return\": {}, \"id\": 2}\n",
     "ready;failed QEMU's monitor answered what was not asked;"},
    {"answer with another id", GREETING "{\"return\": {}, \"id\": 7}\n",
     "failed QEMU's monitor answered what was not asked;"},
    {"answer without an id", GREETING "{\"return\": {}}\n",
     "failed QEMU's monitor answered what was not asked;"},
};

static void test_script(gconstpointer data)
{
    const struct Script *script = data;
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    say(&talk, script->said);
    expect(&talk, script->log);
    talk_end(&talk);
}

static void test_byte_by_byte(gconstpointer data)
{
    const struct Script *script = data;
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    for (const char *at = script->said; *at; at++) {
        /* A client that has failed has closed its end. */
        if (send(talk.peer, at, 1, MSG_NOSIGNAL) < 0)
            break;
        g_main_context_iteration(NULL, FALSE);
    }
    expect(&talk, script->log);
    talk_end(&talk);
}

static void test_close(void)
{
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    say(&talk, NEGOTIATED "{\"event\": \"RES");
    shutdown(talk.peer, SHUT_WR);
    expect(&talk, "ready;failed QEMU closed its monitor;");
    vt_qmp_command(talk.qmp, "stop", json_object(), DEADLINE_MS, on_reply, &talk);
    expect(&talk, "ready;failed QEMU closed its monitor;");
    talk_end(&talk);
}

static void test_no_greeting(void)
{
    Talk talk;

    talk_start(&talk, 20);
    expect(&talk, "failed QEMU's monitor did not greet in time;");
    talk_end(&talk);
}

static void test_oversize(void)
{
    g_autofree char *line = g_strnfill(VT_QMP_LINE_MAX + 1, ' ');
    gsize sent = 0;
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    say(&talk, NEGOTIATED);
    expect(&talk, "ready;");
    while (sent < VT_QMP_LINE_MAX + 1) {
        ssize_t n =
            send(talk.peer, line + sent, VT_QMP_LINE_MAX + 1 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        sent += n > 0 ? (gsize)n : 0;
        g_main_context_iteration(NULL, FALSE);
    }
    expect(&talk, "ready;failed QEMU's monitor sent a message over 1048576 bytes;");
    talk_end(&talk);
}

static void test_commands_in_order(void)
{
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    vt_qmp_command(talk.qmp, "first", json_pack("{s:b}", "yes", 1), DEADLINE_MS, on_reply, &talk);
    vt_qmp_command(talk.qmp, "second", NULL, DEADLINE_MS, on_reply, &talk);
    vt_qmp_command(talk.qmp, "third", NULL, DEADLINE_MS, NULL, NULL);
    say(&talk, NEGOTIATED);
    g_autofree char *sent = hear(&talk, 2);
    g_assert_cmpstr(sent, ==,
                    "{\"execute\":\"qmp_capabilities\",\"id\":1}\n"
                    "{\"execute\":\"first\",\"arguments\":{\"yes\":true},\"id\":2}\n");
    say(&talk, "{\"event\": \"STOP\"}\n{\"return\": 42, \"id\": 2}\n");
    g_autofree char *second = hear(&talk, 1);
    g_assert_cmpstr(second, ==, "{\"execute\":\"second\",\"id\":3}\n");
    say(&talk, "{\"id\": 3, \"error\": {\"class\": \"X\", \"desc\": \"bad luck\"}}\n");
    g_autofree char *third = hear(&talk, 1);
    g_assert_cmpstr(third, ==, "{\"execute\":\"third\",\"id\":4}\n");
    say(&talk, "{\"return\": {}, \"id\": 4}\n");
    expect(&talk, "ready;event STOP;reply 42;reply QEMU refused 'second': bad luck;");
    talk_end(&talk);
}

static void test_late_reply(void)
{
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    say(&talk, NEGOTIATED);
    expect(&talk, "ready;");
    vt_qmp_command(talk.qmp, "stop", NULL, 20, on_reply, &talk);
    vt_qmp_command(talk.qmp, "cont", NULL, DEADLINE_MS, on_reply, &talk);
    expect(&talk, "ready;failed QEMU did not answer 'stop' within 20 ms;");
    g_assert_cmpint(send(talk.peer, "{}", 2, MSG_NOSIGNAL), <, 0);
    talk_end(&talk);
}

static void test_queue_is_full(void)
{
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    for (guint i = 0; i < VT_QMP_QUEUE_MAX + 10; i++)
        vt_qmp_command(talk.qmp, "stop", NULL, DEADLINE_MS, on_reply, &talk);
    g_assert_cmpstr(talk.log->str, ==, "");
    expect(&talk, "failed more than 64 commands wait for QEMU's monitor;");
    talk_end(&talk);
}

/* A command that is larger than what the socket holds is sent as the peer reads. */
static void test_slow_peer(void)
{
    g_autofree char *text = g_strnfill(4 * 1024 * 1024, 'x');
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    vt_qmp_command(talk.qmp, "big", json_pack("{s:s}", "text", text), DEADLINE_MS, on_reply, &talk);
    say(&talk, NEGOTIATED);
    expect(&talk, "ready;");
    g_autofree char *heard = hear(&talk, 2);
    g_assert_nonnull(strstr(heard, text));
    say(&talk, "{\"return\": 1, \"id\": 2}\n");
    expect(&talk, "ready;reply 1;");
    talk_end(&talk);
}

static const struct Script frees[] = {
    {"ready", NEGOTIATED "{\"event\": \"RESET\"}\n", "ready;"},
    {"event", NEGOTIATED "{\"event\": \"RESET\"}\n{\"event\": \"STOP\"}\n", "ready;event RESET;"},
    {"reply", NEGOTIATED "{\"return\": 1, \"id\": 2}\n{\"event\": \"STOP\"}\n", "ready;reply 1;"},
    {"failed", NEGOTIATED "x\n", "ready;failed QEMU's monitor sent what is not its protocol;"},
};

static void test_free_inside(gconstpointer data)
{
    const struct Script *script = data;
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    talk.freer = script->name;
    vt_qmp_command(talk.qmp, "stop", NULL, DEADLINE_MS, on_reply, &talk);
    say(&talk, script->said);
    expect(&talk, script->log);
    g_assert_null(talk.qmp);
    talk_end(&talk);
}

/* A failure that waits to be told is not told after the end. */
static void test_free_failed(void)
{
    Talk talk;

    talk_start(&talk, DEADLINE_MS);
    for (guint i = 0; i <= VT_QMP_QUEUE_MAX; i++)
        vt_qmp_command(talk.qmp, "stop", NULL, DEADLINE_MS, NULL, NULL);
    g_clear_pointer(&talk.qmp, vt_qmp_free);
    expect(&talk, "");
    talk_end(&talk);
}

static void add_table(const char *folder, const struct Script *table, gsize count,
                      GTestDataFunc test)
{
    for (gsize i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("/qmp/%s/%s", folder, table[i].name);
        g_test_add_data_func(path, &table[i], test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_table("script", scripts, G_N_ELEMENTS(scripts), test_script);
    add_table("byte-by-byte", scripts, G_N_ELEMENTS(scripts), test_byte_by_byte);
    add_table("free-inside", frees, G_N_ELEMENTS(frees), test_free_inside);
    g_test_add_func("/qmp/close", test_close);
    g_test_add_func("/qmp/no-greeting", test_no_greeting);
    g_test_add_func("/qmp/oversize", test_oversize);
    g_test_add_func("/qmp/commands-in-order", test_commands_in_order);
    g_test_add_func("/qmp/late-reply", test_late_reply);
    g_test_add_func("/qmp/queue-is-full", test_queue_is_full);
    g_test_add_func("/qmp/slow-peer", test_slow_peer);
    g_test_add_func("/qmp/free-failed", test_free_failed);
    return g_test_run();
}
