/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/hooks.h - the scripts of a node's Torque: which of them are vTorque's.
 *
 * A file is a hook of ours by what is in it, never by its name: it is the very vtorque-hook that is
 * to be installed, or a program that holds its mark (CTL_HOOK_MARK). Links are followed for that,
 * as Torque follows them.
 *
 * Runs as: root; whoever looks. Reads from: TORQUE_HOME/mom_priv, every directory on the way to
 * which must be root's and nobody else's to write. Trusts: what has passed that.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "base/fd.h"

#define VT_HOOK_PROGRAM "vtorque-hook"
#define VT_HOOKS_N 5

typedef enum {
    VT_HOOK_NONE,    /* there is no such file */
    VT_HOOK_CURRENT, /* ours, the very program that is to be installed */
    VT_HOOK_OTHER,   /* ours, another version; or there is nothing to compare it with */
    VT_HOOK_SITE,    /* somebody else's */
    VT_HOOK_UNSEEN,  /* may not be read by this user */
} VtHookKind;

typedef struct {
    VtHookKind kind;
    bool is_link;
    struct stat entry; /* of the name itself; zero if there is none */
    char *version;     /* of one of ours; NULL for others */
    char *problem;     /* why Torque would not run it, or should not; NULL: nothing */
} VtHookFile;

typedef struct {
    const char *name;  /* "prologue", ... */
    VtHookFile hook;   /* NAME */
    VtHookFile site;   /* NAME.orig: what the hook runs besides itself */
    bool is_one;       /* both names are of one file: an installation was interrupted */
    bool has_leftover; /* of such an installation: a file that is not in its place yet */
} VtHook;

typedef struct {
    char *path;      /* of mom_priv */
    int folder;      /* root: may be locked and synced; else O_PATH */
    bool is_noexec;  /* nothing in it can be executed: the mount's flag */
    GBytes *program; /* vtorque-hook; NULL: not known */
    VtHook hooks[VT_HOOKS_N];
} VtHooks;

#define VT_HOOKS_NONE ((VtHooks){.folder = -1})

/* Opens mom_priv below the absolute path `home` and looks at all hooks. `program`: the path of the
 * vtorque-hook that is to be installed, which must be root's like mom_priv itself; NULL: what is
 * ours is told by its mark alone. `lock`, for root: nobody else sets this node up until `hooks` is
 * cleared. VT_ERROR_HOST: no such directory, or one of them may not be trusted; the lock is held;
 * `hooks` is VT_HOOKS_NONE then. Changes nothing. */
bool vt_hooks_open(const char *home, const char *program, bool lock, VtHooks *hooks,
                   GError **error);
void vt_hooks_clear(VtHooks *hooks);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VtHooks, vt_hooks_clear)

/* True if it is one of ours, of whatever version. */
bool vt_hook_is_ours(const VtHookFile *file);

/* NAME with `suffix`. (transfer full) */
char *vt_hook_name(const VtHook *hook, const char *suffix);
/* The name of a hook that is not in its place yet. No job can choose it: that would begin with a
 * hook's name (qsub's -T). (transfer full) */
char *vt_hook_leftover(const VtHook *hook);
