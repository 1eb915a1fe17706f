/* SPDX-License-Identifier: Apache-2.0 */
/* cli/launch.h - starting a keeper, and making sure of its end. */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/job.h"

typedef struct {
    pid_t keeper;
    int pidfd; /* readable when the keeper has ended */
    int run;   /* our end of the run connection */
} VtLaunch;

/* Starts keeper and engine for `job`. Both are found beside this program, or in its libexec
 * directory. */
bool vt_launch_start(const VtJob *job, VtLaunch *launch, GError **error);

/* Reaps the keeper, which must have ended or is ended now: asked first, killed where it does not
 * answer (it may be stopped). Then removes what a killed keeper left. */
void vt_launch_finish(VtLaunch *launch);
