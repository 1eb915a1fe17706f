/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/vxlan.h - a job's private network between nodes: VXLAN to its other nodes, and a filter.
 *
 * Theory of operation. The device is made in the job's network namespace by a netlink socket of the
 * node's, so that its datagrams are the node's own and nothing in the job sees them; it goes with the
 * namespace. Without the filter any user on any node could say something in the job: datagrams of this
 * network count from the job's other nodes alone, and no process on this node may send to the port at
 * all: what the kernel sends for the device is nobody's process. The filter is a table that the
 * engine's socket owns: it goes with the engine.
 *
 * What remains open: the datagrams are in clear, and root of any machine in the nodes' network can
 * forge a sender. So a site must say that it trusts that network (NET_TRANSPORT=vxlan).
 *
 * Runs as: root, in stage 2. Reads from: the job document. Trusts: nothing in it.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/job.h"

typedef struct VtVxlan VtVxlan;

/* Makes the filter of `job`, in the node's network namespace. (transfer full); NULL with VT_ERROR_HOST. */
VtVxlan *vt_vxlan_open(const VtJob *job, GError **error);

/* Makes the device and adds it to the bridge of the guests, in the job's network namespace, where this
 * process is now. `vxlan` stays: the filter lives as long as it. VT_ERROR_HOST. */
bool vt_vxlan_make(VtVxlan *vxlan, GError **error);
