/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/system/wireguard-node.c - what an engine does for a job's network over WireGuard, without the
 * rest of an engine.
 *
 *   wireguard-node NODE ADDRESS...   in the network namespace of node number NODE, as root
 *
 * Says "PORT KEY" (64 hexadecimal digits), reads such a line for each of the nodes in turn, says "connected" or what
 * was wrong, and holds the job's network namespace until its input ends.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/hex.h"
#include "cage/cage.h"
#include "net/bridge.h"
#include "net/tunnel.h"

#define NOBODY 65534
#define VMS 2    /* of each node */
#define MTU 1440 /* of the job's network, where the nodes' has 1500 */

static void end(const GError *error)
{
    puts(error->message);
    fflush(stdout);
    _exit(1);
}

/* Nobody holds their other ends: guests' stand-ins come to the bridge by cables. */
static bool make_taps(GError **error)
{
    for (guint i = 0; i < VMS; i++)
        if (vt_bridge_new_tap(i, error) < 0)
            return *error ? false : vt_error_set(error, VT_ERROR_HOST, "no /dev/net/tun");
    return true;
}

static VtTunnel *start(VtJob *job, VtTunnelPeer *own)
{
    g_autoptr(GError) error = NULL;
    VtTunnel *tunnel = vt_tunnel_open(job, &error);
    if (!tunnel)
        end(error);
    if (unshare(CLONE_NEWNET) < 0 || !make_taps(&error) || !vt_bridge_join(VMS, &error) ||
        !vt_tunnel_make(tunnel, own, &error) || !vt_tunnel_guard(tunnel, NOBODY, NOBODY, &error) ||
        !vt_cage_drop(NOBODY, NOBODY, &error))
        end(error);
    return tunnel;
}

static void say(const VtTunnelPeer *own)
{
    g_autofree char *key = vt_hex_format(own->key, sizeof own->key);
    printf("%u %s\n", own->port, key);
    fflush(stdout);
}

static void read_peers(VtTunnelPeer *peers, guint n)
{
    char line[128], digits[2 * VT_TUNNEL_KEY_SIZE + 1];
    for (guint i = 0; i < n; i++) {
        unsigned port;
        if (!fgets(line, sizeof line, stdin) || sscanf(line, "%u %64s", &port, digits) != 2 ||
            !vt_hex_is_valid(digits, sizeof digits - 1))
            exit(2);
        peers[i].port = (guint16)port;
        vt_hex_parse(digits, peers[i].key, sizeof peers[i].key);
    }
}

int main(int argc, char **argv)
{
    VtTunnelPeer own, peers[VT_NODES_MAX] = {0};
    g_autoptr(GError) error = NULL;
    if (argc < 4)
        return 2;
    VtJob job = {
        .node = (guint)atoi(argv[1]),
        .nodes = (guint)argc - 2,
        .vms = VMS,
        .addresses = argv + 2,
        .transport = VT_TRANSPORT_WIREGUARD,
        .net_mtu = MTU,
    };
    VtTunnel *tunnel = start(&job, &own);
    say(&own);
    read_peers(peers, job.nodes);
    if (!vt_tunnel_connect(tunnel, peers, &error))
        end(error);
    puts("connected");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
