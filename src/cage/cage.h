/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cage/cage.h - what is left of the world for the engine and its QEMUs: a minimal root and no
 * rights.
 *
 * The engine's stages (engine/stages.c) call these in order; each works for root and, with all
 * rights in a user namespace of its own, for an ordinary user. A new part adds to the lists and
 * never changes the cage.
 *
 * Runs as: root, or the user inside its user namespace. Reads from: the plan. Trusts: its caller.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* A file or directory of the host that the cage shows, read-only, nosuid and nodev unless it is a
 * device. */
typedef struct {
    char *source;  /* its path; of a descriptor: for messages */
    int fd;        /* already open; -1: opened by its path when the cage is entered */
    char *target;  /* absolute, inside the cage */
    bool optional; /* left out where the host has none */
    bool device;   /* a device node: stays one, and writable */
    bool own;      /* of root's cage: a node of its own, for `uid` and `gid` alone */
    uid_t uid;
    gid_t gid;
} VtBind;

typedef struct {
    GPtrArray *binds; /* of VtBind, in order */
} VtCage;

VtCage *vt_cage_new(void);
void vt_cage_free(VtCage *cage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtCage, vt_cage_free)

void vt_cage_bind(VtCage *cage, const char *source, const char *target);
/* The same by what is already open, whatever lies at the path by now. `fd` is taken over. */
void vt_cage_bind_fd(VtCage *cage, int fd, const char *source, const char *target);
/* The same, left out where the host has no `source`; a symbolic link is copied as one. */
void vt_cage_bind_optional(VtCage *cage, const char *path);
void vt_cage_device(VtCage *cage, const char *path);
/* The same for a device that not everybody may open. Where the process is root, which may open it
 * but is to become `uid` and `gid`, the cage gets a node of its own that is theirs (0600); the
 * host's keeps its owner and mode. Else, and where a container makes no nodes, the host's is shown. */
void vt_cage_device_for(VtCage *cage, const char *path, uid_t uid, gid_t gid);

/* Makes this mount namespace's changes invisible outside, and outside's changes harmless inside. */
bool vt_cage_detach_mounts(GError **error);

/* Shows /proc of this PID namespace in the host's place: pids are what fork() returns, and a file
 * server, which keeps /proc/self/fd open for good, reaches no process of the host by it. In a
 * container whose /proc has covered parts that may be forbidden; then it stays as it is. */
bool vt_cage_mount_proc(GError **error);

/* Remounts the one mount at `path` read-only, nosuid, nodev, keeping the flags that a user
 * namespace may not clear. */
bool vt_cage_mount_read_only(const char *path, GError **error);

/* Builds the root, moves into it and lets go of the old one. Nothing of the host can be opened by
 * path afterwards. */
bool vt_cage_enter(VtCage *cage, GError **error);

/* Gives up all rights for good: groups and ids (where the process is root: `uid`, `gid`), every
 * capability of every set, new privileges by exec, being traced, and the system calls of
 * cage/filter.h. Asks for SIGKILL at the parent's end again, since a change of ids takes that
 * back. */
bool vt_cage_drop(uid_t uid, gid_t gid, GError **error);

/* The same, but for one capability, which this process alone keeps. Root's only. */
bool vt_cage_drop_to(uid_t uid, gid_t gid, int capability, GError **error);
