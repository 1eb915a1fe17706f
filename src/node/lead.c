/* SPDX-License-Identifier: Apache-2.0 */
/* node/lead.c - orders of a job's first node to the others. */
#include "node/lead.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/run.h"
#include "net/tunnel.h"
#include "node/credential.h"
#include "node/peer.h"

#define CONNECT_MS 10000
#define RETRY_US 100000
#define NO_ANSWER "vTorque's daemon there does not answer"
#define CAGED_MS 60000 /* a user database may be slow; the probe of KVM takes seconds */
#define RUN_SIZE 16
#define KEY_SIZE 32

typedef struct {
    VtLead *lead;
    guint node;
    char *host;
    guint cores;
    GThread *thread;
    int fd;
    GError *error;
} Sister;

struct VtLead {
    const VtOrder *order;
    const char *munge_socket;
    guint port;
    Sister *sisters;
    guint n;
};

static bool look_up_all(VtOrder *order, GError **error)
{
    g_autoptr(GStrvBuilder) out = g_strv_builder_new();
    for (guint i = 0; i < order->nodes; i++) {
        guint cores;
        g_autofree char *host = vt_order_host(order, i, &cores);
        g_auto(GStrv) found = vt_peer_lookup(host, error);
        if (!found)
            return false;
        if (!found[0] || g_str_has_prefix(found[0], "127."))
            return vt_error_set(error, VT_ERROR_HOST,
                                "node '%s' has no address that other nodes reach: it is '%s' here",
                                host, found[0] ? found[0] : "none");
        g_strv_builder_add(out, found[0]);
    }
    order->addresses = g_strv_builder_end(out);
    return true;
}

bool vt_lead_prepare(VtOrder *order, bool has_network, GError **error)
{
    g_autofree char *vni = vt_peer_random(3);
    order->run = vt_peer_random(RUN_SIZE);
    order->key = vt_peer_random(KEY_SIZE);
    if (!order->run || !order->key || !vni)
        return vt_error_set(error, VT_ERROR_HOST, "no random bytes");
    if (!look_up_all(order, error) || !has_network)
        return order->addresses != NULL;
    order->vni = MAX((guint)strtoul(vni, NULL, 16), 1);
    return vt_lead_check_mtu(order, error);
}

/* Frames of any node must fit into all: the first node's network says how long they are. */
bool vt_lead_check_mtu(VtOrder *order, GError **error)
{
    guint mtu = vt_peer_mtu(order->addresses[order->node]);
    guint fits = mtu > VT_TUNNEL_OVERHEAD ? MIN(mtu - VT_TUNNEL_OVERHEAD, 65535) : 0;
    if (fits < MAX(order->mtu, VT_NET_MTU_MIN))
        return vt_error_set(error, VT_ERROR_HOST,
                            "the network of '%s' takes packets of %u bytes, too few for the job's "
                            "private network",
                            order->addresses[order->node], mtu);
    if (order->node == 0)
        order->mtu = fits;
    return true;
}

static int connect_to(const char *address, guint port, GError **error)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    int errnum = 0;
    socklen_t size = sizeof errnum;
    vt_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, address, &to.sin_addr);
    if (fd < 0 ||
        (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS))
        errnum = errno;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (errnum == 0 && poll(&ready, 1, CONNECT_MS) <= 0)
        errnum = ETIMEDOUT;
    if (errnum == 0)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size);
    if (errnum != 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errnum,
                           "vTorque's daemon there cannot be reached (%s, port %u)", address, port);
        return -1;
    }
    g_unix_set_fd_nonblocking(fd, FALSE, NULL);
    vt_peer_prepare(fd);
    return vt_fd_steal(&fd);
}

static bool receive(int fd, WireHeader *header, guint8 *payload, int timeout_ms, GError **error)
{
    int err = ctl_door_receive(fd, header, payload, timeout_ms);
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, -err, NO_ANSWER);
}

static char *read_text(const WireHeader *header, const guint8 *payload)
{
    char text[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, text, sizeof text);
    return g_strescape(reader.ok ? text : "it gave no reason", "\n");
}

/* What it says before it takes orders. */
static bool read_greeting(int fd, guint8 *payload, char **nonce, bool *is_closed, GError **error)
{
    WireHeader header;
    char text[2 * VT_PEER_NONCE_SIZE + 1];
    int err = ctl_door_receive(fd, &header, payload, VT_PEER_SPEAK_MS);
    *is_closed = err == -ECONNRESET;
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err, NO_ANSWER);
    if (header.type == VT_PEER_REFUSED) {
        g_autofree char *why = read_text(&header, payload);
        return vt_error_set(error, VT_ERROR_HOST, "%s", why);
    }
    WireReader reader = wire_reader(payload, header.length);
    guint16 lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);
    wire_get_string(&reader, text, sizeof text);
    if (header.type != VT_PEER_GREETING || !reader.ok)
        return vt_error_set(error, VT_ERROR_HOST, "what listens there is no vTorque");
    if (lowest > VT_PEER_VERSION || highest < VT_PEER_VERSION)
        return vt_error_set(error, VT_ERROR_HOST, "vTorque there speaks versions %u to %u, here %u",
                            lowest, highest, VT_PEER_VERSION);
    *nonce = g_strdup(text);
    return true;
}

static bool send_order(const Sister *sister, int fd, char *nonce, GError **error)
{
    const VtLead *lead = sister->lead;
    VtOrder follow = *lead->order;
    follow.node = sister->node;
    follow.cores = sister->cores;
    follow.host = sister->host;
    follow.receiver = follow.addresses[sister->node];
    follow.nonce = nonce;
    g_autofree char *text = vt_order_format_follow(&follow);
    g_autofree char *credential = vt_credential_seal(lead->munge_socket, text, error);
    explicit_bzero(text, strlen(text));
    if (!credential)
        return false;
    if (strlen(credential) > WIRE_PAYLOAD_MAX)
        return vt_error_set(error, VT_ERROR_BATCH, "the order is too long");
    int err = ctl_door_send(fd, VT_PEER_ORDER, 0, credential, strlen(credential), NULL, 0);
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, -err, "cannot send the order");
}

static bool wait_for_cage(int fd, guint8 *payload, GError **error)
{
    WireHeader header;
    g_autofree char *text = NULL;
    for (;;) {
        if (!receive(fd, &header, payload, CAGED_MS, error))
            return false;
        switch (header.type) {
        case VT_PEER_TAKEN:
            return true;
        case VT_PEER_REFUSED:
        case CTL_OUTCOME:
            text = read_text(&header, payload);
            return vt_error_set(error, VT_ERROR_HOST, "%s", text);
        default: /* phases, notes */
            break;
        }
    }
}

/* A daemon that is being started, or that has many visitors, is asked again. */
static int knock(const Sister *sister, guint8 *payload, char **nonce, GError **error)
{
    const char *address = sister->lead->order->addresses[sister->node];
    gint64 deadline_us = g_get_monotonic_time() + CONNECT_MS * G_GINT64_CONSTANT(1000);
    for (;;) {
        g_clear_error(error);
        vt_autofd fd = connect_to(address, sister->lead->port, error);
        bool is_closed = false;
        if (fd >= 0 && read_greeting(fd, payload, nonce, &is_closed, error))
            return vt_fd_steal(&fd);
        if ((fd >= 0 && !is_closed) || g_get_monotonic_time() >= deadline_us)
            return -1;
        g_usleep(RETRY_US);
    }
}

static gpointer order_sister(gpointer data)
{
    Sister *sister = data;
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    g_autofree char *nonce = NULL;
    vt_autofd fd = knock(sister, payload, &nonce, &sister->error);
    if (fd >= 0 && send_order(sister, fd, nonce, &sister->error) &&
        wait_for_cage(fd, payload, &sister->error))
        sister->fd = vt_fd_steal(&fd);
    return NULL;
}

VtLead *vt_lead_start(const VtOrder *order, const VtSettings *settings)
{
    VtLead *lead = g_new0(VtLead, 1);
    lead->order = order;
    lead->munge_socket = vt_settings_get_text(settings, VT_SETTING_MUNGE_SOCKET);
    lead->port = (guint)vt_settings_get_number(settings, VT_SETTING_PEER_PORT);
    lead->n = order->nodes - 1;
    lead->sisters = g_new0(Sister, lead->n);
    for (guint i = 0; i < lead->n; i++) {
        Sister *sister = &lead->sisters[i];
        *sister = (Sister){.lead = lead, .node = i + 1, .fd = -1};
        sister->host = vt_order_host(order, i + 1, &sister->cores);
        sister->thread = g_thread_try_new("order", order_sister, sister, &sister->error);
    }
    return lead;
}

bool vt_lead_wait(VtLead *lead, GError **error)
{
    bool ok = true;
    for (guint i = 0; i < lead->n; i++) {
        Sister *sister = &lead->sisters[i];
        if (sister->thread)
            g_thread_join(g_steal_pointer(&sister->thread));
        if (!sister->error || !ok)
            continue;
        g_propagate_prefixed_error(error, g_steal_pointer(&sister->error),
                                   "node %s: ", sister->host);
        ok = false;
    }
    return ok;
}

int vt_lead_take(VtLead *lead, guint node)
{
    return vt_fd_steal(&lead->sisters[node - 1].fd);
}

void vt_lead_free(VtLead *lead)
{
    for (guint i = 0; i < lead->n; i++) {
        Sister *sister = &lead->sisters[i];
        if (sister->thread)
            g_thread_join(sister->thread);
        vt_fd_clear(&sister->fd);
        g_clear_error(&sister->error);
        g_free(sister->host);
    }
    g_free(lead->sisters);
    g_free(lead);
}
