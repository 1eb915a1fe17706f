/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/guest_files.h - what the guest finds in place of some of its root's files in /etc, and the
 * node file.
 *
 * Pure. The host's own files are not enough: its users may come from a directory service that the
 * guest does not reach, and its names and addresses are not the guest's.
 */
#pragma once

#include "job/job.h"
#include "job/plan.h"

typedef struct {
    const char *name; /* in /etc */
    /* The lines of an image's own file are to stand behind those of `make`. */
    bool is_merged;
    /* For machine `index` of the plan. (transfer full) */
    char *(*make)(const VtJob *job, const VtPlan *plan, guint index);
} VtGuestFile;

#define VT_GUEST_FILES 5u
extern const VtGuestFile vt_guest_files[VT_GUEST_FILES];

/* One line a vCPU, the name of its guest, in the order of the guests. (transfer full) */
char *vt_guest_nodefile(const VtPlan *plan);

/* Each of the job's time servers between `before` and `after`. (transfer full) */
char *vt_guest_time_servers(const VtJob *job, const char *before, const char *after);
