/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/tunnel.h - what carries a job's private network from this node to the job's others: WireGuard
 * (net/wireguard.h) or VXLAN (net/vxlan.h), as the job document says.
 *
 * One call for each place where the engine is: the node's network namespace, the job's, the cage, and
 * without rights. What it has open goes with the process, and with it all that was made.
 *
 * Runs as: root, in stages 2 and 3; vt_tunnel_connect() without rights. Reads from: the job document,
 * engines of other nodes. Trusts: nothing of either.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/job.h"

#define VT_TUNNEL_KEY_SIZE 32 /* bytes */

typedef struct VtTunnel VtTunnel;

/* A node as the others must know it, beside its address. */
typedef struct {
    guint16 port; /* UDP; 0: not known */
    guint8 key[VT_TUNNEL_KEY_SIZE];
} VtTunnelPeer;

/* Bytes that it takes of each of the nodes' packets, over IPv4: VXLAN with an Ethernet header; WireGuard. */
static inline guint vt_tunnel_overhead(VtTransport transport)
{
    return transport == VT_TRANSPORT_VXLAN ? 50 : 60;
}

/* In the node's network namespace. (transfer full), keeps `job`; NULL with VT_ERROR_HOST. */
VtTunnel *vt_tunnel_open(const VtJob *job, GError **error);

/* Makes the device, in the job's network namespace, where this process is now and the bridge of the
 * guests is. `own` gets what the other nodes must be told; its port stays 0 where that is nothing.
 * VT_ERROR_HOST. */
bool vt_tunnel_make(VtTunnel *tunnel, VtTunnelPeer *own, GError **error);

/* In the cage, before rights are given up: starts the child that shall tell the kernel of the other
 * nodes, as `uid` and `gid`, where they must be told. VT_ERROR_HOST. */
bool vt_tunnel_guard(VtTunnel *tunnel, uid_t uid, gid_t gid, GError **error);

/* Tells that child of the other nodes: `peers` has one for each node of the job, by number; this node's
 * own is not looked at. Blocks until the kernel has them, 10 s at most. VT_ERROR_HOST; then nothing or
 * a part of them is reached. */
bool vt_tunnel_connect(VtTunnel *tunnel, const VtTunnelPeer *peers, GError **error);
