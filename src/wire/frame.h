/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wire/frame.h - what a frame may look like: one table for both sides.
 *
 * Pure: it knows no state. Who passed the check may decode the payload without looking at lengths
 * again; whether the frame may come now is the receiver's to know. Libc only.
 *
 * Reads from: the peer. Trusts: nothing.
 */
#pragma once

#include "wire/wire.h"

typedef enum { WIRE_ENGINE, WIRE_AGENT } WireSide;

/* Checks a frame that `sender` sent: known type, right direction, session 0 where the type has no
 * session, `aux` in its range, payload exactly as the type says, strings and words without NUL and
 * within their limits. `payload` has header->length bytes. Returns 0 or -EPROTO. */
int wire_frame_check(const WireHeader *header, const void *payload, WireSide sender);

/* "DATA" for WIRE_DATA; "?" for what is no type. For messages. */
const char *wire_type_name(unsigned type);
