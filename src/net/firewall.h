/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/firewall.h - who may speak to a job's VXLAN, in the node's network namespace.
 *
 * A table of nftables that a socket owns, so that it goes with whoever holds that. As `nft list ruleset`
 * shows it:
 *
 *   table inet vtorque-VNI {
 *     flags owner
 *     set nodes {
 *       type ipv4_addr
 *       elements = { the job's other nodes }
 *     }
 *     chain in {
 *       type filter hook input priority raw; policy accept;
 *       udp dport 4789 @th,96,24 VNI ip saddr @nodes accept
 *       udp dport 4789 @th,96,24 VNI drop
 *     }
 *     chain out {
 *       type filter hook output priority raw; policy accept;
 *       udp dport 4789 meta skuid != 4294967295 drop
 *     }
 *   }
 *
 * (96 bits into UDP: the number of the network. What the kernel sends is no process's: the last rule does
 * not apply.)
 *
 * It is not made from such a text: libnftables asks the name service for every user id.
 *
 * Runs as: root, in stage 2. Reads from: the job document. Trusts: nothing in it.
 */
#pragma once

#include <glib.h>

#include "job/job.h"

#define VT_VXLAN_PORT 4789 /* IANA's, UDP */

/* Makes the table of `job` in the network namespace that this process is in. Returns its owner, a
 * close-on-exec descriptor, or -1 with VT_ERROR_HOST and nothing made. */
int vt_firewall_open(const VtJob *job, GError **error);
