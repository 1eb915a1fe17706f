/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/wireguard.h - a job's private network between nodes: WireGuard, routed, with keys of the job.
 *
 * Theory of operation. Each node has a device with a private key of its own, which is made here and
 * never leaves; the engines tell each other the public ones, and the ports, over their own connections.
 * The device is made in the job's network namespace by a netlink socket of the node's, so that its
 * datagrams are the node's own; it goes with the namespace. Node i's machines are 10.77.i.0/24, behind
 * the bridge of the taps; each other node q is the way to 10.77.q.0/24, and what comes from it counts
 * only if it is from there. The guests see one network: the bridge answers for who is elsewhere
 * (proxy ARP). So nothing but IPv4 to one machine gets across: no broadcasts.
 *
 * Other nodes are known only after the engine has given up its rights. So a child keeps one of them,
 * CAP_NET_ADMIN, in the cage and in the job's network namespace: it takes a port and a key for each of the job's other
 * nodes, once, and ends. Addresses and what may come from where are the order's: whoever speaks
 * to it can break this job's network and do nothing else.
 *
 * Runs as: root, in stages 2 and 3; the child: the cage's ids and CAP_NET_ADMIN. Reads from: the job
 * document; the child: its engine. Trusts: nothing of either.
 */
#pragma once

#include "net/tunnel.h"

typedef struct VtWireguard VtWireguard;

/* As vt_tunnel_open(), vt_tunnel_make(), vt_tunnel_guard() and vt_tunnel_connect(). */
VtWireguard *vt_wireguard_open(const VtJob *job, GError **error);
bool vt_wireguard_make(VtWireguard *wireguard, VtTunnelPeer *own, GError **error);
bool vt_wireguard_guard(VtWireguard *wireguard, uid_t uid, gid_t gid, GError **error);
bool vt_wireguard_connect(VtWireguard *wireguard, const VtTunnelPeer *peers, GError **error);
