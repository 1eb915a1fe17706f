/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/follow.c - who comes from another node: a further node of a job, from the first node's order to
 * an engine in its cage; a user, up to node/caller.h.
 *
 * Theory of operation. An order counts only where five things are true: root of a node with the
 * site's MUNGE key has sealed it; for this connection (nonce) and this address; this node's own batch
 * daemon has announced the job (registration); the connection comes from the node that it has named as the first;
 * and nothing that is ordered is beyond what it said. All else is refused with one line, for
 * both sides.
 *
 * Runs as: root, in a process of its own with a deadline. Reads from: whoever can reach the port.
 * Trusts: munged, the batch daemon's hooks, the node's name service.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "conf/settings.h"
#include "ctl/registration.h"
#include "node/caller.h"
#include "node/credential.h"
#include "node/order.h"
#include "node/peer.h"
#include "node/start.h"

#define FOLLOW_S 120 /* as START_S of node/verbs.c */

typedef struct {
    const VtPeerVisit *peer;
    uid_t user;    /* 0: no user, but a node */
    bool is_known; /* by a good credential; a user's was made for this connection, too */
    char *remote, *local, *nonce;
    VtOrder follow, registration;
    VtSettings *settings;
} Visit;

static void visit_clear(Visit *visit)
{
    g_free(visit->remote);
    g_free(visit->local);
    g_free(visit->nonce);
    vt_order_clear(&visit->follow);
    vt_order_clear(&visit->registration);
    g_clear_pointer(&visit->settings, vt_settings_free);
}

static bool greet(Visit *visit, GError **error)
{
    guint8 payload[64];
    WireWriter writer = wire_writer(payload, sizeof payload);
    vt_peer_prepare(visit->peer->fd);
    visit->remote = vt_peer_remote(visit->peer->fd);
    visit->local = vt_peer_local(visit->peer->fd);
    visit->nonce = vt_peer_random(VT_PEER_NONCE_SIZE);
    if (!visit->remote || !visit->local || !visit->nonce)
        return vt_error_set(error, VT_ERROR_HOST, "cannot greet a node");
    wire_put_u16(&writer, VT_PEER_VERSION);
    wire_put_u16(&writer, VT_PEER_VERSION);
    wire_put_string(&writer, visit->nonce);
    int err = ctl_door_send(visit->peer->fd, VT_PEER_GREETING, 0, payload, writer.used, NULL, 0);
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, -err, "cannot greet a node");
}

/* The text of the credential that came in a frame of this type. (transfer full), or NULL. */
static char *open_credential(Visit *visit, guint8 type, const char *credential, GError **error)
{
    const char *socket = vt_settings_get_text(visit->settings, VT_SETTING_MUNGE_SOCKET);
    if (type == VT_PEER_ORDER)
        return vt_credential_open(socket, credential, error);
    g_autofree char *text = vt_credential_open_user(socket, credential, &visit->user, error);
    bool is_user = visit->user != 0 && visit->user != (uid_t)-1;
    if (text && !is_user)
        vt_error_set(error, VT_ERROR_BATCH, "root is served on the job's own node alone");
    return text && is_user ? g_steal_pointer(&text) : NULL;
}

static bool read_order(Visit *visit, GError **error)
{
    g_autofree char *payload = g_malloc(WIRE_PAYLOAD_MAX + 1);
    WireHeader header;
    int err = ctl_door_receive(visit->peer->fd, &header, payload, VT_PEER_SPEAK_MS);
    if (err < 0 || (header.type != VT_PEER_ORDER && header.type != VT_PEER_USER))
        return vt_error_set(error, VT_ERROR_BATCH, "no order came");
    payload[header.length] = '\0';
    VtOrderKind kind = header.type == VT_PEER_USER ? VT_ORDER_USER : VT_ORDER_FOLLOW;
    g_autofree char *text = open_credential(visit, header.type, payload, error);
    bool ok = text && vt_order_parse(&visit->follow, kind, text, strlen(text), error);
    if (text)
        explicit_bzero(text, strlen(text));
    bool is_for_us =
        ok && vt_order_check_connection(&visit->follow, visit->nonce, visit->local, error);
    visit->is_known = kind == VT_ORDER_USER ? is_for_us : ok;
    return is_for_us;
}

static bool read_registration(Visit *visit, GError **error)
{
    g_autofree char *text = g_malloc(CTL_REGISTRATION_MAX);
    int err = ctl_registration_read(visit->follow.id, text);
    if (err == -ENOENT || err == -ESTALE)
        return vt_error_set(error, VT_ERROR_BATCH,
                            "this node's batch daemon has not announced the job: is "
                            "prologue.parallel installed (vmgr setup check --node)?");
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err, "cannot read the job's registration");
    return vt_order_parse(&visit->registration, VT_ORDER_REGISTRATION, text, strlen(text), error) &&
           vt_order_check(&visit->follow, &visit->registration, error);
}

static bool check_leader(const Visit *visit, GError **error)
{
    const char *leader = visit->registration.leader;
    g_auto(GStrv) addresses = vt_peer_lookup(leader, error);
    if (!addresses)
        return false;
    return (g_strv_contains((const char *const *)addresses, visit->remote) &&
            strcmp(visit->follow.addresses[0], visit->remote) == 0) ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the job's first node is '%s', and the order comes from %s", leader,
                        visit->remote);
}

/* What is ordered, and what was announced, is one order now. */
static void merge(Visit *visit)
{
    VtOrder *to = &visit->registration, *from = &visit->follow;
    to->cores = from->cores;
    to->node = from->node;
    to->nodes = from->nodes;
    to->transport = from->transport;
    to->vni = from->vni;
    to->mtu = from->mtu;
    to->host = g_steal_pointer(&from->host);
    to->key = g_steal_pointer(&from->key);
    to->run = g_steal_pointer(&from->run);
    to->addresses = g_steal_pointer(&from->addresses);
    to->node_file = g_steal_pointer(&from->node_file);
}

static bool serve(Visit *visit, GError **error)
{
    visit->settings = vt_settings_load(visit->peer->settings_file, error);
    if (!visit->settings || !greet(visit, error) || !read_order(visit, error))
        return false;
    return visit->user != 0 ? vt_caller_check(visit->peer, visit->user, error)
                            : read_registration(visit, error) && check_leader(visit, error);
}

static void refuse(const Visit *visit, const GError *error)
{
    g_autofree char *printable = g_strescape(error->message, NULL);
    /* What a user may not is theirs to know. */
    if (!visit->is_known || visit->user == 0)
        g_printerr("vtorqued: an order from %s is refused: %s\n",
                   visit->remote ? visit->remote : "?", printable);
    /* Who has not shown that it is a node, or a user, learns nothing. */
    const char *mute = visit->settings
                           ? "the order is refused"
                           : "this node's settings cannot be read: its daemon's log says why";
    guint8 aux = visit->user != 0 && error->code == VT_ERROR_USER ? VT_PEER_NO_JOB : 0;
    ctl_door_send_text(visit->peer->fd, VT_PEER_REFUSED, aux,
                       visit->is_known ? error->message : mute);
}

int vt_follow(const VtPeerVisit *peer)
{
    Visit visit = {.peer = peer};
    g_autoptr(GError) error = NULL;
    int status = 0;
    alarm(FOLLOW_S);
    if (!serve(&visit, &error)) {
        refuse(&visit, error);
        status = vt_error_exit_status(error);
    } else if (visit.user != 0) {
        status = vt_caller_let_in(peer, visit.user, visit.follow.key);
    } else {
        merge(&visit);
        status = vt_start_follower(peer->fd, &visit.registration, peer->settings_file);
    }
    visit_clear(&visit);
    return status;
}
