/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/credential.h - what one node's daemon, or a user, says to another's, sealed by MUNGE.
 *
 * A credential holds the whole text: it is as genuine and as secret as MUNGE makes it, since
 * cipher and MAC are set here and looked at again where it is opened. Root alone, on a node that has
 * the site's key, can open one, each once on each node. Whose it is says MUNGE; what that entitles to, the caller.
 *
 * Runs as: root; a user, who seals. Blocks: on munged, some seconds. Reads from: other nodes. Trusts: munged.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* `socket`: munged's, or NULL for MUNGE's own. (transfer full); NULL with VT_ERROR_HOST: munged does
 * not answer, or refuses. */
char *vt_credential_seal(const char *socket, const char *text, GError **error);

/* The text of a credential of `uid`'s, whoever that is. Else as below, before the user is looked at. */
char *vt_credential_open_user(const char *socket, const char *credential, uid_t *uid,
                              GError **error);

/* The text of a credential of root's. (transfer full); NULL with VT_ERROR_HOST: munged does not
 * answer; VT_ERROR_BATCH: it is none of root's, is broken, of another key or cipher, was opened before,
 * or the nodes' clocks differ. */
char *vt_credential_open(const char *socket, const char *credential, GError **error);
