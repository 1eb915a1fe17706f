/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/verbs.h - what a connection to the daemon may ask for (doc/contracts/ctl.md).
 *
 * Runs as: root, one process a connection. Reads from: whoever connected. Trusts: what the kernel
 * says of the peer.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int fd;       /* borrowed */
    uid_t uid;    /* of the peer, as the kernel says */
    bool is_hook; /* came to root's socket */
    const char *settings_file;
} VtVisitor;

/* Reads the connection's first frame and does what it says. Blocks, at most some seconds for a peer
 * that is silent, and as long as the user database does for a start. Returns the process's exit
 * status. */
int vt_visitor_serve(const VtVisitor *visitor);

/* True if a job of this user's lives here. */
bool vt_visitor_has_job(uid_t uid);
