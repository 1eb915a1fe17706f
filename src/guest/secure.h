/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest/secure.h - TLS 1.3 between two programs that have the same key: engines of two nodes, below the
 * frames of a channel; the two ends of vtorque-reach.
 *
 * Pre-shared key with ECDHE (RFC 8446): who has the key is the peer, and who learns it later reads
 * nothing of what was said before. Nothing else is offered or taken: no certificate, no ticket.
 *
 * Reads from: another node, and whoever comes between. Trusts: nothing without the key.
 */
#pragma once

#include "guest/channel.h"

#define VT_SECURE_KEY_SIZE 32

/* From now on what goes through the channel is TLS, by that key; what is sent waits until the peer has
 * shown that it has the key. A peer that has not fails the channel. False: TLS cannot be had. Of a
 * channel that nothing has been sent over. */
bool vt_channel_secure(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE]);

typedef struct VtSecure VtSecure;

/* The same over a non-blocking socket, which is borrowed, as bytes. (transfer full); NULL: TLS cannot be
 * had. */
VtSecure *vt_secure_new(int fd, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE]);
void vt_secure_free(VtSecure *secure);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtSecure, vt_secure_free)

/* Goes on with the handshake. False in `errno` terms: EAGAIN: not yet over; EPROTO: the peer has not the
 * key, or speaks something else. */
bool vt_secure_handshake(VtSecure *secure);

/* As read(2) and write(2) of a non-blocking descriptor; before the handshake's end they go on with that.
 * A write that was EAGAIN is to be tried again with the same bytes. */
ssize_t vt_secure_read(VtSecure *secure, void *bytes, gsize size);
ssize_t vt_secure_write(VtSecure *secure, const void *bytes, gsize size);

/* True if bytes wait that no poll(2) shows. */
bool vt_secure_has_pending(const VtSecure *secure);
