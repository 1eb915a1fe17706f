/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach/call.h - the caller's half: from the name of a node to a TLS connection with its daemon's help.
 *
 * Runs as: the user. Reads from: another node. Trusts: MUNGE, by which nobody but root there learns the key.
 */
#pragma once

#include "guest/secure.h"

typedef struct {
    const char *host;
    guint port;
    const char *munge_socket; /* NULL: MUNGE's own */
} VtCall;

/* Calls the daemon of a node and shows it a credential of this process's uid. Returns a blocking socket over
 * which TLS by `key` follows, this being the client, or -1: VT_ERROR_HOST for what cannot be reached,
 * VT_ERROR_USER: no job of the user's is there, VT_ERROR_BATCH for all else that the node refuses. Blocks, for a name service and half a minute more. */
int vt_call_node(const VtCall *call, guint8 key[VT_SECURE_KEY_SIZE], GError **error);
