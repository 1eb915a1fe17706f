/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach/pump.h - bytes between a TLS connection and a socket of this machine, both ways.
 *
 * Reads from: another node's end, and the program at this one. Trusts: neither; no byte is looked at.
 */
#pragma once

#include "guest/secure.h"

#define VT_PUMP_SIZE 32768 /* bytes under way, each way: who does not read stops who writes */

typedef struct {
    int far;  /* borrowed, non-blocking: the socket below `secure` */
    int near; /* borrowed, non-blocking */
    VtSecure *secure;
    /* Bytes that were read from the far end already, and go first. */
    guint8 first[64];
    gsize first_size;
} VtPump;

/* Copies until either end has ended, then what is under way, as long as that goes on within 10 s. */
void vt_pump_run(const VtPump *pump);
