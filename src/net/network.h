/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/network.h - the private network of a job's guests on this node.
 *
 * Theory of operation. It lies in the job's own network namespace, where nothing else is, and goes
 * with it. Where tap devices can be had, the kernel switches: one tap for each guest, a bridge, and
 * large segments from guest to guest as they are. Where /dev/net/tun is closed to the user, a child
 * of the engine switches between socket pairs, with a large MTU in place of large segments.
 *
 * Runs as: root, or the user inside its user namespace, in stage 2; the switch as the engine in stage
 * 5, without rights. Reads from: guests. Trusts: nothing of what they send.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/plan.h"
#include "net/nic.h"

typedef struct {
    guint n;          /* guests */
    VtNic *nics;      /* QEMU's ends, one for each of them */
    int *ports;       /* the switch's ends; NULL where the kernel switches */
    pid_t switch_pid; /* -1: none */
} VtNetwork;

#define VT_NETWORK_NONE ((VtNetwork){.switch_pid = -1})

/* Makes the network that `plan` asks for in this process's network namespace, which must be the
 * job's own; nothing where it asks for none. */
bool vt_network_make(const VtPlan *plan, VtNetwork *network, GError **error);

/* Starts the switch, if there is one to start: a child without any rights but those that this process
 * has left. Our copies of its ends are closed. */
bool vt_network_start(VtNetwork *network, GError **error);

/* Closes what is still open. */
void vt_network_clear(VtNetwork *network);
