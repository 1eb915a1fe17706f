/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/network.h - the networks of a job's guests on this node: to each other, and out of the job.
 *
 * Theory of operation. The private one lies in the job's own network namespace, where nothing else
 * is, and goes with it. Where tap devices can be had, the kernel switches: one tap for each guest, a bridge, and
 * large segments from guest to guest as they are. Where /dev/net/tun is closed to the user, a child
 * of the engine switches between socket pairs, with a large MTU in place of large segments.
 *
 * The way out is one passt for each guest (net/uplink.h), in the machine's network namespace. Between
 * the two stands another child, which lets through what a guest may say (net/relay.h).
 *
 * Runs as: root, or the user inside its user namespace, in stage 2; switch and relay as the
 * engine in stage 5, without rights. Reads from: guests. Trusts: nothing of what they send.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/plan.h"
#include "net/nic.h"
#include "net/uplink.h"

typedef struct {
    guint n;           /* guests */
    VtNic *nics;       /* QEMU's ends of the private network, one for each of them */
    int *ports;        /* the switch's ends; NULL where the kernel switches */
    pid_t switch_pid;  /* -1: none */
    VtNic *outer_nics; /* QEMU's ends of the way out */
    int *outer_ports;  /* the relay's ends of those; NULL: there is no way out */
    VtUplink *uplinks; /* one for each guest; NULL: none */
    pid_t relay_pid;   /* -1: none */
} VtNetwork;

#define VT_NETWORK_NONE ((VtNetwork){.switch_pid = -1, .relay_pid = -1})

/* Starts the ways out that `plan` asks for, in the machine's network namespace. First of all. */
bool vt_network_start_uplinks(const VtPlan *plan, const VtOwner *owner, VtNetwork *network,
                              GError **error);

/* Makes the networks that `plan` asks for in this process's network namespace, which must be the
 * job's own; nothing where it asks for none. */
bool vt_network_make(const VtPlan *plan, VtNetwork *network, GError **error);

/* Starts switch and relay, if there is something for them to do: children without any rights but
 * those that this process has left. Our copies of their ends are closed. */
bool vt_network_start(VtNetwork *network, GError **error);

/* Closes what is still open. */
void vt_network_clear(VtNetwork *network);
