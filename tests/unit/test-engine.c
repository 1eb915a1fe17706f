/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-engine.c - the engine's life against an agent, a client and controls that say
 * what a script says.
 *
 * Each talk runs an engine in a child process, without a machine, and plays its peers: nothing that
 * they say may do more than end the job, and the engine always ends by itself.
 */
#include "engine/engine.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/control.h"

#define PATIENCE_S 60
#define CREDIT (256 * 1024)

typedef struct {
    pid_t engine;
    int client, agent, serial, qmp, keeper,
        control; /* our ends; control: the name is the engine's */
    int listener;
    gboolean told;
    guint8 reason;
    char message[WIRE_STRING_MAX + 1];
} Talk;

typedef struct {
    const char *name;
    const char *bytes;
    gsize size;
    const char *message; /* a part of the outcome's; NULL: it is not the guest's fault */
} Case;

#define FRAME(type, aux, session, length, ...) "" length "\0\0\0" type aux session "\0" __VA_ARGS__
#define CASE(name, message, bytes)                                                                 \
    {                                                                                              \
        name, bytes, sizeof bytes - 1, message                                                     \
    }

/* The engine */

static VtJob *new_job(guint boot_timeout_s)
{
    g_autofree char *text = g_strdup_printf(
        "{\"version\": 1, \"id\": \"1.local\", \"name\": \"x\", \"host\": "
        "\"node\", \"user\": \"ann\", \"group\": \"ann\","
        "\"uid\": 1000, \"gid\": 1000, \"groups\": [], \"group_names\": [], "
        "\"home\": \"/home/ann\", \"shell\": \"/bin/sh\","
        "\"image\": \"tiny\", \"image_name\": \"\", \"image_dir\": \"\", "
        "\"init\": \"agent\", \"fs_type\": \"ramdisk\", \"scratch_dir\": \"\", "
        "\"scratch_mib\": 0, \"accel\": \"tcg\", \"locks\": \"local\", "
        "\"file_server\": \"qemu\", \"vms\": 1, \"net\": \"none\", "
        "\"has_uplink\": 0, \"mac_prefix\": 0, \"domain\": \"\", "
        "\"name_servers\": [], \"search_domains\": [], \"time_servers\": [], "
        "\"ram_mib\": 256, \"vcpus\": 1, \"boot_timeout_s\": "
        "%u, \"walltime_s\": 0, \"cput_s\": 0,"
        "\"kill_grace_s\": 0, \"kernel_dir\": \"/k\", \"submit_dir\": \"/d\", "
        "\"mounts\": [], \"tmp_mib\": 64, "
        "\"run_wait_s\": 0, \"node_file\": \"\", \"node\": 0, "
        "\"nodes\": 1, \"addresses\": [], \"transport\": \"none\", \"vni\": 0, \"net_mtu\": 0, \"peer_key\": \"\"}",
        boot_timeout_s);
    g_autoptr(GError) error = NULL;
    VtJob *job = vt_job_load(text, strlen(text), &error);
    g_assert_no_error(error);
    return job;
}

/* The child. */
static void run_engine(guint boot_timeout_s, const int fds[6])
{
    VtEngine engine;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    vt_engine_init(&engine);
    vt_engine_take_job(&engine, new_job(boot_timeout_s));
    engine.run = fds[0];
    engine.keeper = fds[4];
    engine.control = fds[5];
    engine.plan = vt_plan_new(engine.job, engine.slots, "vmlinux", NULL);
    engine.vms[0].machine.agent = fds[1];
    engine.vms[0].machine.serial = fds[2];
    engine.vms[0].machine.qmp = fds[3];
    vt_client_start(&engine);
    vt_control_start(&engine);
    engine.go = vt_life_go;
    vt_life_start(&engine);
    vt_team_start(&engine);
    g_main_loop_run(engine.loop);
    vt_control_end(&engine);
    _exit(0);
}

static void set_patience(int fd)
{
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
}

static int new_listener(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_assert_cmpint(bind(fd, (const struct sockaddr *)&address, sizeof(sa_family_t)), ==, 0);
    g_assert_cmpint(listen(fd, CTL_CONTROLS_MAX), ==, 0);
    return fd;
}

static void talk_start(Talk *talk, guint boot_timeout_s)
{
    int pairs[4][2], keeper[2], theirs[6];
    int *const ours[] = {&talk->client, &talk->agent, &talk->serial, &talk->qmp};
    *talk = (Talk){.control = -1};
    g_assert_cmpint(pipe(keeper), ==, 0);
    for (int i = 0; i < 4; i++) {
        g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), ==, 0);
        *ours[i] = pairs[i][0];
        theirs[i] = pairs[i][1];
        set_patience(pairs[i][0]);
    }
    theirs[4] = keeper[0];
    theirs[5] = talk->listener = new_listener();
    talk->keeper = keeper[1];
    talk->engine = fork();
    g_assert_cmpint(talk->engine, >=, 0);
    if (talk->engine == 0) {
        for (int i = 0; i < 4; i++)
            close(pairs[i][0]);
        close(keeper[1]);
        run_engine(boot_timeout_s, theirs);
    }
    for (int i = 0; i < 5; i++)
        close(theirs[i]);
}

/* Peers */

static void say_bytes(int fd, const void *bytes, gsize size)
{
    const char *at = bytes;
    while (size > 0) {
        gssize n = send(fd, at, size, MSG_NOSIGNAL);
        if (n <= 0) /* the engine has had enough */
            return;
        at += n;
        size -= (gsize)n;
    }
}

static void say(int fd, guint8 type, guint8 aux, const void *payload, gsize size)
{
    guint8 header[WIRE_HEADER_SIZE];
    wire_header_format(&(WireHeader){.length = (guint32)size, .type = type, .aux = aux}, header);
    say_bytes(fd, header, sizeof header);
    say_bytes(fd, payload, size);
}

static void say_u32(int fd, guint8 type, guint8 aux, guint32 value)
{
    guint8 payload[4];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, value);
    say(fd, type, aux, payload, sizeof payload);
}

static gboolean hear(int fd, WireHeader *header, guint8 payload[WIRE_PAYLOAD_MAX])
{
    guint8 bytes[WIRE_HEADER_SIZE];
    if (recv(fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes)
        return FALSE;
    g_assert_cmpint(wire_header_parse(bytes, header), ==, 0);
    return header->length == 0 ||
           recv(fd, payload, header->length, MSG_WAITALL) == (gssize)header->length;
}

/* Hears frames up to the next of `type`, and what of them is the outcome. FALSE at the end of the
 * stream. */
static gboolean await(Talk *talk, int fd, guint8 type, int aux)
{
    static guint8 payload[WIRE_PAYLOAD_MAX];
    WireHeader header;
    while (hear(fd, &header, payload)) {
        if (fd == talk->client && header.type == CTL_OUTCOME) {
            WireReader reader = wire_reader(payload, header.length);
            g_assert_false(talk->told);
            talk->told = TRUE;
            talk->reason = header.aux;
            wire_get_string(&reader, talk->message, sizeof talk->message);
        }
        if (header.type == type && (aux < 0 || header.aux == aux))
            return TRUE;
    }
    return FALSE;
}

static void say_hello(Talk *talk, guint32 magic, guint16 lowest, guint16 highest)
{
    guint8 payload[64];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, magic);
    wire_put_u16(&writer, lowest);
    wire_put_u16(&writer, highest);
    wire_put_string(&writer, "6.1.0");
    say(talk->agent, WIRE_HELLO, 0, payload, writer.used);
}

static void become_ready(Talk *talk)
{
    say_hello(talk, WIRE_MAGIC, 1, 1);
    g_assert_true(await(talk, talk->agent, WIRE_PLAN_END, -1));
    say(talk->agent, WIRE_READY, 0, NULL, 0);
    g_assert_true(await(talk, talk->client, CTL_PHASE, CTL_PHASE_READY));
}

static void say_opening(Talk *talk)
{
    static const guint8 open[] = "\0\0\0\0\0\0\0\0\022\0\0\0\0\0\0\0\001\0/";
    say(talk->client, WIRE_OPEN, 0, open, sizeof open - 1);
    say(talk->client, WIRE_WORD, WIRE_WORD_ARG, "sh", 2);
    say(talk->client, CTL_SCRIPT, 0, "true", 4);
    say_u32(talk->client, WIRE_CREDIT, WIRE_STDOUT, CREDIT);
    say(talk->client, WIRE_START, 0, NULL, 0);
}

static void become_running(Talk *talk)
{
    become_ready(talk);
    say_opening(talk);
    g_assert_true(await(talk, talk->agent, WIRE_PLAN_END, -1));
    say(talk->agent, WIRE_READY, 0, NULL, 0);
    g_assert_true(await(talk, talk->agent, WIRE_START, -1));
    say_u32(talk->agent, WIRE_STARTED, 0, 77);
    g_assert_true(await(talk, talk->client, CTL_PHASE, CTL_PHASE_RUNNING));
}

static void talk_clear(Talk *talk)
{
    const int fds[] = {talk->client, talk->agent,    talk->serial, talk->qmp,
                       talk->keeper, talk->listener, talk->control};
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* The engine ends by itself, in good order. Returns its peak memory in KiB. */
static long talk_end(Talk *talk)
{
    int status;
    struct rusage usage;
    if (!talk->told)
        await(talk, talk->client, CTL_OUTCOME, -1);
    close(talk->client);
    talk->client = -1;
    g_assert_cmpint(wait4(talk->engine, &status, 0, &usage), ==, talk->engine);
    g_assert_cmphex(status, ==, 0);
    talk_clear(talk);
    return usage.ru_maxrss;
}

static void end_by_protocol(Talk *talk, const char *message)
{
    talk_end(talk);
    g_assert_true(talk->told);
    g_test_message("%s", talk->message);
    g_assert_nonnull(strstr(talk->message, message));
    g_assert_cmpint(talk->reason, ==, CTL_REASON_GUEST_PROTOCOL);
}

/* Tests */

static void test_good(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    say_u32(talk.agent, WIRE_CREDIT, WIRE_STDIN, WIRE_INPUT_WINDOW);
    g_assert_true(await(&talk, talk.client, WIRE_CREDIT, WIRE_STDIN));
    say(talk.client, WIRE_DATA, WIRE_STDIN, "in", 2);
    g_assert_true(await(&talk, talk.agent, WIRE_DATA, WIRE_STDIN));
    say(talk.agent, WIRE_DATA, WIRE_STDOUT, "out", 3);
    g_assert_true(await(&talk, talk.client, WIRE_DATA, WIRE_STDOUT));
    say_bytes(talk.agent, "\1\0\0\0\062\1\0\0\0\1\0\0\0\062\2\0\0\0", 18);
    say_bytes(talk.agent, "\6\0\0\0\041\0\0\0\7\0\0\0\0\0", 14);
    say(talk.agent, WIRE_ENDED, 0, NULL, 0);
    g_assert_true(await(&talk, talk.client, WIRE_EXIT, WIRE_EXIT_STATUS));
    g_assert_true(await(&talk, talk.agent, WIRE_SHUTDOWN, -1));
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    talk_end(&talk);
    g_assert_true(talk.told);
    g_assert_cmpint(talk.reason, ==, CTL_REASON_DONE);
}

/* The keeper died, or was killed before the engine could ask for a signal at its death. */
static void test_keeper_gone(void)
{
    Talk talk;
    int status;
    char byte;
    talk_start(&talk, 60);
    become_running(&talk);
    close(talk.keeper);
    talk.keeper = -1;
    await(&talk, talk.client, CTL_OUTCOME, -1);
    g_assert_cmpint(recv(talk.client, &byte, 1, 0), ==, 0);
    g_assert_cmpint(waitpid(talk.engine, &status, 0), ==, talk.engine);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 125);
    talk_clear(&talk);
}

/* type, aux, session: one byte each; the session's second is 0. */
static const Case from_birth[] = {
    CASE("noise", "bad frame", "GET / HTTP/1.0\r\n\r\n"),
    CASE("ready first", "out of turn", FRAME("\4", "\0", "\0", "\0")),
    CASE("session first", "session", FRAME("\42", "\0", "\0", "\0")),
    CASE("short hello", "bad frame", FRAME("\1", "\0", "\0", "\4", "vtWx")),
    CASE("other magic", "introduce", FRAME("\1", "\0", "\0", "\10", "12345678")),
    CASE("no common version", "versions 7 to 9",
         FRAME("\1", "\0", "\0", "\10", "\x76\x74\x57\x78\7\0\11\0")),
};

static const Case when_running[] = {
    CASE("unknown type", "bad frame", FRAME("\310", "\0", "\0", "\0")),
    CASE("a type of the client's", "bad frame", FRAME("\204", "\0", "\0", "\0")),
    CASE("a frame of the engine's", "bad frame", FRAME("\3", "\0", "\0", "\0")),
    CASE("length over the limit", "bad frame", "\1\0\1\0\60\1\0\0"),
    CASE("session over the limit", "bad frame", FRAME("\60", "\1", "\40", "\1", "x")),
    CASE("another session", "session", FRAME("\60", "\1", "\1", "\1", "x")),
    CASE("no bytes of output", "bad frame", FRAME("\60", "\1", "\0", "\0")),
    CASE("output on stdin", "bad frame", FRAME("\60", "\0", "\0", "\1", "x")),
    CASE("output on stream 3", "bad frame", FRAME("\60", "\3", "\0", "\1", "x")),
    CASE("credit for stdout", "bad frame", FRAME("\61", "\1", "\0", "\4", "\1\0\0\0")),
    CASE("credit over the window", "may not send", FRAME("\61", "\0", "\0", "\4", "\1\0\1\0")),
    CASE("credit of 2^32 - 1", "may not send", FRAME("\61", "\0", "\0", "\4", "\377\377\377\377")),
    CASE("credit twice", "may not send",
         FRAME("\61", "\0", "\0", "\4", "\0\0\1\0") FRAME("\61", "\0", "\0", "\4", "\1\0\0\0")),
    CASE("credit after close", "may not send",
         FRAME("\62", "\0", "\0", "\1", "\1") FRAME("\61", "\0", "\0", "\4", "\1\0\0\0")),
    CASE("stdin closed twice", "may not send",
         FRAME("\62", "\0", "\0", "\1", "\1") FRAME("\62", "\0", "\0", "\1", "\1")),
    CASE("stdout closed twice", "may not send",
         FRAME("\62", "\1", "\0", "\1", "\0") FRAME("\62", "\1", "\0", "\1", "\0")),
    CASE("output after close", "may not send",
         FRAME("\62", "\1", "\0", "\1", "\0") FRAME("\60", "\1", "\0", "\1", "x")),
    CASE("exit of no kind", "bad frame", FRAME("\41", "\11", "\0", "\6", "\0\0\0\0\0\0")),
    CASE("exit with more behind it", "bad frame", FRAME("\41", "\0", "\0", "\7", "\0\0\0\0\0\0\0")),
    CASE("goodbye", "too early", FRAME("\106", "\0", "\0", "\0")),
    CASE("hello again", "introduce", FRAME("\1", "\0", "\0", "\10", "\x76\x74\x57\x78\1\0\1\0")),
    CASE("ready again", "out of turn", FRAME("\4", "\0", "\0", "\0")),
    CASE("rested", "out of turn", FRAME("\103", "\0", "\0", "\0")),
    CASE("an error with an escape", "\\033",
         FRAME("\110", "\0", "\0", "\11", "\1\0\0\0\3\0\033[m")),
};

static void test_from_birth(gconstpointer data)
{
    const Case *test = data;
    Talk talk;
    talk_start(&talk, 60);
    say_bytes(talk.agent, test->bytes, test->size);
    end_by_protocol(&talk, test->message);
}

static void test_running(gconstpointer data)
{
    const Case *test = data;
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    say_bytes(talk.agent, test->bytes, test->size);
    /* What still goes to a client that is there is let through. */
    say(talk.client, WIRE_CLOSE, WIRE_STDOUT, "", 1);
    end_by_protocol(&talk, test->message);
}

/* A session that ends without a word of how: the guest is brought down in order. */
static void test_no_exit(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    say(talk.agent, WIRE_ENDED, 0, NULL, 0);
    g_assert_true(await(&talk, talk.agent, WIRE_SHUTDOWN, -1));
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    end_by_protocol(&talk, "no exit status");
}

/* The first status is told, and the guest is not asked any more. */
static void test_two_exits(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    say_bytes(talk.agent, FRAME("\41", "\0", "\0", "\6", "\3\0\0\0\0\0"), 14);
    say_bytes(talk.agent, FRAME("\41", "\0", "\0", "\6", "\0\0\0\0\0\0"), 14);
    g_assert_true(await(&talk, talk.client, WIRE_EXIT, -1));
    g_assert_false(await(&talk, talk.client, WIRE_EXIT, -1));
    talk_end(&talk);
    g_assert_true(talk.told);
    g_assert_cmpint(talk.reason, ==, CTL_REASON_DONE);
}

static void test_output_flood(void)
{
    Talk talk;
    guint8 data[WIRE_PAYLOAD_MAX] = {0};
    talk_start(&talk, 60);
    become_running(&talk);
    /* The client reads nothing beyond its credit: the agent's, the tail, and then one too many. */
    for (int i = 0; i < 3 * CREDIT / WIRE_PAYLOAD_MAX + 2; i++)
        say(talk.agent, WIRE_DATA, WIRE_STDERR, data, sizeof data);
    say(talk.client, WIRE_CLOSE, WIRE_STDERR, "", 1);
    end_by_protocol(&talk, "may not send");
}

static void test_ping_flood(void)
{
    Talk talk;
    guint8 pings[1000][16];
    const guint8 ping[16] = {8, 0, 0, 0, WIRE_PING};
    talk_start(&talk, 60);
    become_running(&talk);
    for (gsize i = 0; i < G_N_ELEMENTS(pings); i++)
        memcpy(pings[i], ping, sizeof ping);
    for (int i = 0; i < 1000; i++)
        say_bytes(talk.agent, pings, sizeof pings);
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    g_assert_cmpint(talk_end(&talk), <, 256 * 1024);
}

/* The walltime and the deadline start once. */
static void test_started_flood(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    for (int i = 0; i < 10000; i++)
        say_u32(talk.agent, WIRE_STARTED, 0, 77);
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    end_by_protocol(&talk, "too early");
}

static void test_silent(gconstpointer data)
{
    Talk talk;
    const char *state = data;
    talk_start(&talk, 1);
    if (g_str_equal(state, "script")) {
        become_ready(&talk);
        say_opening(&talk);
    } else if (g_str_equal(state, "half a frame")) {
        say_bytes(talk.agent, "\377\0\0\0\1\0\0\0abc", 11);
    }
    talk_end(&talk);
    g_assert_true(talk.told);
    g_assert_cmpint(talk.reason, ==, CTL_REASON_BOOT_TIMEOUT);
}

/* A console that never pauses keeps an order from nobody. */
static void test_console_flood(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    pid_t writer = fork();
    if (writer == 0) {
        static const char line[4096] = {0};
        while (send(talk.serial, line, sizeof line, MSG_NOSIGNAL) > 0)
            ;
        _exit(0);
    }
    say(talk.client, CTL_END, CTL_END_NOW, NULL, 0);
    talk_end(&talk);
    g_assert_cmpint(talk.reason, ==, CTL_REASON_ENDED);
    waitpid(writer, NULL, 0);
}

static const Case from_client[] = {
    CASE("noise", NULL, "GET / HTTP/1.0\r\n\r\n"),
    CASE("stdin without credit", NULL, FRAME("\60", "\0", "\0", "\1", "x")),
    CASE("output", NULL, FRAME("\60", "\1", "\0", "\1", "x")),
    CASE("credit for stdin", NULL, FRAME("\61", "\0", "\0", "\4", "\1\0\0\0")),
    CASE("short credit", NULL, FRAME("\61", "\1", "\0", "\3", "\1\0\0")),
    CASE("signal 0", NULL, FRAME("\25", "\0", "\0", "\0")),
    CASE("signal 65", NULL, FRAME("\25", "\101", "\0", "\0")),
    CASE("a fault", NULL, FRAME("\107", "\2", "\0", "\0")),
    CASE("a step", NULL, FRAME("\2", "\10", "\0", "\3", "\1\0x")),
    CASE("another session", NULL, FRAME("\25", "\17", "\1", "\0")),
    CASE("script after the start", NULL, FRAME("\202", "\0", "\0", "\1", "x")),
    CASE("start again", NULL, FRAME("\24", "\0", "\0", "\0")),
    CASE("unknown type", NULL, FRAME("\377", "\0", "\0", "\0")),
};

/* A client that breaks the rules is lost, as one that went away: TERM, the grace (none here), KILL.
 */
static void test_client(gconstpointer data)
{
    const Case *test = data;
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    say_bytes(talk.client, test->bytes, test->size);
    g_assert_true(await(&talk, talk.agent, WIRE_SIGNAL, SIGTERM));
    g_assert_true(await(&talk, talk.agent, WIRE_SIGNAL, SIGKILL));
    say_bytes(talk.agent, FRAME("\41", "\1", "\0", "\6", "\11\0\0\0\0\0"), 14);
    say(talk.agent, WIRE_ENDED, 0, NULL, 0);
    g_assert_true(await(&talk, talk.agent, WIRE_SHUTDOWN, -1));
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    talk_end(&talk);
    g_assert_false(talk.told);
}

/* Gone before the loop runs. */
static void test_client_gone(void)
{
    Talk talk;
    talk_start(&talk, 60);
    shutdown(talk.client, SHUT_RDWR);
    talk_end(&talk);
}

static int connect_control(const Talk *talk)
{
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(getsockname(talk->listener, (struct sockaddr *)&address, &size), ==, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&address, size), ==, 0);
    set_patience(fd);
    return fd;
}

static void test_control_flood(void)
{
    Talk talk;
    char text[8192];
    memset(text, 'x', sizeof text);
    for (gsize i = 0; i < sizeof text; i += 64)
        text[i] = '\n';
    talk_start(&talk, 60);
    become_running(&talk);
    for (int i = 0; i < 8; i++)
        say_bytes(talk.serial, text, sizeof text);
    /* 200 that come and go, then one that asks and asks and reads nothing. */
    for (int i = 0; i < 200; i++)
        close(connect_control(&talk));
    talk.control = connect_control(&talk);
    for (int i = 0; i < 10000; i++)
        say(talk.control, CTL_CONSOLE, 0, NULL, 0);
    int second = connect_control(&talk);
    say(second, CTL_QUERY, 0, NULL, 0);
    g_assert_true(await(&talk, second, CTL_ANSWER, -1));
    say(second, 99, 0, NULL, 0);
    g_assert_true(await(&talk, second, CTL_REFUSED, -1));
    g_assert_false(await(&talk, second, CTL_ANSWER, -1));
    close(second);
    say(talk.agent, WIRE_BYE, 0, NULL, 0);
    g_assert_cmpint(talk_end(&talk), <, 256 * 1024);
}

/* Shells */

#define SHELL 2 /* the first's number in the agent */

/* A shell that runs; `aux` is WIRE_OPEN's. The agent is told nothing that the client may say of
 * itself. */
static void open_shell(Talk *talk, guint8 aux)
{
    static const guint8 open[] = "\0\0\0\0\0\0\0\0\022\0\0\0\030\0\120\0\001\0/";
    static guint8 payload[WIRE_PAYLOAD_MAX];
    guint words[3] = {0};
    WireHeader header;
    talk->control = connect_control(talk);
    say(talk->control, CTL_SHELL, 0, NULL, 0);
    g_assert_true(await(talk, talk->control, CTL_ANSWER, -1));
    say(talk->control, WIRE_OPEN, aux, open, sizeof open - 1);
    say(talk->control, WIRE_GROUPS, 0, "\0\0\0\0", 4);
    say(talk->control, WIRE_WORD, WIRE_WORD_ARG, "-sh", 3);
    say(talk->control, WIRE_WORD, WIRE_WORD_ENV, "PBS_JOBID=mine", 14);
    say_u32(talk->control, WIRE_CREDIT, WIRE_STDOUT, CREDIT);
    say(talk->control, WIRE_START, 0, NULL, 0);
    do {
        g_assert_true(hear(talk->agent, &header, payload));
        if (header.session == 0 && header.type != WIRE_START) /* the script's credits */
            continue;
        g_assert_cmpuint(header.session, ==, SHELL);
        WireReader reader = wire_reader(payload, header.length);
        if (header.type == WIRE_OPEN) {
            g_assert_cmpuint(header.aux, ==, aux);
            g_assert_cmpuint(wire_get_u32(&reader), ==, 1000);
            g_assert_cmpuint(wire_get_u32(&reader), ==, 1000);
        } else if (header.type == WIRE_GROUPS)
            g_assert_cmpuint(header.length, ==, 0);
        else if (header.type == WIRE_WORD)
            words[header.aux]++;
    } while (header.type != WIRE_START);
    g_assert_cmpuint(words[WIRE_WORD_ARG], ==, 1);
    /* The job's script had none. */
    g_assert_cmpuint(words[WIRE_WORD_ENV], ==, 1);
    g_assert_true(await(talk, talk->agent, WIRE_CREDIT, WIRE_STDOUT));
    say_bytes(talk->agent, FRAME("\40", "\0", "\2", "\4", "\7\0\0\0"), 12);
    g_assert_true(await(talk, talk->control, WIRE_STARTED, -1));
}

/* The job runs, and is asked to end. */
static void end_undisturbed(Talk *talk)
{
    int second = connect_control(talk);
    say(second, CTL_QUERY, 0, NULL, 0);
    g_assert_true(await(talk, second, CTL_ANSWER, -1));
    close(second);
    g_assert_false(talk->told);
    say(talk->client, CTL_END, CTL_END_NOW, NULL, 0);
    talk_end(talk);
    g_assert_cmpint(talk->reason, ==, CTL_REASON_ENDED);
}

static void test_shell(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    open_shell(&talk, 0);
    say_bytes(talk.agent, FRAME("\61", "\0", "\2", "\4", "\0\0\1\0"), 12);
    g_assert_true(await(&talk, talk.control, WIRE_CREDIT, WIRE_STDIN));
    say(talk.control, WIRE_DATA, WIRE_STDIN, "in", 2);
    g_assert_true(await(&talk, talk.agent, WIRE_DATA, WIRE_STDIN));
    say(talk.control, WIRE_WINSIZE, 0, "\1\0\2\0", 4);
    g_assert_true(await(&talk, talk.agent, WIRE_WINSIZE, -1));
    say_bytes(talk.agent, FRAME("\60", "\1", "\2", "\3", "out"), 11);
    g_assert_true(await(&talk, talk.control, WIRE_DATA, WIRE_STDOUT));
    say_bytes(talk.agent, FRAME("\41", "\0", "\2", "\6", "\7\0\0\0\0\0"), 14);
    g_assert_true(await(&talk, talk.control, WIRE_EXIT, WIRE_EXIT_STATUS));
    say_bytes(talk.agent, FRAME("\42", "\0", "\2", "\0"), 8);
    g_assert_true(await(&talk, talk.control, CTL_OUTCOME, CTL_REASON_DONE));
    close(talk.control);
    /* The number is free again. */
    open_shell(&talk, WIRE_OPEN_PTY);
    end_undisturbed(&talk);
}

static void test_shell_ends(void)
{
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    open_shell(&talk, 0);
    say(talk.client, CTL_END, CTL_END_NOW, NULL, 0);
    g_assert_true(await(&talk, talk.control, CTL_OUTCOME, CTL_REASON_ENDED));
    g_assert_false(await(&talk, talk.control, CTL_OUTCOME, -1));
    talk_end(&talk);
}

static void check_refused(Talk *talk, guint8 vm)
{
    int fd = connect_control(talk);
    say(fd, CTL_SHELL, vm, NULL, 0);
    g_assert_true(await(talk, fd, CTL_REFUSED, -1));
    close(fd);
}

static void test_shell_refused(void)
{
    Talk talk;
    int fds[CTL_SHELLS_MAX];
    talk_start(&talk, 60);
    check_refused(&talk, 0);
    become_running(&talk);
    check_refused(&talk, 1);
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = connect_control(&talk);
        say(fds[i], CTL_SHELL, 0, NULL, 0);
        g_assert_true(await(&talk, fds[i], CTL_ANSWER, -1));
    }
    check_refused(&talk, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(fds); i++)
        close(fds[i]);
    open_shell(&talk, 0);
    end_undisturbed(&talk);
}

#define SHELL_FRAME(type, aux, length, ...) FRAME(type, aux, "\2", length, __VA_ARGS__)

/* What is wrong with the agent ends the job. */
static const Case of_shell[] = {
    CASE("another number", "session", FRAME("\60", "\1", "\3", "\1", "x")),
    CASE("started again", "may not send", SHELL_FRAME("\40", "\0", "\4", "\7\0\0\0")),
    CASE("ended without an exit", "may not send", SHELL_FRAME("\42", "\0", "\0")),
    CASE("two exits", "may not send",
         SHELL_FRAME("\41", "\0", "\6", "\7\0\0\0\0\0")
             SHELL_FRAME("\41", "\0", "\6", "\7\0\0\0\0\0")),
    CASE("after its end", "session",
         SHELL_FRAME("\41", "\0", "\6", "\7\0\0\0\0\0") SHELL_FRAME("\42", "\0", "\0")
             SHELL_FRAME("\60", "\1", "\1", "x")),
    CASE("credit over the window", "may not send", SHELL_FRAME("\61", "\0", "\4", "\1\0\1\0")),
    CASE("stdout closed twice", "may not send",
         SHELL_FRAME("\62", "\1", "\1", "\0") SHELL_FRAME("\62", "\1", "\1", "\0")),
    CASE("output after close", "may not send",
         SHELL_FRAME("\62", "\1", "\1", "\0") SHELL_FRAME("\60", "\1", "\1", "x")),
    CASE("stderr of a terminal", "may not send", SHELL_FRAME("\60", "\2", "\1", "x")),
};

static void test_shell_agent(gconstpointer data)
{
    const Case *test = data;
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    open_shell(&talk, WIRE_OPEN_PTY);
    say_bytes(talk.agent, test->bytes, test->size);
    end_by_protocol(&talk, test->message);
}

static void test_shell_flood(void)
{
    Talk talk;
    guint8 data[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX] = {0, 0, 1, 0, WIRE_DATA, WIRE_STDOUT, SHELL};
    talk_start(&talk, 60);
    become_running(&talk);
    open_shell(&talk, 0);
    for (int i = 0; i < CREDIT / WIRE_PAYLOAD_MAX + 2; i++)
        say_bytes(talk.agent, data, sizeof data);
    end_by_protocol(&talk, "may not send");
}

/* What is wrong with the client ends its session, and nothing else. */
static const Case from_shell[] = {
    CASE("noise", NULL, "GET / HTTP/1.0\r\n\r\n"),
    CASE("stdin without credit", NULL, FRAME("\60", "\0", "\0", "\1", "x")),
    CASE("output", NULL, FRAME("\60", "\1", "\0", "\1", "x")),
    CASE("another session", NULL, FRAME("\25", "\17", "\1", "\0")),
    CASE("start again", NULL, FRAME("\24", "\0", "\0", "\0")),
    CASE("word after the start", NULL, FRAME("\22", "\0", "\0", "\1", "x")),
    CASE("a script", NULL, FRAME("\202", "\0", "\0", "\1", "x")),
    CASE("an order to end", NULL, FRAME("\203", "\1", "\0", "\0")),
    CASE("another request", NULL, FRAME("\220", "\0", "\0", "\0")),
    CASE("a fault", NULL, FRAME("\107", "\2", "\0", "\0")),
    CASE("too much credit", NULL, FRAME("\61", "\1", "\0", "\4", "\1\0\4\0")),
    CASE("credit of 2^32 - 1", NULL, FRAME("\61", "\1", "\0", "\4", "\377\377\377\377")),
};

static void test_shell_client(gconstpointer data)
{
    const Case *test = data;
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    open_shell(&talk, 0);
    say_bytes(talk.control, test->bytes, test->size);
    g_assert_true(await(&talk, talk.agent, WIRE_SIGNAL, SIGHUP));
    g_assert_true(await(&talk, talk.agent, WIRE_CLOSE, WIRE_STDOUT));
    g_assert_false(await(&talk, talk.control, CTL_OUTCOME, -1));
    /* The first hears no HUP. */
    if (test == from_shell)
        g_assert_true(await(&talk, talk.agent, WIRE_SIGNAL, SIGKILL));
    say_bytes(talk.agent, FRAME("\41", "\1", "\2", "\6", "\11\0\0\0\0\0"), 14);
    say_bytes(talk.agent, FRAME("\42", "\0", "\2", "\0"), 8);
    close(talk.control);
    open_shell(&talk, 0);
    end_undisturbed(&talk);
}

/* Those that the agent would end the job for. */
static void test_shell_opening(void)
{
    static const char word[WIRE_WORD_MAX] = "A=";
    Talk talk;
    talk_start(&talk, 60);
    become_running(&talk);
    for (int i = 0; i < 3; i++) {
        talk.control = connect_control(&talk);
        say(talk.control, CTL_SHELL, 0, NULL, 0);
        g_assert_true(await(&talk, talk.control, CTL_ANSWER, -1));
        if (i > 0)
            say(talk.control, WIRE_WORD, WIRE_WORD_ENV, "A=b", 3);
        for (int words = 0; i == 2 && words <= WIRE_ARENA_MAX / WIRE_WORD_MAX; words++)
            say(talk.control, WIRE_WORD, WIRE_WORD_ARG, word, 2);
        for (int words = 0; i == 2 && words <= WIRE_WORDS_MAX; words++)
            say(talk.control, WIRE_WORD, WIRE_WORD_ARG, "x", 1);
        say(talk.control, WIRE_START, 0, NULL, 0);
        g_assert_false(await(&talk, talk.control, CTL_OUTCOME, -1));
        close(talk.control);
    }
    end_undisturbed(&talk);
}

/* A console that never pauses, and a follower that reads nothing: nobody waits. */
static void test_follower(void)
{
    Talk talk;
    char line[4096];
    memset(line, 'x', sizeof line);
    talk_start(&talk, 60);
    become_running(&talk);
    talk.control = connect_control(&talk);
    say(talk.control, CTL_CONSOLE, 0, "\1", 1);
    g_assert_true(await(&talk, talk.control, CTL_ANSWER, -1));
    say_u32(talk.control, WIRE_CREDIT, WIRE_STDOUT, CREDIT);
    say(talk.control, WIRE_START, 0, NULL, 0);
    g_assert_true(await(&talk, talk.control, WIRE_CREDIT, WIRE_STDIN));
    say(talk.control, WIRE_DATA, WIRE_STDIN, "typed", 5);
    g_assert_cmpint(recv(talk.serial, line, 5, MSG_WAITALL), ==, 5);
    g_assert_cmpint(memcmp(line, "typed", 5), ==, 0);
    for (int i = 0; i < 1000; i++)
        say_bytes(talk.serial, line, sizeof line);
    g_assert_true(await(&talk, talk.control, WIRE_DATA, WIRE_STDOUT));
    say(talk.client, CTL_END, CTL_END_NOW, NULL, 0);
    g_assert_true(await(&talk, talk.control, CTL_OUTCOME, CTL_REASON_DONE));
    g_assert_cmpint(talk_end(&talk), <, 256 * 1024);
}

static void add_cases(const char *prefix, const Case *cases, gsize count, GTestDataFunc function)
{
    for (gsize i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("/engine/%s/%s", prefix, cases[i].name);
        g_test_add_data_func(path, &cases[i], function);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/engine/good", test_good);
    g_test_add_func("/engine/keeper-gone", test_keeper_gone);
    add_cases("agent/first", from_birth, G_N_ELEMENTS(from_birth), test_from_birth);
    add_cases("agent/running", when_running, G_N_ELEMENTS(when_running), test_running);
    g_test_add_func("/engine/agent/no exit status", test_no_exit);
    g_test_add_func("/engine/agent/two exit statuses", test_two_exits);
    g_test_add_func("/engine/agent/output flood", test_output_flood);
    g_test_add_func("/engine/agent/ping flood", test_ping_flood);
    g_test_add_func("/engine/agent/started flood", test_started_flood);
    g_test_add_data_func("/engine/agent/silent", "", test_silent);
    g_test_add_data_func("/engine/agent/half a frame", "half a frame", test_silent);
    g_test_add_data_func("/engine/agent/silent after the script", "script", test_silent);
    g_test_add_func("/engine/console flood", test_console_flood);
    add_cases("client", from_client, G_N_ELEMENTS(from_client), test_client);
    g_test_add_func("/engine/client/gone", test_client_gone);
    g_test_add_func("/engine/control flood", test_control_flood);
    g_test_add_func("/engine/shell/good", test_shell);
    g_test_add_func("/engine/shell/job ends", test_shell_ends);
    g_test_add_func("/engine/shell/refused", test_shell_refused);
    g_test_add_func("/engine/shell/flood", test_shell_flood);
    g_test_add_func("/engine/shell/opening", test_shell_opening);
    add_cases("shell/agent", of_shell, G_N_ELEMENTS(of_shell), test_shell_agent);
    add_cases("shell/client", from_shell, G_N_ELEMENTS(from_shell), test_shell_client);
    g_test_add_func("/engine/follower", test_follower);
    return g_test_run();
}
