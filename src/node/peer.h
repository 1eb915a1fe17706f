/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/peer.h - the daemons' door for each other: TCP, PEER_PORT (doc/contracts/peer.md).
 *
 * Frames of wire/wire.h, session 0, until the connection becomes the engines'.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "ctl/door.h"

#define VT_PEER_VERSION 1
#define VT_PEER_NONCE_SIZE 16  /* bytes; said in hexadecimal digits */
#define VT_PEER_SPEAK_MS 10000 /* for each side's next word: munged is asked meanwhile */

typedef enum {
    /* Who opens the door, first: u16 lowest, u16 highest version, string nonce */
    VT_PEER_GREETING = 208,
    VT_PEER_ORDER = 209, /* the first node's daemon: a credential (node/credential.h) of a FOLLOW */
    VT_PEER_TAKEN = 210, /* the engine is in its cage: what follows is TLS, between engines */
    VT_PEER_REFUSED = 211, /* string: why; the connection's end follows */
} VtPeerType;

/* Listens on `port` of all IPv4 addresses. Returns a non-blocking descriptor or -1. */
int vt_peer_listen(guint port, GError **error);

/* A connection that is to last: a cut is noticed, and small frames leave at once. */
void vt_peer_prepare(int fd);

/* IPv4 of the peer, of ourselves. (transfer full); NULL: it is none of TCP over IPv4. */
char *vt_peer_remote(int fd);
char *vt_peer_local(int fd);

/* The IPv4 addresses of a host, by this node's name service. Blocks. (transfer full); VT_ERROR_HOST. */
GStrv vt_peer_lookup(const char *host, GError **error);

/* MTU of the interface that has this address; 0: none has. */
guint vt_peer_mtu(const char *address);

/* `size` random bytes as hexadecimal digits. (transfer full); NULL: there are none. */
char *vt_peer_random(gsize size);

/* Serves one connection from another node: its order is checked and obeyed. Blocks. Returns the
 * process's exit status. follow.c */
int vt_follow(int connection, const char *settings_file);
