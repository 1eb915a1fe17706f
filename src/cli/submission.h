/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/submission.h - everything about a local job before it starts: read, decided and checked.
 *
 * Nothing of the job is created or started here; what a user or site did wrong is found before
 * anything is. KVM is tried where ACCEL says so (node/accel.h).
 *
 * Runs as: the user. Reads from: the user, the site's settings. Trusts: the site's settings.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "cli/limit.h"
#include "cli/login.h"
#include "cli/options.h"
#include "conf/settings.h"
#include "job/job.h"
#include "node/decision.h"

typedef enum {
    VT_JOIN_NONE,
    VT_JOIN_OUTPUT, /* -j oe: stderr goes where stdout goes */
    VT_JOIN_ERROR,  /* -j eo: stdout goes where stderr goes */
} VtJoin;

typedef struct {
    VtDecision decided;

    /* The opening of the run connection (ctl/run.h). */
    char *cwd; /* absolute; below the submit directory, the home or one of job->mounts */
    mode_t umask;
    VtLogin command;
    GStrv environment;
    GArray *limits; /* of VtLimit */
    GBytes *script;
    bool is_stdin_script; /* standard input was the script: the job's own is empty */
    bool is_interactive;  /* -I: the terminal is the job's, and there is no script */

    char *output_path; /* -o; NULL: vsub's stdout */
    char *error_path;  /* -e; NULL: vsub's stderr */
    VtJoin join;
    char *report_path; /* NULL: none */
    bool is_dry_run;
    bool is_verbose;
} VtSubmission;

/* The submission of `options` (to which the script's directives are added) under `settings`;
 * without a script's name the script is read from `stdin_fd`. Every failure is one line:
 * VT_ERROR_USER and VT_ERROR_CONFIG for what the user or the site said, VT_ERROR_HOST for what this
 * machine lacks or forbids. (transfer full) */
VtSubmission *vt_submission_new(VtOptions *options, const VtSettings *settings, int stdin_fd,
                                GError **error);

void vt_submission_free(VtSubmission *submission);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtSubmission, vt_submission_free)

/* The submission as text for people: one value a line. (transfer full) */
char *vt_submission_explain(const VtSubmission *submission);
