/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/environment.h - the environment in which a job's script starts.
 *
 * Later ones win: what a login sets (HOME LOGNAME USER SHELL PATH) with the submitter's locale and
 * time zone; -V; -v of the script; -v of the command line; the PBS variables and ENVIRONMENT. The
 * login shell then reads its own start-up files, which may change PATH. HOSTNAME is the guest's to
 * set: its name follows from its slot.
 */
#pragma once

#include "job/job.h"

typedef struct {
    const VtJob *job;
    char *const *submit_environment; /* that of the submitting process */
    const char *work_dir;            /* PBS_O_WORKDIR */
    bool is_all_exported;            /* -V */
    char *const *variables; /* of -v, NAME=VALUE or NAME, the script's before the command line's */
    bool is_interactive;    /* -I */
} VtEnvironmentSource;

/* A job's machines, as a script counts them. */
typedef struct {
    guint all;     /* on all nodes */
    guint on_node; /* on the first */
    guint cores;   /* of all */
    guint vcpus;   /* of each on the first node */
    VtNet net;
} VtMachines;

/* Those of a job of one node. */
VtMachines vt_machines_of(const VtJob *job);

/* What tells a script, and MPI, of the job's machines: NAME=VALUE. MPI finds them by `node_file`, reaches
 * them by ssh over the private network, and looks for no launcher of the host's. (transfer full) */
GStrv vt_environment_of_machines(const VtMachines *machines, const char *node_file);

/* Sorted by name. A NAME that the submitter's environment lacks, or an entry too long for the wire,
 * is left out and told in `notes` (of char *). VT_ERROR_USER: a name that is none, more than the
 * wire takes. (transfer full) */
GStrv vt_environment_new(const VtEnvironmentSource *source, GPtrArray *notes, GError **error);
