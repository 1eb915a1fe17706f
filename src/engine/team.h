/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/team.h - the engines of one job on several nodes: the first node's leads, the others follow.
 *
 * Specification: doc/contracts/peer.md, "Between engines". One TLS connection from the leader to each
 * follower, by the key of the job's orders. It ends: the follower ends; the leader fails the job,
 * unless it is at its end anyway.
 *
 * Reads from: another node's engine, which a guest may have taken over once guests run. Trusts: that
 * its daemon was told to start it, and nothing that it says.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "ctl/run.h"
#include "guest/secure.h"
#include "net/tunnel.h"

typedef struct VtEngine VtEngine;
typedef struct VtTeam VtTeam;

/* What only a job of several nodes needs, and what would make the start of every other slower: the
 * libraries behind it are those of a program of its own (bin/meson.build). */
typedef struct {
    bool (*secure)(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE]);
    VtTunnel *(*open_tunnel)(const VtJob *job, GError **error);
    bool (*make_tunnel)(VtTunnel *tunnel, VtTunnelPeer *own, GError **error);
    bool (*guard_tunnel)(VtTunnel *tunnel, uid_t uid, gid_t gid, GError **error);
    bool (*connect_tunnel)(VtTunnel *tunnel, const VtTunnelPeer *peers, GError **error);
} VtNodesPart;

typedef enum {
    /* Both ways: a machine. string name, u32 address, u32 vcpus. The follower's own, before HELLO; all
     * of the job, in their order, before GO */
    VT_TEAM_NAME = 224,
    VT_TEAM_HELLO = 225,  /* follower: caged. u16 lowest, u16 highest version, u32 node */
    VT_TEAM_GO = 226,     /* leader: start the guests. Seed of the ssh keys */
    VT_TEAM_READY = 227,  /* follower: all guests are ready */
    VT_TEAM_PAUSE = 228,  /* leader: aux 1: stand still; 0: go on */
    VT_TEAM_END = 229,    /* leader: bring the guests down in order */
    VT_TEAM_DOWN = 230,   /* follower: they are */
    VT_TEAM_FAILED = 231, /* follower: aux CtlReason, string: its last word */
    VT_TEAM_NOTE = 232,   /* follower: aux CtlNote, string */
    VT_TEAM_PING = 233,   /* leader, each VT_TEAM_PING_S; answered by the same */
    /* Both ways, where WireGuard carries the job's network: u32 node, u16 port, 32 bytes key. The
     * follower's own, before HELLO; those of all others, before GO */
    VT_TEAM_PEER = 234,
} VtTeamType;

#define VT_TEAM_VERSION 1
#define VT_TEAM_PING_S 5
#define VT_TEAM_SILENCE_S 15 /* after which the other side is lost */

/* The job is one of several nodes, and this is not the first. */
bool vt_team_is_follower(const VtEngine *engine);

/* The engine is in its cage. A job of one node goes on at once; else this waits for the others, in the
 * loop, and then lets the guests start, by the `go` of `engine`. */
void vt_team_start(VtEngine *engine);

/* The leader: the connection to the engine of `node`, from the daemon. False: there is no such node to
 * come; `fd` is then still the caller's. */
bool vt_team_take(VtEngine *engine, guint node, int fd);

/* All others have as much: their guests are ready; are down. True for a job of one node. */
bool vt_team_is_ready(const VtEngine *engine);
bool vt_team_is_down(const VtEngine *engine);

/* The guests may not start yet. */
bool vt_team_is_waiting(const VtEngine *engine);

/* The leader: which nodes have not come so far as they should, for people. (transfer full) */
char *vt_team_missing(const VtEngine *engine);

/* What this node has come to, for the others: ready; end; the guests stand still, or not; down. */
void vt_team_tell_ready(VtEngine *engine);
void vt_team_tell_end(VtEngine *engine);
void vt_team_tell_pause(VtEngine *engine, bool is_paused);
void vt_team_tell_down(VtEngine *engine);
/* A follower's reason for its end, or a note of its. */
void vt_team_tell_failed(VtEngine *engine);
void vt_team_tell_note(VtEngine *engine, CtlNote kind, const char *text);

/* The leader is over: so are all others, whatever its own reader still takes. */
void vt_team_leave(VtEngine *engine);

/* Closes the connections; a follower's last word has a second to leave. */
void vt_team_end(VtEngine *engine);
