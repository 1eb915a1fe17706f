/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/afar.h - jobs of this user on other nodes.
 *
 * Runs as: the user. Reads from: the batch system, daemons of other nodes. Trusts: neither with more than what
 * is shown.
 */
#pragma once

#include "cli/jobs.h"

/* Adds to `jobs`, which are those of this machine, those of other nodes. `is_node`: a daemon is here, so that
 * this need not be a machine that jobs are submitted from. What could not be asked is told in `problems` (of
 * char *). */
void vt_afar_list(GPtrArray *jobs, bool is_node, GPtrArray *problems);

/* The job that the batch system knows by `id` and runs on another node: its id and node alone. As
 * vt_jobs_find(). (transfer full) */
VtLiveJob *vt_afar_find(const char *id, GError **error);

/* A connection to a node that is one of its user.sock, or -1. (transfer full) */
int vt_afar_connect(const char *node, GError **error);

/* True when the job's node says that it is gone: that a connection has ended is no proof. */
bool vt_afar_wait_gone(const VtLiveJob *job, GError **error);
