/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/caller.h - a user who comes from another node (doc/contracts/peer.md, "Users from other nodes").
 *
 * Theory of operation. The daemon decides who it is, by a credential, and nothing else: what the user may
 * do is decided at this node's own socket, where a program with the user's id and nothing more (reach/)
 * connects on their behalf. So there is one place that says what a user may, and no byte of the
 * connection but the credential is read with rights.
 *
 * Runs as: root, in a process of its own. Trusts: munged.
 */
#pragma once

#include "node/peer.h"

#define VT_REACH_PROGRAM "vtorque-reach"
#define VT_REACH_SERVE "--serve" /* its only argument */
#define VT_REACH_KEY_FD 1        /* a file with the key's digits; 0 is the connection */

/* True if the user, who is not root, may come in: a job of theirs lives here, and they are not too many. VT_ERROR_USER:
 * there is no such job; VT_ERROR_HOST: they are. Messages are for them. */
bool vt_caller_check(const VtPeerVisit *visit, uid_t uid, GError **error);

/* Tells the user so and becomes the program, for good: it ends with the daemon. `key`: 64 hexadecimal
 * digits. Returns an exit status where that cannot be. */
int vt_caller_let_in(const VtPeerVisit *visit, uid_t uid, const char *key);
