/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/clean.h - what a job's owner has left running on its node (doc/contracts/ctl.md, CLEAN).
 *
 * Runs as: root, in a process of its own that may hang on the user database. Reads from: a hook of
 * root's, which has seen that the node was the job's alone. Trusts: it, and the site's settings.
 */
#pragma once

#include <glib.h>

/* Kills all processes of the user named in `text` ("user=NAME\n"), at once, where
 * KILL_USER_PROCESSES_AFTER_JOB and PBS_EXCLUSIVE_NODE_ALLOC are true. Never root's. Returns the
 * program's exit status. */
int vt_clean_user(const char *text, const char *settings_file);
