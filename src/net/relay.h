/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/relay.h - frames between guests and the programs that carry them out of the job.
 *
 * Each guest has a pair: the datagram socket of its network card, one frame a datagram, and the
 * stream socket of its uplink, each frame behind its length in four bytes (what QEMU's stream
 * sockets speak, and passt). A frame of the guest's that could reach the host itself by way of the
 * uplink does not pass, and neither does UDP from whom the guest has not spoken to: passt takes that
 * for every port that the guest has once sent from.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#define VT_RELAY_FRAME_MAX 65535 /* bytes; passt has room for no more (Debian 12's) */
#define VT_RELAY_PEERS 4096      /* whom a guest has last spoken to, at most */

typedef struct {
    guint32 address; /* as in the frame, like the ports */
    guint16 port, own_port;
} VtRelayPeer;

/* Whom a guest has spoken to by UDP, and from which port. All zero: nobody. A new one may push an old
 * one out, which is there again when the guest speaks to it. */
typedef struct {
    VtRelayPeer peers[VT_RELAY_PEERS];
} VtRelayPeers;

/* True if a guest may send `frame`, of `size` bytes, VT_RELAY_FRAME_MAX at most: ARP, or IPv4 to an
 * address that is not the sender's own machine's (0.0.0.0/8, 127.0.0.0/8): the uplink, which speaks
 * for the host, would take that for the host. */
bool vt_relay_may_leave(const guint8 *frame, gsize size);

/* Keeps whom `frame`, which leaves, speaks to. */
void vt_relay_note(VtRelayPeers *peers, const guint8 *frame, gsize size);

/* True if `frame`, of `size` bytes, may come to the guest: it is not UDP, or an answer. */
bool vt_relay_may_enter(const VtRelayPeers *peers, const guint8 *frame, gsize size);

/* Relays between `n` pairs until both ends of all are gone. Who is slow holds up the other end of his
 * pair and nobody else. */
void vt_relay_run(const int *guests, const int *uplinks, guint n);
