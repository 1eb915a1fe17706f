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

#define VT_PEER_NO_ANSWER "vTorque's daemon there does not answer"

typedef enum {
    /* Who opens the door, first: u16 lowest, u16 highest version, string nonce */
    VT_PEER_GREETING = 208,
    VT_PEER_ORDER = 209, /* the first node's daemon: a credential (node/credential.h) of a FOLLOW */
    VT_PEER_TAKEN = 210, /* an engine is in its cage, or a user may come in: TLS follows */
    VT_PEER_REFUSED = 211, /* aux VT_PEER_NO_JOB or 0; string: why; the connection's end follows */
    VT_PEER_USER = 212,    /* a user's vmgr: a credential of a VT_ORDER_USER */
} VtPeerType;

#define VT_PEER_NO_JOB 1 /* no job of the user's is there */

/* Listens on `port` of all IPv4 addresses. Returns a non-blocking descriptor or -1. */
int vt_peer_listen(guint port, GError **error);

/* Calls the daemon at `address` (IPv4), again for 10 s where it does not listen or has too many
 * visitors, and reads its greeting into `nonce` (transfer full). Returns a blocking descriptor, or -1
 * with VT_ERROR_HOST. */
int vt_peer_call(const char *address, guint port, char **nonce, GError **error);

/* The string of a VT_PEER_REFUSED or CTL_OUTCOME, printable. (transfer full) */
char *vt_peer_read_text(const WireHeader *header, const guint8 *payload);

/* A connection that is to last: a cut is noticed within some minutes, and small frames leave at once. */
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

/* Whom a daemon has in, as a process of its own for one connection sees it. */
typedef struct {
    int fd; /* borrowed: the connection */
    const char *settings_file;
    pid_t daemon; /* that has forked */
    /* From now on the process counts as one of that user's. False: they have too many. */
    bool (*count_user)(gpointer data, uid_t uid);
    gpointer data;
} VtPeerVisit;

/* Serves one connection from another node: an order is checked and obeyed (follow.c), a user let in
 * (node/caller.c). Blocks. Returns the process's exit status. */
int vt_follow(const VtPeerVisit *visit);
