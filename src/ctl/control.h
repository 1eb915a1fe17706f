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

#define CTL_CONTROLS_MAX 16 /* connections at a time, but for shells */
#define CTL_SHELLS_MAX 24   /* of all machines of a job; an agent has WIRE_SESSIONS_MAX sessions */

typedef enum {
    /* No payload; answer: lines key=value (id, name, user, vm, phase, ram_mib, vcpus, vms) */
    CTL_QUERY = 144,
    /* CTL_END (ctl/run.h); answer: empty, as soon as the order is taken; the connection ends when
     * the engine does */
    /* aux = which virtual machine; answer: the last lines of its serial console, printable. With
     * a payload, u8 1: the connection then follows the console, as a session's would
     * (CTL_SHELL): WIRE_OPEN, WIRE_WORD and the like count for nothing, WIRE_DATA is typed, as
     * far as the machine takes it; of what the console says that comes which there is credit
     * for. A signal, and the job's end, are its end */
    CTL_CONSOLE = 145,
    /* aux = WireFault, handed to an agent: for tests of our own; none, or u8 which machine's;
     * answer: empty */
    CTL_FAULT = 146,
    /* The daemon: aux = CtlHand; u32 uid of whoever stands behind the connection that comes as this
     * frame's descriptor, and has been seen to be the owner or root (CTL_HAND_FOLLOWER: the node's
     * number). No answer: it is that connection's */
    CTL_HAND = 147,
    /* aux = which virtual machine: a session of its own there, as the job's owner. Answer: lines
     * key=value (those of CTL_QUERY, home, shell). From then on the connection is one like a run
     * connection (ctl/run.h) that has no script: WIRE_OPEN, WIRE_WORD, WIRE_LIMIT, WIRE_START,
     * then the streams, WIRE_SIGNAL, WIRE_WINSIZE; back come WIRE_STARTED, streams, WIRE_EXIT,
     * and CTL_OUTCOME as the last frame. Session numbers in it are 0. The environment is the
     * job's own, with the words of the connection in place of those of the same name; the limits
     * are the job's where the connection says none. A connection's end: HUP, and KILL after
     * CTL_SHELL_HUP_S */
    CTL_SHELL = 148,
    /* Answer: lines, what became of the job so far: microseconds since 1970, a blank, what
     * happened; then, after two blanks, the last lines of consoles and logs, printable */
    CTL_LOG = 149,
    /* The daemon: string. The job ends at once, by CTL_REASON_NODE, with that message. No answer */
    CTL_FAIL = 150,
    CTL_ANSWER = 160,  /* string for CTL_END and CTL_FAULT, else the bytes themselves */
    CTL_REFUSED = 161, /* string */
} CtlRequest;

#define CTL_SHELL_HUP_S 5 /* s from the HUP of a session that nobody looks at to its KILL */

/* What a connection that is handed over becomes. */
typedef enum {
    CTL_HAND_RUN = 0,     /* the job's run connection; the first wins */
    CTL_HAND_CONTROL = 1, /* one of this socket's, without CTL_HAND */
    CTL_HAND_FOLLOWER =
        2, /* to the engine of a further node (engine/team.h); the first node's only */
} CtlHand;
