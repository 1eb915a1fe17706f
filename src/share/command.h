/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share/command.h - the programs that can serve directories to a guest, and their command lines.
 *
 * The interface behind which a second file server has its place: one row of a table says what it is
 * called, where it is installed, what it can do, and how it is told. What a share promises to the
 * job does not depend on the row (doc/contracts/share.md): a promise that a program cannot keep is
 * refused by name, before anything is started.
 */
#pragma once

#include "job/plan.h"

typedef struct {
    const char *name;            /* for messages */
    const char *const *programs; /* where distributions install it; NULL-terminated */
    const char *const *environment;
    bool has_remote_locks; /* can hold locks where the host sees them */
    bool has_preload;      /* wants share/preload.h at VT_PRELOAD_FD */
    /* Adds what follows the program's name to `argv`; the strings are static. The server listens
     * on the descriptor VT_SERVER_FD. */
    void (*add_arguments)(GPtrArray *argv, const VtPlan *plan, bool is_root, guint64 files);
} VtServerKind;

/* Descriptors of a server: its listening socket, and the object that it is started with. */
#define VT_SERVER_FD 3
#define VT_PRELOAD_FD 4

/* The row of a file server. (static) */
const VtServerKind *vt_server_kind(VtFileServer server);

/* Where the program is on this machine, or NULL. (static) */
const char *vt_server_find(const VtServerKind *kind);

/* Refuses what the server cannot do (VT_ERROR_CONFIG), and one that is not installed
 * (VT_ERROR_HOST). */
bool vt_server_check(VtFileServer server, VtLocks locks, GError **error);

/* The command line of the server of the plan's root (`is_root`), or of its other directories, that
 * may have `files` descriptors: a NULL-terminated array that the caller frees with g_free(); its
 * strings are static. Pure. */
const char **vt_server_command(const VtPlan *plan, bool is_root, guint64 files);
