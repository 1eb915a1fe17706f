/* SPDX-License-Identifier: Apache-2.0 */
/* net/network.c - the networks of a job's guests: by the kernel, or by a switch of ours, and passt. */
#include "net/network.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "net/bridge.h"
#include "net/relay.h"
#include "net/switch.h"

#define SWITCH_BYTES (1024 * 1024) /* of frames that a guest has not taken yet */
#define RELAY_BYTES (128 * 1024)   /* the same; few, see net/relay.c */
#define QUEUE_FRAMES "512"         /* the same, counted; 10 without it */

static bool make_taps(VtNetwork *network, GError **error)
{
    for (guint i = 0; i < network->n; i++) {
        GError *local = NULL;
        network->nics[i].fd = vt_bridge_new_tap(i, &local);
        if (network->nics[i].fd < 0 && !local && i > 0)
            local = g_error_new(VT_ERROR, VT_ERROR_HOST, "the job's network: no more tap devices");
        if (local) {
            g_propagate_error(error, local);
            return false;
        }
        if (network->nics[i].fd < 0)
            return true;
        network->nics[i].kind = VT_NIC_TAP;
    }
    return vt_bridge_join(network->n, error);
}

/* It is of this namespace alone, and counts for sockets that are made later. */
static void lengthen_queues(void)
{
    vt_autofd fd = open("/proc/sys/net/unix/max_dgram_qlen", O_WRONLY | O_CLOEXEC);
    if (fd >= 0)
        (void)!write(fd, QUEUE_FRAMES, sizeof QUEUE_FRAMES - 1);
}

static void close_ports(int **ports, guint n)
{
    for (guint i = 0; *ports && i < n; i++)
        vt_fd_clear(&(*ports)[i]);
    g_clear_pointer(ports, g_free);
}

static VtNic *nics_new(guint n)
{
    VtNic *nics = g_new(VtNic, n);
    for (guint i = 0; i < n; i++)
        nics[i] = (VtNic){.kind = VT_NIC_NONE, .fd = -1};
    return nics;
}

/* A pair for each of `n` guests: `nics` are QEMU's ends. (transfer full) the others; NULL on failure,
 * which closes them. */
static int *make_sockets(VtNic *nics, VtNicKind kind, guint n, GError **error)
{
    const int size = kind == VT_NIC_OUTER ? RELAY_BYTES : SWITCH_BYTES;
    int *ports = g_new(int, n);
    lengthen_queues();
    for (guint i = 0; i < n; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0) {
            vt_error_set_errno(error, VT_ERROR_HOST, errno,
                               "the job's network: cannot make a socket pair");
            close_ports(&ports, i);
            return NULL;
        }
        nics[i] = (VtNic){.kind = kind, .fd = pair[0]};
        ports[i] = pair[1];
        for (int end = 0; end < 2; end++)
            setsockopt(pair[end], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    return ports;
}

bool vt_network_start_uplinks(const VtPlan *plan, const VtOwner *owner, VtNetwork *network,
                              GError **error)
{
    if (!plan->has_uplink)
        return true;
    network->n = plan->n_vms;
    network->uplinks = g_new(VtUplink, network->n);
    for (guint i = 0; i < network->n; i++)
        network->uplinks[i] = VT_UPLINK_NONE;
    for (guint i = 0; i < network->n; i++)
        if (!vt_uplink_start(owner, &network->uplinks[i], error))
            return false;
    return true;
}

bool vt_network_make(const VtPlan *plan, VtNetwork *network, GError **error)
{
    network->n = plan->n_vms;
    network->nics = nics_new(network->n);
    network->outer_nics = nics_new(network->n);
    if (plan->has_uplink) {
        network->outer_ports = make_sockets(network->outer_nics, VT_NIC_OUTER, network->n, error);
        if (!network->outer_ports)
            return false;
    }
    if (plan->net != VT_NET_PRIVATE)
        return true;
    if (!make_taps(network, error))
        return false;
    if (network->nics[0].kind == VT_NIC_TAP)
        return true;
    network->ports = make_sockets(network->nics, VT_NIC_SOCKET, network->n, error);
    return network->ports != NULL;
}

/* The children: they hold nothing of the engine's but what they serve. Never return. */
static void run_switch(const VtNetwork *network)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    vt_fd_keep_only(network->ports, network->n);
    vt_switch_run(network->ports, network->n);
    _exit(VT_EXIT_FAILED);
}

static void run_relay(const VtNetwork *network)
{
    int ends[2 * VT_VMS_MAX];
    guint n = network->n;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (guint i = 0; i < n; i++)
        ends[i] = network->outer_ports[i], ends[n + i] = network->uplinks[i].fd;
    vt_fd_keep_only(ends, 2 * n);
    vt_relay_run(ends, ends + n, n);
    _exit(0);
}

static bool start_child(void (*run)(const VtNetwork *network), const VtNetwork *network, pid_t *pid,
                        GError **error)
{
    *pid = fork();
    if (*pid == 0)
        run(network);
    return *pid > 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork for the job's network");
}

bool vt_network_start(VtNetwork *network, GError **error)
{
    if (network->ports && !start_child(run_switch, network, &network->switch_pid, error))
        return false;
    if (network->outer_ports && !start_child(run_relay, network, &network->relay_pid, error))
        return false;
    close_ports(&network->ports, network->n);
    close_ports(&network->outer_ports, network->n);
    for (guint i = 0; network->uplinks && i < network->n; i++)
        vt_fd_clear(&network->uplinks[i].fd);
    return true;
}

static void close_nics(VtNic **nics, guint n)
{
    for (guint i = 0; *nics && i < n; i++)
        vt_fd_clear(&(*nics)[i].fd);
    g_clear_pointer(nics, g_free);
}

void vt_network_clear(VtNetwork *network)
{
    close_nics(&network->nics, network->n);
    close_nics(&network->outer_nics, network->n);
    close_ports(&network->ports, network->n);
    close_ports(&network->outer_ports, network->n);
    for (guint i = 0; network->uplinks && i < network->n; i++) {
        vt_fd_clear(&network->uplinks[i].fd);
        vt_fd_clear(&network->uplinks[i].log);
    }
    g_clear_pointer(&network->uplinks, g_free);
}
