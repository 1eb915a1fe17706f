/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/control.h - the engine's control socket: `control` in the run folder, mode 0600.
 *
 * A stream socket with frames of wire/wire.h; session 0 always. A request is answered by
 * CTL_ANSWER, or by CTL_REFUSED and the connection's end. Who may open the socket may do everything
 * here: the daemon and root (root's jobs), the user (local jobs).
 */
#pragma once

#include "ctl/run.h"

#define CTL_CONTROLS_MAX 16 /* connections at a time */

typedef enum {
    /* No payload; answer: lines key=value (id, name, user, vm, phase, ram_mib, vcpus, vms) */
    CTL_QUERY = 144,
    /* CTL_END (ctl/run.h); answer: empty, as soon as the order is taken; the connection ends when
     * the engine does */
    /* aux = which virtual machine; answer: the last lines of its serial console, printable */
    CTL_CONSOLE = 145,
    /* aux = WireFault, handed to an agent: for tests of our own; none, or u8 which machine's;
     * answer: empty */
    CTL_FAULT = 146,
    /* The daemon: aux = CtlHand; u32 uid of whoever stands behind the connection that comes as this
     * frame's descriptor, and has been seen to be the owner or root. No answer: it is that
     * connection's */
    CTL_HAND = 147,
    CTL_ANSWER = 160,  /* string, or for CTL_CONSOLE and CTL_QUERY the bytes themselves */
    CTL_REFUSED = 161, /* string */
} CtlRequest;

/* What a connection that is handed over becomes. */
typedef enum {
    CTL_HAND_RUN = 0,     /* the job's run connection; the first wins */
    CTL_HAND_CONTROL = 1, /* one of this socket's, without CTL_HAND */
} CtlHand;
