/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-team.c - a leader's engine, without guests, and what stands for a follower's: what it
 * says right, what it may not say, and its end. In clear: TLS is test-channel's.
 */
#include <gio/gio.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "engine/engine.h"

#define PATIENCE_MS 60000
#define OWN_PORT 700
#define OWN_KEY 0x55
#define KEY "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

typedef struct {
    pid_t engine;
    int client, follower, keeper;
} Team;

/* Where the engine is in the job, and whether WireGuard carries its network. */
typedef struct {
    guint node, nodes;
    bool is_far;
} Place;

static VtJob *new_job(const Place *place)
{
    static const char head[] =
        "{\"version\": 1, \"id\": \"1.head\", \"name\": \"x\", \"host\": \"node1\", \"user\": "
        "\"ann\", \"group\": \"ann\", \"uid\": 1000, \"gid\": 1000, \"groups\": [], "
        "\"group_names\": [], \"home\": \"/home/ann\", \"shell\": \"/bin/sh\", \"image\": "
        "\"tiny\", \"image_name\": \"\", \"image_dir\": \"\", \"init\": \"agent\", \"fs_type\": "
        "\"ramdisk\", \"scratch_dir\": \"\", \"scratch_mib\": 0, \"accel\": \"tcg\", \"locks\": "
        "\"local\", \"file_server\": \"qemu\", \"vms\": 1, \"has_uplink\": 0, "
        "\"mac_prefix\": 0, \"domain\": \"\", \"name_servers\": [], \"search_domains\": [], "
        "\"time_servers\": [], \"ram_mib\": 256, \"vcpus\": 1, \"boot_timeout_s\": 60, "
        "\"walltime_s\": 0, \"cput_s\": 0, \"kill_grace_s\": 0, \"kernel_dir\": \"/k\", "
        "\"submit_dir\": \"/d\", \"mounts\": [], \"tmp_mib\": 64, \"run_wait_s\": 60, "
        "\"node_file\": \"\", \"vni\": 0, \"peer_key\": \"" KEY "\"";
    g_autoptr(GString) text = g_string_new(head);
    g_string_append_printf(text, ", \"net\": \"%s\", \"transport\": \"%s\", \"net_mtu\": %u",
                           place->is_far ? "private" : "none", place->is_far ? "wireguard" : "none",
                           place->is_far ? 1440 : 0);
    g_string_append_printf(text, ", \"node\": %u, \"nodes\": %u, \"addresses\": [", place->node,
                           place->nodes);
    for (guint i = 1; i <= place->nodes; i++)
        g_string_append_printf(text, "%s\"10.0.0.%u\"", i > 1 ? ", " : "", i);
    g_string_append(text, "]}");
    g_autoptr(GError) error = NULL;
    VtJob *job = vt_job_load(text->str, text->len, &error);
    g_assert_no_error(error);
    return job;
}

static bool in_clear(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE])
{
    return !is_server && key[0] == 0x01 && key[31] == 0xef;
}

static void on_go(VtEngine *engine)
{
    vt_log_note(engine, CTL_NOTE_ALWAYS, "go");
}

/* The leader has no guests, either. */
static void on_go_ready(VtEngine *engine)
{
    engine->vms[0].state = VT_VM_READY;
    vt_life_check_ready(engine);
}

/* The child. */
static void run_engine(VtEngine *engine, const VtNodesPart *part, const Place *place, int client,
                       int keeper)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX};
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    vt_engine_init(engine);
    vt_engine_take_job(engine, new_job(place));
    engine->run = client;
    engine->keeper = keeper;
    engine->control = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bind(engine->control, (const struct sockaddr *)&address, sizeof(sa_family_t));
    listen(engine->control, 1);
    engine->plan = vt_plan_new(engine->job, engine->slots, "vmlinux", NULL);
    engine->go = on_go;
    engine->nodes_part = part;
    engine->peers = g_new0(VtTunnelPeer, place->nodes);
    engine->peers[place->node].port = OWN_PORT;
    memset(engine->peers[place->node].key, OWN_KEY, VT_TUNNEL_KEY_SIZE);
    if (place->node == 0)
        vt_client_start(engine);
    vt_control_start(engine);
    vt_life_start(engine);
    vt_team_start(engine);
}

static void leave(VtEngine *engine)
{
    g_main_loop_run(engine->loop);
    vt_team_end(engine);
    vt_control_end(engine);
    _exit(0);
}

/* The same, with one follower of it, in clear. */
static void lead_one(const Place *place, int client, int follower, int keeper)
{
    static const VtNodesPart part = {.secure = in_clear};
    VtEngine engine;
    run_engine(&engine, &part, place, client, keeper);
    if (!vt_team_take(&engine, 1, follower) || vt_team_take(&engine, 1, -1) ||
        vt_team_take(&engine, place->nodes, -1) || vt_team_take(&engine, 0, -1))
        _exit(1);
    leave(&engine);
}

static void team_start_at(Team *team, const Place *place)
{
    int client[2], follower[2], keeper[2];
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client));
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, follower));
    g_assert_no_errno(pipe(keeper));
    team->engine = fork();
    if (team->engine == 0) {
        close(client[0]);
        close(follower[0]);
        close(keeper[1]);
        lead_one(place, client[1], follower[1], keeper[0]);
    }
    close(client[1]);
    close(follower[1]);
    close(keeper[0]);
    *team = (Team){team->engine, client[0], follower[0], keeper[1]};
}

static void team_start(Team *team)
{
    const Place place = {.nodes = 2};
    team_start_at(team, &place);
}

/* The same where WireGuard carries the job's network. */
static void team_start_far(Team *team)
{
    const Place place = {.nodes = 3, .is_far = true};
    team_start_at(team, &place);
}

/* The reason that the engine gives for the job's end; its text is printable. */
static guint8 team_finish(Team *team, char text[WIRE_STRING_MAX + 1])
{
    static guint8 payload[WIRE_PAYLOAD_MAX];
    WireHeader header;
    int status;
    do
        g_assert_cmpint(ctl_door_receive(team->client, &header, payload, PATIENCE_MS), ==, 0);
    while (header.type != CTL_OUTCOME);
    WireReader reader = wire_reader(payload, header.length);
    wire_get_string(&reader, text, WIRE_STRING_MAX + 1);
    g_assert_true(reader.ok);
    close(team->client);
    close(team->follower);
    g_assert_cmpint(waitpid(team->engine, &status, 0), ==, team->engine);
    close(team->keeper);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
    for (const char *at = text; *at; at++)
        g_assert_true((guchar)*at >= 0x20 || *at == '\n');
    return header.aux;
}

static void say(const Team *team, guint8 type, guint8 aux, const void *payload, gsize size)
{
    ctl_door_send(team->follower, type, aux, payload, size, NULL, 0);
}

static void say_name(const Team *team, const char *name, guint32 address, guint32 vcpus)
{
    guint8 payload[512];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_string(&writer, name);
    wire_put_u32(&writer, address);
    wire_put_u32(&writer, vcpus);
    say(team, VT_TEAM_NAME, 0, payload, writer.used);
}

static void say_hello(const Team *team, guint16 lowest, guint16 highest, guint32 node)
{
    guint8 payload[8];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u16(&writer, lowest);
    wire_put_u16(&writer, highest);
    wire_put_u32(&writer, node);
    say(team, VT_TEAM_HELLO, 0, payload, writer.used);
}

static void introduce(const Team *team)
{
    say_name(team, "vnode2-0", 0x0a4d0101, 1);
    say_hello(team, 1, 1, 1);
}

#define OUT_OF_TURN "node 10.0.0.2: its engine said what it may not say"

/* What is wrong with a name. */
static void test_names(void)
{
    static const struct {
        const char *name;
        guint32 address, vcpus;
    } rows[] = {
        {"vnode2-0", 0x0a4d0001, 1}, /* the leader's part of the network */
        {"vnode2-0", 0x0a4d0201, 1}, /* nobody's */
        {"vnode2-0", 0x0a4d0100, 1},
        {"vnode2-0", 0x0a4d01ff, 1},
        {"vnode2-0", 0x7f000001, 1},
        {"vnode2-0", 0x0a4d0101, 0},
        {"vnode2-0", 0x0a4d0101, 256},
        {"", 0x0a4d0101, 1},
        {"node2-0", 0x0a4d0101, 1},
        {"vnode2 x", 0x0a4d0101, 1},
        {"vnode2\n10.77.0.1 x", 0x0a4d0101, 1},
        {"vnode2/..", 0x0a4d0101, 1},
        {"vNODE", 0x0a4d0101, 1},
        {"vaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0x0a4d0101, 1},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        char text[WIRE_STRING_MAX + 1];
        Team team;
        team_start(&team);
        say_name(&team, rows[i].name, rows[i].address, rows[i].vcpus);
        g_assert_cmpuint(team_finish(&team, text), ==, CTL_REASON_NODE);
        g_assert_cmpstr(text, ==, OUT_OF_TURN);
    }
}

static void check_end(Team *team, CtlReason reason, const char *said)
{
    char text[WIRE_STRING_MAX + 1];
    g_assert_cmpuint(team_finish(team, text), ==, reason);
    g_test_message("%s", text);
    g_assert_cmpstr(text, ==, said);
}

static void test_hello(void)
{
    Team team;
    team_start(&team);
    say_hello(&team, 1, 1, 1);
    check_end(&team, CTL_REASON_NODE, "node 10.0.0.2: its engine introduced itself as another's");
    team_start(&team);
    say_name(&team, "vnode2-0", 0x0a4d0101, 1);
    say_hello(&team, 1, 1, 2);
    check_end(&team, CTL_REASON_NODE, "node 10.0.0.2: its engine introduced itself as another's");
    team_start(&team);
    say_name(&team, "vnode2-0", 0x0a4d0101, 1);
    say_hello(&team, 2, 3, 1);
    check_end(&team, CTL_REASON_NODE,
              "node 10.0.0.2: its vTorque speaks versions 2 to 3 between engines, this one 1");
}

/* Each type before HELLO and after GO, as far as it may not come then. */
static void test_turns(void)
{
    static const guint8 never[] = {0,           CTL_QUERY,    VT_TEAM_GO, VT_TEAM_PAUSE,
                                   VT_TEAM_END, VT_TEAM_PEER, 235,        255};
    static const guint8 early[] = {VT_TEAM_READY, VT_TEAM_DOWN};
    static const guint8 late[] = {VT_TEAM_NAME, VT_TEAM_HELLO, VT_TEAM_DOWN};
    Team team;
    for (int is_late = 0; is_late < 2; is_late++) {
        const guint8 *own = is_late ? late : early;
        gsize n = is_late ? G_N_ELEMENTS(late) : G_N_ELEMENTS(early);
        for (gsize i = 0; i < G_N_ELEMENTS(never) + n; i++) {
            team_start(&team);
            if (is_late)
                introduce(&team);
            say(&team, i < n ? own[i] : never[i - n], 0, "", 0);
            check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
        }
    }
    team_start(&team);
    for (guint i = 0; i <= VT_VMS_MAX; i++)
        say_name(&team, "vnode2-0", 0x0a4d0101, 1);
    check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
}

/* The leader says who there is, in order, then GO; READY twice is once too often. */
static void test_go(void)
{
    static guint8 payload[WIRE_PAYLOAD_MAX];
    static const char *const names[] = {"vnode1-0", "vnode2-0"};
    Team team;
    WireHeader header;
    char name[64];
    team_start(&team);
    introduce(&team);
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_assert_cmpint(ctl_door_receive(team.follower, &header, payload, PATIENCE_MS), ==, 0);
        WireReader reader = wire_reader(payload, header.length);
        wire_get_string(&reader, name, sizeof name);
        g_assert_cmpuint(header.type, ==, VT_TEAM_NAME);
        g_assert_cmpstr(name, ==, names[i]);
        g_assert_cmpuint(wire_get_u32(&reader), ==, 0x0a4d0001 + 0x100 * i);
    }
    g_assert_cmpint(ctl_door_receive(team.follower, &header, payload, PATIENCE_MS), ==, 0);
    g_assert_cmpuint(header.type, ==, VT_TEAM_GO);
    g_assert_cmpuint(header.length, ==, 64);
    say(&team, VT_TEAM_READY, 0, "", 0);
    say(&team, VT_TEAM_READY, 0, "", 0);
    check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
}

/* Peers */

typedef struct {
    guint32 node;
    guint16 port;
    guint8 key;
    gsize missing; /* bytes of its end */
} PeerRow;

static void say_peer(int fd, const PeerRow *row)
{
    guint8 payload[64], key[VT_TUNNEL_KEY_SIZE];
    WireWriter writer = wire_writer(payload, sizeof payload);
    memset(key, row->key, sizeof key);
    wire_put_u32(&writer, row->node);
    wire_put_u16(&writer, row->port);
    wire_put_bytes(&writer, key, sizeof key);
    wire_put_u8(&writer, 0);
    ctl_door_send(fd, VT_TEAM_PEER, 0, payload, writer.used - 1 - row->missing, NULL, 0);
}

/* What a follower may not say of its end of the network, and when. */
static void test_peers(void)
{
    static const PeerRow rows[] = {
        {0, 5, 1},                                /* the leader's */
        {2, 5, 1},                                /* another's */
        {3, 5, 1},                                /* nobody's */
        {0xffffffff, 5, 1}, {1, 0, 1},            /* no port */
        {1, 5, 0},                                /* no key */
        {1, 5, OWN_KEY},                          /* the leader's key */
        {1, 5, 1, 1},                             /* cut */
        {1, 5, 1, 38},      {1, 5, 1, (gsize)-1}, /* longer */
    };
    static const PeerRow good = {1, 5, 1};
    Team team;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        team_start_far(&team);
        say_peer(team.follower, &rows[i]);
        check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
    }
    team_start_far(&team);
    say_peer(team.follower, &good);
    say_peer(team.follower, &good);
    check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
    team_start_far(&team);
    introduce(&team);
    check_end(&team, CTL_REASON_NODE, "node 10.0.0.2: its engine introduced itself as another's");
    team_start_far(&team);
    say_peer(team.follower, &good);
    introduce(&team);
    say_peer(team.follower, &good);
    check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
    team_start(&team);
    say_peer(team.follower, &good);
    check_end(&team, CTL_REASON_NODE, OUT_OF_TURN);
}

/* A leader tells of itself between the names and GO. */
static void test_peers_are_told(void)
{
    static guint8 payload[WIRE_PAYLOAD_MAX];
    static const guint8 types[] = {VT_TEAM_NAME, VT_TEAM_NAME, VT_TEAM_PEER, VT_TEAM_GO};
    const Place place = {.nodes = 2, .is_far = true};
    static const PeerRow good = {1, 5, 1};
    Team team;
    WireHeader header;
    team_start_at(&team, &place);
    say_peer(team.follower, &good);
    introduce(&team);
    for (gsize i = 0; i < G_N_ELEMENTS(types); i++) {
        g_assert_cmpint(ctl_door_receive(team.follower, &header, payload, PATIENCE_MS), ==, 0);
        g_assert_cmpuint(header.type, ==, types[i]);
        if (header.type != VT_TEAM_PEER)
            continue;
        WireReader reader = wire_reader(payload, header.length);
        g_assert_cmpuint(wire_get_u32(&reader), ==, 0);
        g_assert_cmpuint(wire_get_u16(&reader), ==, OWN_PORT);
        for (guint j = 0; j < VT_TUNNEL_KEY_SIZE; j++)
            g_assert_cmpuint(wire_get_u8(&reader), ==, OWN_KEY);
        g_assert_true(wire_reader_done(&reader));
    }
    close(team.follower);
    team.follower = -1;
    check_end(&team, CTL_REASON_NODE,
              "node 10.0.0.2: its engine is gone: it was killed, or the node was lost");
}

static bool as_server(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE])
{
    return is_server;
}

/* A follower's engine goes when it knows all other nodes, each once, and not otherwise: then it has heard
 * what no leader says, and ends. */
static bool follower_goes(const PeerRow *rows, gsize n)
{
    static const VtNodesPart part = {.secure = as_server};
    static guint8 payload[WIRE_PAYLOAD_MAX], seed[64];
    const Place place = {.node = 1, .nodes = 3, .is_far = true};
    int pair[2], keeper[2];
    bool has_gone = false;
    WireHeader header;
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
    g_assert_no_errno(pipe(keeper));
    pid_t pid = fork();
    if (pid == 0) {
        VtEngine engine;
        close(pair[0]);
        close(keeper[1]);
        run_engine(&engine, &part, &place, pair[1], keeper[0]);
        if (engine.state != VT_STATE_DONE)
            leave(&engine);
        _exit(0);
    }
    close(pair[1]);
    close(keeper[0]);
    const Team leader = {.follower = pair[0]};
    for (guint i = 0; i < place.nodes; i++)
        say_name(&leader, "vnode-0", 0x0a4d0001 + (i << 8), 1);
    for (gsize i = 0; i < n; i++)
        say_peer(pair[0], &rows[i]);
    say(&leader, VT_TEAM_GO, 0, seed, sizeof seed);
    while (!has_gone && ctl_door_receive(pair[0], &header, payload, PATIENCE_MS) == 0)
        has_gone = header.type == VT_TEAM_NOTE;
    close(keeper[1]);
    waitpid(pid, NULL, 0);
    close(pair[0]);
    return has_gone;
}

static void test_follower_peers(void)
{
    static const struct {
        PeerRow rows[3];
        gsize n;
        bool goes;
    } cases[] = {
        {{{0, 5, 1}, {2, 6, 2}}, 2, true},
        {{{2, 6, 2}, {0, 5, 1}}, 2, true},
        {{{0, 5, 1}}, 1, false},
        {{{0, 5, 1}, {0, 6, 2}}, 2, false},            /* twice */
        {{{0, 5, 1}, {2, 6, 1}}, 2, false},            /* one key for two */
        {{{0, 5, 1}, {1, 6, 2}, {2, 6, 3}}, 3, false}, /* its own */
        {{{0, 5, 1}, {3, 6, 2}, {2, 6, 3}}, 3, false},
        {{{0, 5, 1}, {2, 0, 2}}, 2, false},
    };
    g_assert_false(follower_goes(NULL, 0));
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++)
        g_assert_true(follower_goes(cases[i].rows, cases[i].n) == cases[i].goes);
}

/* Its last word is the job's reason, made printable; and its end without one. */
static void test_last_word(void)
{
    static const char word[] = "\x13\0vnode2-0: \x1b[31mdead\r\n!";
    Team team;
    team_start(&team);
    introduce(&team);
    say(&team, VT_TEAM_FAILED, CTL_REASON_QEMU, word, 2 + 0x13);
    check_end(&team, CTL_REASON_QEMU, "vnode2-0: \\033[31mdead");
    team_start(&team);
    say(&team, VT_TEAM_FAILED, CTL_REASON_DONE, "\0\0", 2);
    check_end(&team, CTL_REASON_NODE, "");
    team_start(&team);
    introduce(&team);
    shutdown(team.follower, SHUT_RDWR);
    check_end(&team, CTL_REASON_NODE,
              "node 10.0.0.2: its engine is gone: it was killed, or the node was lost");
}

/* A follower that has no guests. */
typedef struct {
    VtChannel *channel;
    guint node;
} Follower;

static void on_follower_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    Follower *follower = data;
    if (header->type == VT_TEAM_GO)
        vt_channel_send(follower->channel, VT_TEAM_READY, 0, NULL, 0);
    if (header->type == VT_TEAM_PING)
        vt_channel_send(follower->channel, VT_TEAM_PING, 0, NULL, 0);
}

static void on_follower_closed(const char *reason, gpointer data)
{
    g_assert_cmpstr(reason, ==, "");
}

static void follower_start(Follower *follower, guint node, int fd)
{
    static const guint8 key[VT_SECURE_KEY_SIZE] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                                   0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                                   0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                                   0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    const VtChannelHandlers handlers = {.frame = on_follower_frame, .closed = on_follower_closed};
    guint8 name[64], hello[8];
    g_autofree char *text = g_strdup_printf("vnode%u-0", node + 1);
    WireWriter name_writer = wire_writer(name, sizeof name);
    WireWriter hello_writer = wire_writer(hello, sizeof hello);
    wire_put_string(&name_writer, text);
    wire_put_u32(&name_writer, 0x0a4d0001 + (node << 8));
    wire_put_u32(&name_writer, 1);
    wire_put_u16(&hello_writer, 1);
    wire_put_u16(&hello_writer, 1);
    wire_put_u32(&hello_writer, node);
    *follower = (Follower){vt_channel_new(fd, &handlers, follower), node};
    g_assert_true(vt_channel_secure(follower->channel, true, key));
    vt_channel_send(follower->channel, VT_TEAM_NAME, 0, name, name_writer.used);
    vt_channel_send(follower->channel, VT_TEAM_HELLO, 0, hello, hello_writer.used);
}

static void lead_many(const int *followers, guint n, int client, int keeper)
{
    static const VtNodesPart part = {.secure = vt_channel_secure};
    VtEngine engine;
    const Place place = {.nodes = n + 1};
    run_engine(&engine, &part, &place, client, keeper);
    engine.go = on_go_ready;
    for (guint i = 0; i < n; i++)
        if (!vt_team_take(&engine, i + 1, followers[i]))
            _exit(1);
    leave(&engine);
}

static char *read_status(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", pid);
    g_autofree char *folder = g_strdup_printf("/proc/%d/fd", pid);
    g_autofree char *text = NULL;
    g_autoptr(GDir) fds = g_dir_open(folder, 0, NULL);
    guint n = 0;
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    while (g_dir_read_name(fds))
        n++;
    const char *at = strstr(text, "RssAnon:");
    return g_strdup_printf("%u descriptors, %.*s", n, (int)strcspn(at, "\n"), at);
}

/* As many nodes as a job may have: all come, and all are told of all. What it takes is said, not judged. */
static void test_many(void)
{
    enum { MANY = VT_NODES_MAX - 1 };
    static Follower followers[MANY];
    static guint8 payload[WIRE_PAYLOAD_MAX];
    static int ours[MANY], theirs[MANY];
    int client[2], keeper[2];
    bool is_ready = false;
    gint64 start_us = g_get_monotonic_time();
    g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, client));
    g_assert_no_errno(pipe(keeper));
    for (guint i = 0; i < MANY; i++) {
        int pair[2];
        g_assert_no_errno(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
        ours[i] = pair[0], theirs[i] = pair[1];
    }
    pid_t pid = fork();
    if (pid == 0) {
        for (guint i = 0; i < MANY; i++)
            close(ours[i]);
        close(client[0]);
        close(keeper[1]);
        lead_many(theirs, MANY, client[1], keeper[0]);
    }
    close(client[1]);
    close(keeper[0]);
    for (guint i = 0; i < MANY; i++) {
        close(theirs[i]);
        follower_start(&followers[i], i + 1, ours[i]);
    }
    while (!is_ready) {
        if (vt_fd_wait(client[0], 1)) {
            WireHeader header;
            g_assert_cmpint(ctl_door_receive(client[0], &header, payload, PATIENCE_MS), ==, 0);
            g_assert_cmpuint(header.type, !=, CTL_OUTCOME);
            is_ready = header.type == CTL_PHASE && header.aux == CTL_PHASE_READY;
        }
        while (g_main_context_iteration(NULL, FALSE))
            ;
    }
    g_autofree char *status = read_status(pid);
    g_test_message("%d nodes ready after %" G_GINT64_FORMAT " ms; the leader: %s", MANY + 1,
                   (g_get_monotonic_time() - start_us) / 1000, status);
    close(keeper[1]);
    waitpid(pid, NULL, 0);
    close(client[0]);
    for (guint i = 0; i < MANY; i++)
        vt_channel_free(followers[i].channel);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    signal(SIGPIPE, SIG_IGN);
    g_test_add_func("/team/names", test_names);
    g_test_add_func("/team/hello", test_hello);
    g_test_add_func("/team/turns", test_turns);
    g_test_add_func("/team/go", test_go);
    g_test_add_func("/team/peers", test_peers);
    g_test_add_func("/team/peers-are-told", test_peers_are_told);
    g_test_add_func("/team/follower-peers", test_follower_peers);
    g_test_add_func("/team/last-word", test_last_word);
    g_test_add_func("/team/many", test_many);
    return g_test_run();
}
