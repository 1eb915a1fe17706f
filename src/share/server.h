/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share/server.h - a file server of a job's virtual machine: QEMU's virtiofsd with the owner's
 * rights, over a tree of binds.
 *
 * There are two: one for the root, which is only read and which the guest may therefore cache for
 * good, and one for what the owner writes to, which it looks at again at each open.
 *
 * Theory of operation. A child of the engine, in a mount namespace of its own, builds a small
 * read-only tree: /0, /1 ..., each a bind of one of the plan's directories. The host's root
 * (img=host) is shown read-only, with every mount below it that is no real file system covered.
 * Then the child takes the owner's ids in the order that keeps the owner out of it (shared facts:
 * the user namespace is root's, made before the ids are taken), keeps the capabilities that
 * virtiofsd works with, and executes it on a socket that only the engine can have connected to.
 *
 * Runs as: root, or the user inside the job's user namespace; then as the owner. Reads from: the
 * plan, mountinfo.
 */
#pragma once

#include "job/plan.h"

typedef struct {
    pid_t pid;
    int socket;     /* connected to the server: QEMU's */
    int log;        /* the server's stderr, to be drained */
    int report;     /* of its start: vt_server_wait()'s */
    guint left_out; /* of the owner's groups (share/ids.h) */
} VtServer;

#define VT_SERVER_NONE ((VtServer){.pid = -1, .socket = -1, .log = -1, .report = -1})

/* Starts the server of the plan's root (`is_root`), or of its other directories. The process must
 * already be in a network namespace where nobody else is, since the socket has an abstract name for
 * a moment. On return the server has mounts and ids of its own, and is on its way to its program. */
bool vt_server_start(const VtPlan *plan, bool is_root, const VtOwner *owner, VtServer *server,
                     GError **error);

/* Waits until the server's program runs, 30 s at most, or says why it does not. Needs no rights. */
bool vt_server_wait(VtServer *server, GError **error);
