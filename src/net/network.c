/* SPDX-License-Identifier: Apache-2.0 */
/* net/network.c - the private network of a job's guests: by the kernel, or by a switch of ours. */
#include "net/network.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "net/bridge.h"
#include "net/switch.h"

#define BUFFER_BYTES (1024 * 1024) /* of frames that a guest has not taken yet */
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

static bool make_sockets(VtNetwork *network, GError **error)
{
    const int size = BUFFER_BYTES;
    lengthen_queues();
    network->ports = g_new(int, network->n);
    for (guint i = 0; i < network->n; i++)
        network->ports[i] = -1;
    for (guint i = 0; i < network->n; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "the job's network: cannot make a socket pair");
        network->nics[i] = (VtNic){.kind = VT_NIC_SOCKET, .fd = pair[0]};
        network->ports[i] = pair[1];
        for (int end = 0; end < 2; end++)
            setsockopt(pair[end], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    return true;
}

bool vt_network_make(const VtPlan *plan, VtNetwork *network, GError **error)
{
    *network = VT_NETWORK_NONE;
    network->n = plan->n_vms;
    network->nics = g_new(VtNic, network->n);
    for (guint i = 0; i < network->n; i++)
        network->nics[i] = (VtNic){.kind = VT_NIC_NONE, .fd = -1};
    if (plan->net != VT_NET_PRIVATE)
        return true;
    if (!make_taps(network, error))
        return false;
    return network->nics[0].kind == VT_NIC_TAP || make_sockets(network, error);
}

static void close_ports(VtNetwork *network)
{
    for (guint i = 0; network->ports && i < network->n; i++)
        vt_fd_clear(&network->ports[i]);
    g_clear_pointer(&network->ports, g_free);
}

static int compare(gconstpointer a, gconstpointer b)
{
    return *(const int *)a - *(const int *)b;
}

/* The child: it holds nothing of the engine's but the ports. Never returns. */
static void run_switch(VtNetwork *network)
{
    int *ports = network->ports;
    unsigned next = STDERR_FILENO + 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    qsort(ports, network->n, sizeof *ports, compare);
    for (guint i = 0; i < network->n; i++) {
        if ((unsigned)ports[i] > next)
            syscall(SYS_close_range, next, ports[i] - 1, 0);
        next = (unsigned)ports[i] + 1;
    }
    syscall(SYS_close_range, next, ~0u, 0);
    vt_switch_run(ports, network->n);
    _exit(VT_EXIT_FAILED);
}

bool vt_network_start(VtNetwork *network, GError **error)
{
    if (!network->ports)
        return true;
    network->switch_pid = fork();
    if (network->switch_pid < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork the job's switch");
    if (network->switch_pid == 0)
        run_switch(network);
    close_ports(network);
    return true;
}

void vt_network_clear(VtNetwork *network)
{
    for (guint i = 0; network->nics && i < network->n; i++)
        vt_fd_clear(&network->nics[i].fd);
    g_clear_pointer(&network->nics, g_free);
    close_ports(network);
}
