/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/lead.h - the first node of a job: orders to all others at once.
 *
 * Runs as: root. Reads from: the daemons of the other nodes. Trusts: nothing of what they say.
 */
#pragma once

#include "conf/settings.h"
#include "node/order.h"

typedef struct VtLead VtLead;

/* What all nodes are told alike: makes run, key and, where `transport` is VXLAN, VNI, and looks up all
 * addresses. `order` is a START with hosts and gets `addresses`, `key`, `run`, `transport`, `vni` and `mtu`. */
bool vt_lead_prepare(VtOrder *order, VtTransport transport, GError **error);

/* Sets `mtu` of the first node's order; of a further one's: looks whether this node's network takes that. */
bool vt_lead_check_mtu(VtOrder *order, GError **error);

/* Sends the orders, each by a thread of its own. (transfer full) */
VtLead *vt_lead_start(const VtOrder *order, const VtSettings *settings);

/* Waits until all engines are in their cages. False with VT_ERROR_HOST that names a node that has none. */
bool vt_lead_wait(VtLead *lead, GError **error);

/* The connection to the engine of `node`, from 1 on. (transfer full) */
int vt_lead_take(VtLead *lead, guint node);

/* Closes what was not taken: those engines end. */
void vt_lead_free(VtLead *lead);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtLead, vt_lead_free)
