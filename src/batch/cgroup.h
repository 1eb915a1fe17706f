/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/cgroup.h - what the cgroups that this process is in allow it: memory, and time of the
 * processors. Cores are the affinity's business (sched_getaffinity), which knows a cpuset.
 *
 * Limits count, not what is in use: that changes while a job waits for its guest, and most of it
 * (the page cache) the kernel gives back.
 */
#pragma once

#include <glib.h>

typedef struct {
    guint64 memory_mib; /* G_MAXUINT64: no limit */
    guint quota_cores;  /* whose time it gets at most, rounded up; 0: no limit */
} VtCgroup;

/* The lowest limits of this process's cgroups and all their ancestors, in version 1 and version 2,
 * as far as they can be seen. /proc and the cgroups' mounts are looked for below `root`: "/", or a
 * test's folder. */
VtCgroup vt_cgroup_load(const char *root);
