/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/decision.h - a job, decided on this node: request, settings and allocation become the job
 * document.
 *
 * The same steps for vsub --local and for root's daemon, in the order in which they stand here. Each
 * fails with one line: VT_ERROR_USER and VT_ERROR_CONFIG for what the user or the site said,
 * VT_ERROR_HOST for what this machine lacks or forbids.
 *
 * Runs as: the owner, or root. Reads from: settings, pool, this machine. Trusts: the settings.
 */
#pragma once

#include "conf/settings.h"
#include "job/allocation.h"
#include "job/job.h"
#include "job/record.h"
#include "job/request.h"

/* What a decision is made of; everything is borrowed. */
typedef struct {
    const VtSettings *settings;
    const VtRequest *option, *directive;
    VtAllocation allocation;
    bool is_batch; /* a batch system's job: its built-in values are stricter */
} VtGiven;

typedef struct {
    VtJob *job;               /* id, name, owner and submit_dir are the caller's to fill in */
    VtShape shape;            /* what `job` has of it, with where each value came from */
    VtRecord *record;         /* of the image; NULL for those without a disk */
    char *accel_origin;       /* where ACCEL, which decided on job->accel, came from */
    char *kernel_file;        /* in job->kernel_dir: "vmlinux" or "vmlinuz" */
    GPtrArray *notes;         /* of char *: what the user should know, one line each */
    GPtrArray *warnings;      /* of char *: what the site's settings say in vain, one line each */
    GPtrArray *request_notes; /* what the request's resolution says, until that is final */
} VtDecision;

/* An empty one, with the settings' own warnings. */
void vt_decision_init(VtDecision *decision, const VtSettings *settings);
void vt_decision_clear(VtDecision *decision);

/* job->host; refused where DISABLED_HOSTS_LIST has this host. */
bool vt_decision_check_host(VtDecision *decision, const VtGiven *given, GError **error);
/* The shape, and what of the job follows from it; as if the best acceleration worked that the site
 * allows. */
bool vt_decision_resolve(VtDecision *decision, VtGiven *given, GError **error);
/* job->mounts, of VM_MOUNTS. */
bool vt_decision_load_mounts(VtDecision *decision, const VtGiven *given, GError **error);
/* The record of the image, which must be what was asked for. */
bool vt_decision_find_image(VtDecision *decision, const VtGiven *given, GError **error);
bool vt_decision_find_kernel(VtDecision *decision, const VtGiven *given, GError **error);
/* job->accel alone, by ACCEL and what works here; takes time (vt_probe_run()). */
bool vt_decision_choose_accel(VtDecision *decision, const VtGiven *given, GError **error);
/* Last: job->accel, which takes time (vt_probe_run()); the RAM fitted to the memory that emulation
 * takes; the request's notes. The engine will take the document. */
bool vt_decision_finish(VtDecision *decision, VtGiven *given, GError **error);

/* The directory where disks of this kind keep what is written; NULL: memory. (transfer none) */
const char *vt_decision_scratch_dir(const VtSettings *settings, VtFsType type);

/* True if `path` is `folder` or in it; / has nothing in it. */
bool vt_decision_is_below(const char *path, const char *folder);
/* False for directories that a guest has for itself. */
bool vt_decision_is_shareable(const char *path);
