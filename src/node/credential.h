/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/credential.h - what one node's daemon says to another's, sealed by MUNGE.
 *
 * A credential of root's holds the whole text: it is as genuine and as secret as MUNGE makes it, since
 * cipher and MAC are set here and looked at again where it is opened. Only root on a node that has the
 * site's key can make one or read it; each can be opened once on each node.
 *
 * Runs as: root. Blocks: on munged, some seconds. Reads from: other nodes. Trusts: munged.
 */
#pragma once

#include <glib.h>

/* `socket`: munged's, or NULL for MUNGE's own. (transfer full); NULL with VT_ERROR_HOST: munged does
 * not answer, or refuses. */
char *vt_credential_seal(const char *socket, const char *text, GError **error);

/* The text of a credential of root's. (transfer full); NULL with VT_ERROR_HOST: munged does not
 * answer; VT_ERROR_BATCH: it is none of root's, is broken, of another key or cipher, was opened before,
 * or the nodes' clocks differ. */
char *vt_credential_open(const char *socket, const char *credential, GError **error);
