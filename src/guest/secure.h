/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest/secure.h - TLS 1.3 below the frames of a channel, between two engines that have the same key.
 *
 * Pre-shared key with ECDHE (RFC 8446): who has the key is the peer, and who learns it later reads
 * nothing of what was said before. Nothing else is offered or taken: no certificate, no ticket.
 *
 * Reads from: another node's engine, and whoever comes between. Trusts: nothing without the key.
 */
#pragma once

#include "guest/channel.h"

#define VT_SECURE_KEY_SIZE 32

/* From now on what goes through the channel is TLS, by that key; what is sent waits until the peer has
 * shown that it has the key. A peer that has not fails the channel. False: TLS cannot be had. Of a
 * channel that nothing has been sent over. */
bool vt_channel_secure(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE]);
