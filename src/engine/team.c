/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/team.c - leading and following.
 *
 * Theory of operation. Every member of a leader's team goes COMING -HELLO-> HERE -GO-> STARTED -READY->
 * READY -DOWN-> DOWN; a follower has one member, its leader. GO is sent to all at once, when all are
 * HERE: until then no guest of the job runs anywhere, so nothing that a guest has taken over has a
 * say in who is told what.
 */
#include "engine/team.h"

#include <string.h>
#include <sys/random.h>

#include "base/fd.h"
#include "base/hex.h"
#include "engine/engine.h"

#define LABEL_MAX 63                  /* bytes of a machine's name */
#define QUEUE_MAX (16u * 1024 * 1024) /* that one which does not read may have waiting */

typedef enum {
    MEMBER_COMING,
    MEMBER_HERE,
    MEMBER_STARTED,
    MEMBER_READY,
    MEMBER_DOWN,
} MemberState;

typedef struct {
    VtEngine *engine;
    guint node; /* the follower's; a follower's own member: 0 */
    MemberState state;
    VtChannel *channel;
    gint64 heard_us;
    VtPlanName *names; /* that have come so far */
    guint n_names;
} Member;

struct VtTeam {
    Member *members; /* a leader's: one for each node from 1 on; a follower's: its leader */
    guint n;
    bool has_gone;
    guint ping_timer;
    guint8 key[VT_SECURE_KEY_SIZE];
};

bool vt_team_is_follower(const VtEngine *engine)
{
    return engine->job->node > 0;
}

static bool is_leader(const VtEngine *engine)
{
    return engine->team && !vt_team_is_follower(engine);
}

static const char *address_of(const Member *member)
{
    return member->engine->job->addresses[member->node];
}

static void drop(Member *member)
{
    g_clear_pointer(&member->channel, vt_channel_free);
}

/* Its filter is gone, so anybody there may speak as that node: the guests here listen to nobody. */
static void leave_network(VtEngine *engine)
{
    for (guint i = 0; engine->tunnel && i < engine->job->vms; i++)
        vt_vm_unplug(&engine->vms[i]);
}

static G_GNUC_PRINTF(2, 3) void fail(Member *member, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_autofree char *message = g_strdup_printf("node %s: %s", address_of(member), what);
    drop(member);
    vt_life_fail(member->engine, CTL_REASON_NODE, message);
}

/* The script has ended, or was told to. */
static bool is_ending(const VtEngine *engine)
{
    return engine->stopping || engine->state >= VT_STATE_CLOSING;
}

/* The other side is gone. After an order to end, a node goes when its own batch system ends it. */
static void lose(Member *member, const char *how)
{
    VtEngine *engine = member->engine;
    drop(member);
    if (engine->state == VT_STATE_DONE)
        return;
    if (vt_team_is_follower(engine)) {
        vt_life_stop(engine, CTL_REASON_ENDED, CTL_END_NOW);
        return;
    }
    if (is_ending(engine)) {
        member->state = MEMBER_DOWN;
        leave_network(engine);
        vt_life_check_down(engine);
        return;
    }
    fail(member, "%s", how);
}

/* Printable, but for what is in `kept`. */
static char *take_string(const WireHeader *header, const guint8 *payload, const char *kept)
{
    char text[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, text, sizeof text);
    return wire_reader_done(&reader) ? g_strescape(text, kept) : g_strdup("?");
}

/* Names */

static void send_name(VtChannel *channel, const VtPlanName *name)
{
    guint8 payload[2 + LABEL_MAX + 8];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_string(&writer, name->name);
    wire_put_u32(&writer, name->address);
    wire_put_u32(&writer, name->vcpus);
    vt_channel_send(channel, VT_TEAM_NAME, 0, payload, writer.used);
}

static bool name_is_valid(const char *name)
{
    return name[0] == 'v' && strlen(name) <= LABEL_MAX &&
           strspn(name, G_CSET_a_2_z G_CSET_DIGITS "-") == strlen(name);
}

/* A follower's machines have addresses of its own node, and no more than there can be; the leader's list
 * has as many as all nodes can have. */
static bool add_name(Member *member, const WireHeader *header, const guint8 *payload)
{
    char name[LABEL_MAX + 1];
    bool is_followers = !vt_team_is_follower(member->engine);
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, name, sizeof name);
    guint32 address = wire_get_u32(&reader), vcpus = wire_get_u32(&reader);
    guint32 node = (address - VT_PRIVATE_NETWORK) >> 8, last = address & 0xff;
    guint max = is_followers ? VT_VMS_MAX : VT_VMS_MAX * member->engine->job->nodes;
    if (!wire_reader_done(&reader) || !name_is_valid(name) || member->n_names >= max ||
        vcpus == 0 || vcpus > VT_VCPUS_MAX || last == 0 || last > VT_VMS_MAX ||
        node >= member->engine->job->nodes || (is_followers && node != member->node))
        return false;
    member->names = g_renew(VtPlanName, member->names, member->n_names + 1);
    member->names[member->n_names++] = (VtPlanName){g_strdup(name), address, vcpus};
    return true;
}

/* Peers */

static bool needs_peers(const VtEngine *engine)
{
    return engine->job->transport == VT_TRANSPORT_WIREGUARD;
}

static void send_peer(VtChannel *channel, guint32 node, const VtTunnelPeer *peer)
{
    guint8 payload[6 + VT_TUNNEL_KEY_SIZE];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, node);
    wire_put_u16(&writer, peer->port);
    wire_put_bytes(&writer, peer->key, sizeof peer->key);
    vt_channel_send(channel, VT_TEAM_PEER, 0, payload, writer.used);
}

/* A node without a port is not known yet; two with one key are the work of one that lies. */
static bool add_peer(Member *member, const WireHeader *header, const guint8 *payload)
{
    VtEngine *engine = member->engine;
    VtTunnelPeer peer = {0};
    WireReader reader = wire_reader(payload, header->length);
    guint32 node = wire_get_u32(&reader);
    peer.port = wire_get_u16(&reader);
    for (guint i = 0; i < sizeof peer.key; i++)
        peer.key[i] = wire_get_u8(&reader);
    bool is_followers = !vt_team_is_follower(engine);
    if (!wire_reader_done(&reader) || !needs_peers(engine) || node >= engine->job->nodes ||
        node == engine->job->node || (is_followers && node != member->node) || peer.port == 0 ||
        engine->peers[node].port > 0)
        return false;
    for (guint i = 0; i < engine->job->nodes; i++)
        if (memcmp(engine->peers[i].key, peer.key, sizeof peer.key) == 0)
            return false;
    engine->peers[node] = peer;
    return true;
}

static bool has_all_peers(const VtEngine *engine)
{
    for (guint i = 0; needs_peers(engine) && i < engine->job->nodes; i++)
        if (engine->peers[i].port == 0)
            return false;
    return true;
}

static void send_other_peers(const Member *member)
{
    const VtEngine *engine = member->engine;
    for (guint i = 0; needs_peers(engine) && i < engine->job->nodes; i++)
        if (i != member->node)
            send_peer(member->channel, i, &engine->peers[i]);
}

/* The leader's own, then those of each node in turn. */
static void gather_names(VtEngine *engine)
{
    VtPlan *plan = engine->plan;
    VtTeam *team = engine->team;
    guint n = plan->n_names, at = 0;
    for (guint i = 0; i < team->n; i++)
        n += team->members[i].n_names;
    VtPlanName *all = g_new0(VtPlanName, n);
    for (guint i = 0; i < plan->n_names; i++) {
        all[at] = plan->names[i];
        all[at++].name = g_strdup(plan->names[i].name);
    }
    for (guint i = 0; i < team->n; i++) {
        Member *member = &team->members[i];
        memcpy(all + at, member->names, member->n_names * sizeof *all);
        at += member->n_names;
        g_clear_pointer(&member->names, g_free);
        member->n_names = 0;
    }
    vt_plan_take_names(plan, all, n);
}

/* Going */

static void check_gathered(VtEngine *engine)
{
    VtTeam *team = engine->team;
    const guint8 *seed = engine->seed;
    for (guint i = 0; i < team->n; i++)
        if (team->members[i].state < MEMBER_HERE)
            return;
    if (team->has_gone || engine->state != VT_STATE_BOOT)
        return;
    team->has_gone = true;
    gather_names(engine);
    if (getrandom(engine->seed, sizeof engine->seed, 0) != sizeof engine->seed) {
        vt_life_fail(engine, CTL_REASON_HOST, "no random bytes");
        return;
    }
    for (guint i = 0; i < team->n; i++) {
        Member *member = &team->members[i];
        for (guint j = 0; j < engine->plan->n_names; j++)
            send_name(member->channel, &engine->plan->names[j]);
        send_other_peers(member);
        vt_channel_send(member->channel, VT_TEAM_GO, 0, seed, sizeof engine->seed);
        vt_channel_flush(member->channel);
        member->state = MEMBER_STARTED;
    }
    /* One may have been lost meanwhile. */
    if (engine->state == VT_STATE_BOOT)
        engine->go(engine);
}

static void take_hello(Member *member, const WireHeader *header, const guint8 *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    guint16 lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);
    guint32 node = wire_get_u32(&reader);
    if (!wire_reader_done(&reader) || node != member->node || member->n_names == 0 ||
        (needs_peers(member->engine) && member->engine->peers[member->node].port == 0))
        fail(member, "its engine introduced itself as another's");
    else if (lowest > VT_TEAM_VERSION || highest < VT_TEAM_VERSION)
        fail(member, "its vTorque speaks versions %u to %u between engines, this one %u", lowest,
             highest, VT_TEAM_VERSION);
    else {
        member->state = MEMBER_HERE;
        check_gathered(member->engine);
    }
}

static void take_go(Member *member, const WireHeader *header, const guint8 *payload)
{
    VtEngine *engine = member->engine;
    if (header->length != sizeof engine->seed || member->n_names < engine->plan->n_names ||
        !has_all_peers(engine) || engine->team->has_gone || engine->state != VT_STATE_BOOT) {
        lose(member, "");
        return;
    }
    engine->team->has_gone = true;
    memcpy(engine->seed, payload, sizeof engine->seed);
    vt_plan_take_names(engine->plan, g_steal_pointer(&member->names), member->n_names);
    member->n_names = 0;
    engine->go(engine);
}

/* Frames */

static void take_failed(Member *member, const WireHeader *header, const guint8 *payload)
{
    VtEngine *engine = member->engine;
    g_autofree char *text = take_string(header, payload, "\n");
    CtlReason reason = header->aux > CTL_REASON_DONE && header->aux < CTL_REASONS
                           ? (CtlReason)header->aux
                           : CTL_REASON_NODE;
    drop(member);
    member->state = MEMBER_DOWN;
    leave_network(engine);
    /* A batch system ends a further node while the order to the first is still on its way. */
    if (reason == CTL_REASON_ENDED)
        vt_life_stop(engine, reason, CTL_END_TERM);
    if (is_ending(engine))
        vt_life_check_down(engine);
    else
        vt_life_fail(engine, reason, text);
}

/* False for what a follower may not say now. */
static bool take_followers(Member *member, const WireHeader *header, const guint8 *payload)
{
    g_autofree char *text = NULL;
    switch (header->type) {
    case VT_TEAM_NAME:
        return member->state == MEMBER_COMING && add_name(member, header, payload);
    case VT_TEAM_PEER:
        return member->state == MEMBER_COMING && add_peer(member, header, payload);
    case VT_TEAM_HELLO:
        if (member->state != MEMBER_COMING)
            return false;
        take_hello(member, header, payload);
        return true;
    case VT_TEAM_READY:
        if (member->state != MEMBER_STARTED)
            return false;
        member->state = MEMBER_READY;
        vt_life_check_ready(member->engine);
        return true;
    case VT_TEAM_DOWN:
        if (!is_ending(member->engine))
            return false;
        member->state = MEMBER_DOWN;
        vt_life_check_down(member->engine);
        return true;
    case VT_TEAM_FAILED:
        take_failed(member, header, payload);
        return true;
    case VT_TEAM_NOTE:
        text = take_string(header, payload, NULL);
        vt_log_note(member->engine,
                    header->aux == CTL_NOTE_ALWAYS ? CTL_NOTE_ALWAYS : CTL_NOTE_VERBOSE, text);
        return true;
    default:
        return header->type == VT_TEAM_PING;
    }
}

static bool take_leaders(Member *member, const WireHeader *header, const guint8 *payload)
{
    VtEngine *engine = member->engine;
    switch (header->type) {
    case VT_TEAM_NAME:
        return !engine->team->has_gone && add_name(member, header, payload);
    case VT_TEAM_PEER:
        return !engine->team->has_gone && add_peer(member, header, payload);
    case VT_TEAM_GO:
        take_go(member, header, payload);
        return true;
    case VT_TEAM_PAUSE:
        vt_pause_set(engine, header->aux == 1);
        return true;
    case VT_TEAM_END:
        vt_life_close(engine);
        return true;
    case VT_TEAM_PING:
        vt_channel_send(member->channel, VT_TEAM_PING, 0, NULL, 0);
        return true;
    default:
        return false;
    }
}

static void on_frame(const WireHeader *header, const guint8 *payload, gpointer data)
{
    Member *member = data;
    bool is_follower = vt_team_is_follower(member->engine);
    if (!member->channel)
        return;
    member->heard_us = g_get_monotonic_time();
    bool ok = header->session == 0 && vt_channel_queued(member->channel) < QUEUE_MAX &&
              (is_follower ? take_leaders(member, header, payload)
                           : take_followers(member, header, payload));
    if (!ok)
        lose(member, "its engine said what it may not say");
}

static void on_closed(const char *reason, gpointer data)
{
    Member *member = data;
    g_autofree char *how =
        *reason ? g_strdup_printf("the connection to its engine: %s", reason)
                : g_strdup("its engine is gone: it was killed, or the node was lost");
    lose(member, how);
}

/* A connection that is cut has no end. */
static gboolean on_ping(gpointer data)
{
    VtEngine *engine = data;
    gint64 now_us = g_get_monotonic_time();
    for (guint i = 0; i < engine->team->n; i++) {
        Member *member = &engine->team->members[i];
        if (!member->channel || member->state == MEMBER_DOWN)
            continue;
        if (is_leader(engine))
            vt_channel_send(member->channel, VT_TEAM_PING, 0, NULL, 0);
        if (member->heard_us > 0 && now_us - member->heard_us > VT_TEAM_SILENCE_S * G_USEC_PER_SEC)
            lose(member, "nothing was heard of its engine for 15 s");
    }
    return G_SOURCE_CONTINUE;
}

static void listen_to(Member *member, int fd)
{
    const VtChannelHandlers handlers = {.frame = on_frame, .closed = on_closed};
    VtEngine *engine = member->engine;
    /* A leader speaks when it has all connections: until then there is the boot's deadline. */
    member->heard_us = vt_team_is_follower(engine) ? 0 : g_get_monotonic_time();
    member->channel = vt_channel_new(fd, &handlers, member);
    if (!engine->nodes_part->secure(member->channel, vt_team_is_follower(engine),
                                    engine->team->key))
        lose(member, "its engine does not speak TLS");
}

static void introduce(Member *member)
{
    guint8 payload[8];
    const VtEngine *engine = member->engine;
    const VtPlan *plan = engine->plan;
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u16(&writer, VT_TEAM_VERSION);
    wire_put_u16(&writer, VT_TEAM_VERSION);
    wire_put_u32(&writer, engine->job->node);
    for (guint i = 0; i < plan->n_names; i++)
        send_name(member->channel, &plan->names[i]);
    if (needs_peers(engine))
        send_peer(member->channel, engine->job->node, &engine->peers[engine->job->node]);
    vt_channel_send(member->channel, VT_TEAM_HELLO, 0, payload, writer.used);
}

void vt_team_start(VtEngine *engine)
{
    bool is_follower = vt_team_is_follower(engine);
    if (engine->job->nodes == 1) {
        engine->go(engine);
        return;
    }
    VtTeam *team = engine->team = g_new0(VtTeam, 1);
    vt_hex_parse(engine->job->peer_key, team->key, sizeof team->key);
    team->n = is_follower ? 1 : engine->job->nodes - 1;
    team->members = g_new0(Member, team->n);
    for (guint i = 0; i < team->n; i++)
        team->members[i] = (Member){.engine = engine, .node = is_follower ? 0 : i + 1};
    team->ping_timer = g_timeout_add_seconds(VT_TEAM_PING_S, on_ping, engine);
    if (!is_follower)
        return;
    listen_to(&team->members[0], vt_fd_steal(&engine->run));
    introduce(&team->members[0]);
}

bool vt_team_take(VtEngine *engine, guint node, int fd)
{
    if (!is_leader(engine) || node == 0 || node > engine->team->n || engine->state != VT_STATE_BOOT)
        return false;
    Member *member = &engine->team->members[node - 1];
    if (member->channel || member->state != MEMBER_COMING)
        return false;
    listen_to(member, fd);
    return true;
}

/* What the others have come to */

static bool all_have(const VtEngine *engine, MemberState state)
{
    for (guint i = 0; is_leader(engine) && i < engine->team->n; i++)
        if (engine->team->members[i].state < state)
            return false;
    return true;
}

bool vt_team_is_ready(const VtEngine *engine)
{
    return all_have(engine, MEMBER_READY);
}

bool vt_team_is_down(const VtEngine *engine)
{
    return all_have(engine, MEMBER_DOWN);
}

bool vt_team_is_waiting(const VtEngine *engine)
{
    return engine->team && !engine->team->has_gone;
}

char *vt_team_missing(const VtEngine *engine)
{
    g_autoptr(GString) out = g_string_new(NULL);
    for (guint i = 0; is_leader(engine) && i < engine->team->n; i++) {
        const Member *member = &engine->team->members[i];
        bool is_late = member->state < (engine->team->has_gone ? MEMBER_READY : MEMBER_HERE);
        if (is_late)
            g_string_append_printf(out, "%s%s", out->len > 0 ? ", " : "", address_of(member));
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static void tell_all(VtEngine *engine, VtTeamType type, guint8 aux)
{
    for (guint i = 0; engine->team && i < engine->team->n; i++)
        vt_channel_send(engine->team->members[i].channel, (guint8)type, aux, NULL, 0);
}

void vt_team_leave(VtEngine *engine)
{
    for (guint i = 0; is_leader(engine) && i < engine->team->n; i++)
        drop(&engine->team->members[i]);
}

void vt_team_tell_ready(VtEngine *engine)
{
    if (vt_team_is_follower(engine))
        tell_all(engine, VT_TEAM_READY, 0);
}

void vt_team_tell_end(VtEngine *engine)
{
    if (is_leader(engine))
        tell_all(engine, VT_TEAM_END, 0);
}

void vt_team_tell_pause(VtEngine *engine, bool is_paused)
{
    if (is_leader(engine))
        tell_all(engine, VT_TEAM_PAUSE, is_paused);
}

void vt_team_tell_down(VtEngine *engine)
{
    if (vt_team_is_follower(engine))
        tell_all(engine, VT_TEAM_DOWN, 0);
}

void vt_team_tell_failed(VtEngine *engine)
{
    if (vt_team_is_follower(engine) && engine->team)
        vt_channel_send_text(engine->team->members[0].channel, VT_TEAM_FAILED,
                             (guint8)engine->reason, engine->message ? engine->message : "");
}

void vt_team_tell_note(VtEngine *engine, CtlNote kind, const char *text)
{
    if (vt_team_is_follower(engine) && engine->team)
        vt_channel_send_text(engine->team->members[0].channel, VT_TEAM_NOTE, (guint8)kind, text);
}

static bool is_leader_told(const VtEngine *engine)
{
    const VtChannel *channel = engine->team->members[0].channel;
    return !vt_team_is_follower(engine) || !channel || vt_channel_queued(channel) == 0;
}

void vt_team_end(VtEngine *engine)
{
    if (!engine->team)
        return;
    vt_life_linger(engine, is_leader_told);
    for (guint i = 0; i < engine->team->n; i++)
        drop(&engine->team->members[i]);
}
