/* SPDX-License-Identifier: Apache-2.0 */
/* net/vxlan.c - VXLAN by libnl. */
#include "net/vxlan.h"

#include <fcntl.h>
#include <linux/neighbour.h>
#include <net/if.h>
#include <netlink/route/link.h>
#include <netlink/route/link/vxlan.h>
#include <netlink/route/neighbour.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "net/bridge.h"
#include "net/firewall.h"
#include "net/netlink.h"

#define DEVICE "nodes"
#define ADDRESSES_MAX                                                                              \
    32768u /* hardware addresses that are learnt: twice as many as a job has machines */

struct VtVxlan {
    const VtJob *job;
    struct nl_sock *node; /* netlink of the node's network namespace */
    int firewall;         /* which it is as long as that is open */
};

VtVxlan *vt_vxlan_open(const VtJob *job, GError **error)
{
    VtVxlan *vxlan = g_new0(VtVxlan, 1);
    vxlan->job = job;
    vxlan->node = vt_netlink_open(error);
    vxlan->firewall = vxlan->node ? vt_firewall_open(job, error) : -1;
    /* What is left open goes with this process. */
    return vxlan->firewall >= 0 ? vxlan : NULL;
}

static bool add_device(VtVxlan *vxlan, GError **error)
{
    const VtJob *job = vxlan->job;
    struct nl_addr *local = NULL;
    vt_autofd namespace = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    struct rtnl_link *link = rtnl_link_vxlan_alloc();
    int err = namespace < 0 || !link ? -NLE_NOMEM
                                     : nl_addr_parse(job->addresses[job->node], AF_INET, &local);
    if (err == 0) {
        rtnl_link_set_name(link, DEVICE);
        rtnl_link_set_mtu(link, job->net_mtu);
        rtnl_link_set_ns_fd(link, namespace);
        rtnl_link_vxlan_set_id(link, job->vni);
        rtnl_link_vxlan_set_port(link, VT_VXLAN_PORT);
        rtnl_link_vxlan_set_local(link, local);
        rtnl_link_vxlan_set_learning(link, 1);
        /* A guest may forge as many senders as it likes: beyond it, frames go to all nodes. */
        rtnl_link_vxlan_set_limit(link, ADDRESSES_MAX + job->nodes);
        err = rtnl_link_add(vxlan->node, link, NLM_F_CREATE | NLM_F_EXCL);
    }
    nl_addr_put(local);
    rtnl_link_put(link);
    return err == 0 || vt_netlink_fail(error, "cannot make the VXLAN device", err);
}

/* What has no address that was learnt yet goes to all nodes. */
static bool add_peer(struct nl_sock *job, int index, const char *address, GError **error)
{
    struct nl_addr *everybody = NULL, *node = NULL;
    struct rtnl_neigh *entry = rtnl_neigh_alloc();
    int err = entry ? nl_addr_parse("00:00:00:00:00:00", AF_LLC, &everybody) : -NLE_NOMEM;
    err = err < 0 ? err : nl_addr_parse(address, AF_INET, &node);
    if (err == 0) {
        rtnl_neigh_set_ifindex(entry, index);
        rtnl_neigh_set_lladdr(entry, everybody);
        rtnl_neigh_set_dst(entry, node);
        rtnl_neigh_set_family(entry, AF_BRIDGE);
        rtnl_neigh_set_flags(entry, NTF_SELF);
        rtnl_neigh_set_state(entry, NUD_PERMANENT | NUD_NOARP);
        err = rtnl_neigh_add(job, entry, NLM_F_CREATE | NLM_F_APPEND);
    }
    nl_addr_put(node);
    nl_addr_put(everybody);
    rtnl_neigh_put(entry);
    return err == 0 || vt_netlink_fail(error, "cannot name a node to the VXLAN device", err);
}

bool vt_vxlan_make(VtVxlan *vxlan, GError **error)
{
    const VtJob *job = vxlan->job;
    if (!add_device(vxlan, error))
        return false;
    struct nl_sock *own = vt_netlink_open(error);
    int index = (int)if_nametoindex(DEVICE);
    bool ok = own != NULL;
    for (guint i = 0; ok && i < job->nodes; i++)
        ok = i == job->node || add_peer(own, index, job->addresses[i], error);
    nl_socket_free(own);
    nl_socket_free(vxlan->node);
    vxlan->node = NULL;
    return ok && vt_bridge_add(DEVICE, error);
}
