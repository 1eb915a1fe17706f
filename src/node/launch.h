/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/launch.h - starting a job's keeper and engine on this node, and making sure of their end.
 *
 * The one way in which a job is started: by vsub --local for its own user, by root's daemon for the
 * owner whom the job names.
 *
 * Runs as: root, or the job's owner.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/job.h"

typedef struct {
    const VtJob *job;
    const char *cgroup; /* below which the job's leaf is made, as a path below each hierarchy's
                           mount; NULL: this process's own */
    int gate;           /* (ctl/gate.h), borrowed; -1: none */
    int run;            /* the engine's end of the run connection, borrowed; -1: one is made */
} VtLaunchOptions;

typedef struct {
    pid_t keeper;
    int pidfd; /* readable when the keeper has ended */
    int run;   /* our end of the run connection that was made; -1: there is none */
} VtLaunch;

/* Starts keeper and engine. Both are found beside this program, or in its libexec directory. Where
 * root starts a job of another, engine and QEMU get the slot's id and the file server the owner's. */
bool vt_launch_start(const VtLaunchOptions *options, VtLaunch *launch, GError **error);

/* Reaps the keeper, which must have ended or is ended now: asked first, killed where it does not
 * answer (it may be stopped). Then removes what a keeper left that was killed or failed. Returns its
 * exit status (ctl/birth.h), or -1 if a signal ended it. */
int vt_launch_finish(VtLaunch *launch);
