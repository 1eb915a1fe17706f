/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/link.h - frames over the port to the host.
 *
 * Reading never blocks; sending blocks until the host has taken the bytes, which it always does
 * (wire.md). A failed send is remembered in `error`: the loop looks there once a turn, so that
 * nobody else has to.
 */
#pragma once

#include "wire/wire.h"

typedef struct {
    int fd;          /* non-blocking */
    int error;       /* 0 or -errno of the first send that failed */
    size_t at, used; /* of `in`: the next frame, the end of what was read */
    uint8_t in[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX];
    uint8_t out[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX];
} Link;

void link_init(Link *link, int fd);

/* Reads once. Returns 0 (also if nothing was there), -EPIPE if the host is gone, or -errno. To be
 * called only after link_next() returned 0. */
int link_fill(Link *link);

/* Gives the next whole frame: 1; 0: none yet; -EMSGSIZE, -EPROTO: a header that may not be.
 * `payload` is valid until the next call of link_fill(). */
int link_next(Link *link, WireHeader *header, const uint8_t **payload);

/* The place for the next frame's payload: WIRE_PAYLOAD_MAX bytes, then sent by link_send() without
 * a copy. */
uint8_t *link_payload(Link *link);
WireWriter link_writer(Link *link);
void link_send(Link *link, WireType type, uint8_t aux, uint16_t session, size_t length);

/* A frame without a payload, or with one number. */
void link_send_empty(Link *link, WireType type, uint8_t aux, uint16_t session);
void link_send_u32(Link *link, WireType type, uint8_t aux, uint16_t session, uint32_t value);

/* From now on a send returns only when the host has taken the frame out of the guest: for the last
 * ones before the machine goes away. */
void link_make_synchronous(Link *link);
