/* SPDX-License-Identifier: Apache-2.0 */
/* net/wireguard.c - WireGuard by libnl, and the child that names the other nodes to it. */
#include "net/wireguard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/genetlink.h>
#include <linux/wireguard.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netlink/genl/genl.h>
#include <netlink/route/link.h>
#include <netlink/route/route.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "cage/cage.h"
#include "job/plan.h"
#include "net/bridge.h"
#include "net/netlink.h"

#define DEVICE "nodes"
#define ANSWER_BYTES 16384 /* of a device without peers: some hundred are used */
#define CONNECT_MS 10000
#define CONNECT_NODE_MS 100 /* more for each node: the kernel takes them one after the other */

G_STATIC_ASSERT(VT_TUNNEL_KEY_SIZE == WG_KEY_LEN);

struct VtWireguard {
    const VtJob *job;
    struct nl_sock *node; /* netlink of the node's network namespace */
    struct nl_sock *own;  /* WireGuard's in the job's */
    int family;
    guint index; /* of the device */
    int child;   /* our end */
};

/* From the engine to its child. */
typedef struct {
    guint32 node;
    VtTunnelPeer peer;
} Record;

static bool fail_errno(GError **error, const char *what)
{
    return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                              "the network between the job's nodes: %s", what);
}

VtWireguard *vt_wireguard_open(const VtJob *job, GError **error)
{
    VtWireguard *wireguard = g_new0(VtWireguard, 1);
    *wireguard = (VtWireguard){.job = job, .node = vt_netlink_open(error), .child = -1};
    if (wireguard->node)
        return wireguard;
    g_free(wireguard);
    return NULL;
}

/* Its socket is of the namespace in which the netlink socket is. */
static bool add_device(VtWireguard *wireguard, GError **error)
{
    vt_autofd namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    struct rtnl_link *link = rtnl_link_alloc();
    int err = namespace < 0 || !link ? -NLE_NOMEM : rtnl_link_set_type(link, WG_GENL_NAME);
    if (err == 0) {
        rtnl_link_set_name(link, DEVICE);
        rtnl_link_set_mtu(link, wireguard->job->net_mtu);
        rtnl_link_set_ns_fd(link, namespace);
        err = rtnl_link_add(wireguard->node, link, NLM_F_CREATE | NLM_F_EXCL);
    }
    rtnl_link_put(link);
    return err == 0 || vt_netlink_fail(error, "cannot make the WireGuard device", err);
}

/* The device */

static struct nl_msg *new_message(const VtWireguard *wireguard, int flags, guint8 command)
{
    struct nl_msg *message = nlmsg_alloc();
    if (message &&
        genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, wireguard->family, 0, flags, command,
                    WG_GENL_VERSION) &&
        nla_put_u32(message, WGDEVICE_A_IFINDEX, wireguard->index) == 0)
        return message;
    nlmsg_free(message);
    return NULL;
}

/* A new key, on which Curve25519 sets some bits. Only the kernel has it in the end. */
static bool set_key(VtWireguard *wireguard, GError **error)
{
    guint8 key[WG_KEY_LEN];
    struct nl_msg *message = new_message(wireguard, 0, WG_CMD_SET_DEVICE);
    if (!message || getrandom(key, sizeof key, 0) != sizeof key) {
        nlmsg_free(message);
        return vt_netlink_fail(error, "cannot make a key", -NLE_NOMEM);
    }
    key[0] &= 0xf8;
    key[31] = (key[31] & 0x7f) | 0x40;
    int err = nla_put(message, WGDEVICE_A_PRIVATE_KEY, sizeof key, key);
    if (err == 0)
        err = nla_put_u16(message, WGDEVICE_A_LISTEN_PORT, 0);
    if (err == 0)
        err = nl_send_auto(wireguard->own, message);
    struct nlmsghdr *header = nlmsg_hdr(message);
    explicit_bzero(nlmsg_data(header), (gsize)nlmsg_datalen(header));
    explicit_bzero(key, sizeof key);
    nlmsg_free(message);
    if (err >= 0)
        err = nl_wait_for_ack(wireguard->own);
    return err >= 0 || vt_netlink_fail(error, "cannot set a key", err);
}

/* What the kernel says of the device, which is all that it has. */
static void read_device(const struct nlmsghdr *header, VtTunnelPeer *own)
{
    struct nlattr *attributes[WGDEVICE_A_MAX + 1] = {0};
    if (genlmsg_parse((struct nlmsghdr *)(gsize)header, 0, attributes, WGDEVICE_A_MAX, NULL) < 0)
        return;
    const struct nlattr *key = attributes[WGDEVICE_A_PUBLIC_KEY];
    const struct nlattr *port = attributes[WGDEVICE_A_LISTEN_PORT];
    if (!key || nla_len(key) != WG_KEY_LEN || !port || nla_len(port) != sizeof own->port)
        return;
    memcpy(own->key, nla_data(key), WG_KEY_LEN);
    own->port = nla_get_u16(port);
}

/* Read without the library, which would leave the private key, a part of the answer, in memory. */
static void read_answer(int fd, VtTunnelPeer *own)
{
    _Alignas(struct nlmsghdr) guint8 bytes[ANSWER_BYTES];
    for (bool is_over = false; !is_over;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        int left = (int)n;
        struct nlmsghdr *header = (struct nlmsghdr *)bytes;
        is_over = n <= 0 && errno != EINTR;
        for (; nlmsg_ok(header, left); header = nlmsg_next(header, &left)) {
            is_over = header->nlmsg_type == NLMSG_DONE || header->nlmsg_type == NLMSG_ERROR;
            if (!is_over)
                read_device(header, own);
        }
        explicit_bzero(bytes, sizeof bytes);
    }
}

static bool ask_device(VtWireguard *wireguard, VtTunnelPeer *own, GError **error)
{
    int family;
    struct nl_sock *socket = vt_netlink_open_generic(WG_GENL_NAME, &family);
    struct nl_msg *message = new_message(wireguard, NLM_F_DUMP, WG_CMD_GET_DEVICE);
    int err = socket && message ? nl_send_auto(socket, message) : -NLE_NOMEM;
    if (err >= 0)
        read_answer(nl_socket_get_fd(socket), own);
    nlmsg_free(message);
    nl_socket_free(socket);
    return own->port > 0 ||
           vt_netlink_fail(error, "cannot read the device's key", err < 0 ? err : -NLE_FAILURE);
}

/* The way */

/* `device` NULL: no way at all, in the table of local addresses. */
static bool add_route(struct nl_sock *netlink, guint32 address, int prefix, const char *device,
                      GError **error)
{
    guint32 network = htonl(address);
    struct nl_addr *target = nl_addr_build(AF_INET, &network, sizeof network);
    struct rtnl_route *route = rtnl_route_alloc();
    struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
    int err = target && route && hop ? 0 : -NLE_NOMEM;
    if (err == 0) {
        nl_addr_set_prefixlen(target, prefix);
        rtnl_route_set_family(route, AF_INET);
        rtnl_route_set_scope(route, RT_SCOPE_LINK);
        rtnl_route_set_protocol(route, RTPROT_STATIC);
        if (device) {
            rtnl_route_nh_set_ifindex(hop, (int)if_nametoindex(device));
            rtnl_route_add_nexthop(route, g_steal_pointer(&hop));
        } else {
            rtnl_route_set_type(route, RTN_BLACKHOLE);
            rtnl_route_set_table(route, RT_TABLE_LOCAL);
            rtnl_route_set_scope(route, RT_SCOPE_UNIVERSE);
        }
        err = rtnl_route_set_dst(route, target);
    }
    if (err == 0)
        err = rtnl_route_add(netlink, route, NLM_F_CREATE | NLM_F_EXCL);
    if (hop)
        rtnl_route_nh_free(hop);
    rtnl_route_put(route);
    nl_addr_put(target);
    return err == 0 || vt_netlink_fail(error, "cannot add a route", err);
}

/* To this node's machines one by one: a guest that claims any other address would have the kernel keep
 * neighbours of that name, in a table that is the whole node's. A namespace without a table of local
 * addresses takes everybody for a broadcast address, and no guest takes TCP that was sent to all. */
static bool add_routes(const VtJob *job, GError **error)
{
    struct nl_sock *netlink = vt_netlink_open(error);
    bool ok = netlink && add_route(netlink, INADDR_LOOPBACK & IN_CLASSA_NET, 8, NULL, error);
    for (guint i = 0; ok && i < job->nodes; i++)
        ok = i == job->node ||
             add_route(netlink, vt_private_network(i), VT_PRIVATE_NODE_PREFIX, DEVICE, error);
    for (guint i = 0; ok && i < job->vms; i++)
        ok = add_route(netlink, vt_private_address(job->node, i), 32, VT_BRIDGE, error);
    nl_socket_free(netlink);
    return ok;
}

/* The bridge answers at once for whom there is a way to elsewhere, and passes on what comes from its own
 * part of the network. All of this is the job's namespace's alone. */
static bool set_forwarding(GError **error)
{
    static const struct {
        const char *file, *value;
    } settings[] = {
        {"/proc/sys/net/ipv4/ip_forward", "1"},
        {"/proc/sys/net/ipv4/conf/all/rp_filter", "1"},
        {"/proc/sys/net/ipv4/conf/all/send_redirects", "0"},
        {"/proc/sys/net/ipv4/conf/" VT_BRIDGE "/rp_filter", "1"},
        {"/proc/sys/net/ipv4/conf/" VT_BRIDGE "/send_redirects", "0"},
        {"/proc/sys/net/ipv4/conf/" VT_BRIDGE "/proxy_arp", "1"},
        {"/proc/sys/net/ipv4/neigh/" VT_BRIDGE "/proxy_delay", "0"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(settings); i++) {
        vt_autofd fd = open(settings[i].file, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || write(fd, settings[i].value, 1) != 1)
            return fail_errno(error, settings[i].file);
    }
    return true;
}

bool vt_wireguard_make(VtWireguard *wireguard, VtTunnelPeer *own, GError **error)
{
    if (!add_device(wireguard, error))
        return false;
    nl_socket_free(g_steal_pointer(&wireguard->node));
    wireguard->index = if_nametoindex(DEVICE);
    wireguard->own = vt_netlink_open_generic(WG_GENL_NAME, &wireguard->family);
    if (!wireguard->own)
        return vt_netlink_fail(error, "the kernel has no WireGuard", -NLE_OBJ_NOTFOUND);
    /* It has a port once it is up. */
    return set_key(wireguard, error) && vt_bridge_bring_up(DEVICE, error) &&
           ask_device(wireguard, own, error) && set_forwarding(error) &&
           add_routes(wireguard->job, error);
}

/* The child */

static int put_allowed(struct nl_msg *message, guint node)
{
    guint32 network = htonl(vt_private_network(node));
    struct nlattr *list = nla_nest_start(message, WGPEER_A_ALLOWEDIPS);
    struct nlattr *entry = list ? nla_nest_start(message, 0) : NULL;
    int err = entry ? nla_put_u16(message, WGALLOWEDIP_A_FAMILY, AF_INET) : -NLE_NOMEM;
    if (err == 0)
        err = nla_put(message, WGALLOWEDIP_A_IPADDR, sizeof network, &network);
    if (err == 0)
        err = nla_put_u8(message, WGALLOWEDIP_A_CIDR_MASK, VT_PRIVATE_NODE_PREFIX);
    if (err == 0)
        err = nla_nest_end(message, entry);
    return err == 0 ? nla_nest_end(message, list) : err;
}

static int put_peer(struct nl_msg *message, const VtJob *job, const Record *record)
{
    struct sockaddr_in endpoint = {.sin_family = AF_INET, .sin_port = htons(record->peer.port)};
    struct nlattr *list = nla_nest_start(message, WGDEVICE_A_PEERS);
    struct nlattr *entry = list ? nla_nest_start(message, 0) : NULL;
    int err = entry ? 0 : -NLE_NOMEM;
    if (inet_pton(AF_INET, job->addresses[record->node], &endpoint.sin_addr) != 1)
        err = -NLE_INVAL;
    if (err == 0)
        err = nla_put(message, WGPEER_A_PUBLIC_KEY, WG_KEY_LEN, record->peer.key);
    if (err == 0)
        err = nla_put_u32(message, WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS);
    if (err == 0)
        err = nla_put(message, WGPEER_A_ENDPOINT, sizeof endpoint, &endpoint);
    if (err == 0)
        err = put_allowed(message, record->node);
    if (err == 0)
        err = nla_nest_end(message, entry);
    return err == 0 ? nla_nest_end(message, list) : err;
}

static int add_peer(VtWireguard *wireguard, const Record *record)
{
    struct nl_msg *message = new_message(wireguard, 0, WG_CMD_SET_DEVICE);
    int err = message ? put_peer(message, wireguard->job, record) : -NLE_NOMEM;
    if (err < 0) {
        nlmsg_free(message);
        return err;
    }
    err = nl_send_sync(wireguard->own, message); /* frees it */
    return MIN(err, 0);
}

static bool read_record(int fd, Record *record)
{
    gsize have = 0;
    while (have < sizeof *record) {
        ssize_t n = read(fd, (guint8 *)record + have, sizeof *record - have);
        if (n <= 0)
            return false;
        have += (gsize)n;
    }
    return true;
}

/* The engine has let go, and there is nothing to do: as good as an error. Each other node once. */
static int take_peers(VtWireguard *wireguard, int fd)
{
    const VtJob *job = wireguard->job;
    bool is_known[VT_NODES_MAX] = {0};
    is_known[job->node] = true;
    for (guint i = 1; i < job->nodes; i++) {
        Record record;
        if (!read_record(fd, &record) || record.node >= job->nodes || is_known[record.node] ||
            record.peer.port == 0)
            return -NLE_INVAL;
        is_known[record.node] = true;
        int err = add_peer(wireguard, &record);
        if (err < 0)
            return err;
    }
    return 0;
}

/* Never returns. */
static void run_child(VtWireguard *wireguard, int fd, uid_t uid, gid_t gid)
{
    const int kept[] = {fd, nl_socket_get_fd(wireguard->own)};
    vt_fd_keep_only(kept, G_N_ELEMENTS(kept));
    int err =
        vt_cage_drop_to(uid, gid, CAP_NET_ADMIN, NULL) ? take_peers(wireguard, fd) : -NLE_PERM;
    guint8 answer = (guint8)-err;
    _exit(write(fd, &answer, 1) == 1 && err == 0 ? 0 : VT_EXIT_FAILED);
}

bool vt_wireguard_guard(VtWireguard *wireguard, uid_t uid, gid_t gid, GError **error)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return fail_errno(error, "cannot make a socket pair");
    wireguard->child = pair[0];
    vt_autofd theirs = pair[1];
    pid_t pid = fork();
    if (pid == 0)
        run_child(wireguard, theirs, uid, gid);
    nl_socket_free(g_steal_pointer(&wireguard->own));
    return pid > 0 || fail_errno(error, "cannot fork");
}

bool vt_wireguard_connect(VtWireguard *wireguard, const VtTunnelPeer *peers, GError **error)
{
    vt_autofd fd = vt_fd_steal(&wireguard->child);
    guint8 answer = NLE_FAILURE;
    for (guint i = 0; i < wireguard->job->nodes; i++) {
        Record record;
        memset(&record, 0, sizeof record);
        record.node = i;
        record.peer = peers[i];
        /* One that has ended says why below. */
        if (i != wireguard->job->node &&
            send(fd, &record, sizeof record, MSG_NOSIGNAL) != sizeof record)
            break;
    }
    if (!vt_fd_wait(fd, CONNECT_MS + CONNECT_NODE_MS * (int)wireguard->job->nodes) ||
        read(fd, &answer, 1) != 1)
        answer = NLE_FAILURE;
    return answer == 0 ||
           vt_netlink_fail(error, "cannot name the other nodes to the kernel", -answer);
}
