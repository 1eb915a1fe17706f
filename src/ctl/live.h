/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/live.h - jobs that live on this node: found by their run folders, reached and ended.
 *
 * Libc only: for the hooks, which must end a job where nothing else of ours works, and for whoever
 * looks at jobs.
 *
 * Runs as: root, or the user whose run folders they are. Reads from: the keeper's files. Trusts:
 * the owner of the folder of run folders.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "ctl/run.h"

#define CTL_ID_MAX 255 /* bytes of a job's id */

typedef struct {
    int slot;
    pid_t keeper;
    uid_t owner;
    long long started; /* seconds since 1970 */
    char id[CTL_ID_MAX + 1];
    char name[CTL_ID_MAX + 1];
} CtlLive;

/* True for what may be a job's id: [A-Za-z0-9._\[\]-]{1,255}, not "." or "..". */
bool ctl_id_is_valid(const char *id);

/* The job in `slot` below `root` (ctl/folder.h). Returns 0; -ENOENT: there is none that lives;
 * another -errno. */
int ctl_live_load(int root, int slot, CtlLive *live);

/* The job whose id is `id`. Returns 0, -ENOENT, or another -errno. */
int ctl_live_find(int root, const char *id, CtlLive *live);

/* Connects to the job's engine (ctl/control.h). Never blocks: an engine that is stopped is -EAGAIN.
 * Returns a non-blocking descriptor or -errno. */
int ctl_live_connect(int root, int slot);

/* Ends the job and waits until it is gone: the engine is asked; where it does not obey within
 * `grace_ms` and 15 seconds, its keeper ends it, and a keeper that does not is killed. Returns 0; -EBUSY:
 * it cannot be killed; another -errno. */
int ctl_live_end(int root, const CtlLive *live, CtlEnd how, int grace_ms);
