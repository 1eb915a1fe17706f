/* SPDX-License-Identifier: Apache-2.0 */
/* net/tunnel.c - one of two: which, is decided here alone. */
#include "net/tunnel.h"

#include "net/bridge.h"
#include "net/vxlan.h"
#include "net/wireguard.h"

struct VtTunnel {
    const VtJob *job;
    VtVxlan *vxlan; /* one of these */
    VtWireguard *wireguard;
};

VtTunnel *vt_tunnel_open(const VtJob *job, GError **error)
{
    VtTunnel *tunnel = g_new0(VtTunnel, 1);
    tunnel->job = job;
    if (job->transport == VT_TRANSPORT_VXLAN)
        tunnel->vxlan = vt_vxlan_open(job, error);
    else
        tunnel->wireguard = vt_wireguard_open(job, error);
    if (tunnel->vxlan || tunnel->wireguard)
        return tunnel;
    g_free(tunnel);
    return NULL;
}

bool vt_tunnel_make(VtTunnel *tunnel, VtTunnelPeer *own, GError **error)
{
    *own = (VtTunnelPeer){0};
    return vt_bridge_set_mtu(tunnel->job->vms, tunnel->job->net_mtu, error) &&
           (tunnel->vxlan ? vt_vxlan_make(tunnel->vxlan, error)
                          : vt_wireguard_make(tunnel->wireguard, own, error));
}

bool vt_tunnel_guard(VtTunnel *tunnel, uid_t uid, gid_t gid, GError **error)
{
    return !tunnel->wireguard || vt_wireguard_guard(tunnel->wireguard, uid, gid, error);
}

bool vt_tunnel_connect(VtTunnel *tunnel, const VtTunnelPeer *peers, GError **error)
{
    return !tunnel->wireguard || vt_wireguard_connect(tunnel->wireguard, peers, error);
}
