/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/door.h - the daemon's two sockets: what is said there, and how.
 *
 * Specification: doc/contracts/ctl.md. Frames of wire/wire.h, session 0. The first frame says what a
 * connection is for; it may then become another's (the engine's). Libc only.
 *
 * Reads from: whoever connects. Trusts: nothing but what the kernel says of the peer.
 */
#pragma once

#include "wire/wire.h"

#define CTL_DOOR_HOOK "/run/vtorque/hook.sock" /* 0600: root's hooks */
#define CTL_DOOR_USER "/run/vtorque/user.sock" /* 0666: everybody */
#define CTL_DOOR_SPEAK_MS 5000                 /* for a connection's first frame */
#define CTL_DOOR_FDS_MAX 2                     /* descriptors with one frame */

typedef enum {
    /* hook.sock. Lines key=value: a job to start. The connection becomes the engine's: CTL_PHASE,
     * CTL_NOTE, CTL_OUTCOME (ctl/run.h); its end before the phase ready ends the job. */
    CTL_DOOR_START = 192,
    /* hook.sock. A line user=NAME: what is left of that user's may go, if the site's settings say
     * so: the node was the job's alone. Answer: CTL_ANSWER, empty, when it is done. */
    CTL_DOOR_CLEAN = 197,
    /* user.sock, the owner or root. A job's id. The connection becomes the engine's run connection;
     * CTL_OUTCOME if there is none to be had. */
    CTL_DOOR_RUN = 193,
    /* user.sock, the owner or root. aux = CtlEnd; a job's id. Answer: CTL_ANSWER once the order is
     * taken, or CTL_REFUSED. */
    CTL_DOOR_END = 194,
    /* user.sock, the owner or root. A job's id. The connection becomes one of ctl/control.h, or
     * CTL_REFUSED. */
    CTL_DOOR_CONTROL = 195,
    /* user.sock, everybody. No payload. A CTL_ANSWER for each job of the peer's (root: of all), a
     * string of lines slot=, keeper=, started=, id=, name=; then an empty one. */
    CTL_DOOR_LIST = 196,
} CtlDoorType;

/* CLOCK_MONOTONIC in milliseconds. */
long long ctl_now_ms(void);

/* Connects to the socket `path`, trying again for `patience_ms` where nobody listens. Returns a
 * blocking descriptor or -errno. */
int ctl_door_connect(const char *path, int patience_ms);

/* Sends one frame, with `n` descriptors (CTL_DOOR_FDS_MAX at most) at its first byte. Waits for
 * room. Returns 0 or -errno; a peer that is gone is -EPIPE. */
int ctl_door_send(int fd, uint8_t type, uint8_t aux, const void *payload, size_t size,
                  const int *fds, int n);

/* The same with a string as payload. */
int ctl_door_send_text(int fd, uint8_t type, uint8_t aux, const char *text);

/* Reads one frame into `payload` of WIRE_PAYLOAD_MAX bytes, not a byte more than it. Returns 0;
 * -ETIMEDOUT; -ECONNRESET: the end came before the frame's; -EPROTO, -EMSGSIZE: no frame; another
 * -errno. Descriptors that come with it are closed by the kernel. */
int ctl_door_receive(int fd, WireHeader *header, void *payload, int timeout_ms);
