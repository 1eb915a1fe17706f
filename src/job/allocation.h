/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/allocation.h - what a batch system gave a job on this node: the only source of what it may
 * use.
 *
 * Made by batch/; plain values, nothing to free.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"

typedef struct {
    guint cores;        /* of the job */
    guint64 memory_mib; /* of the job */
    guint host_cores;   /* of the machine, as far as this process may use it */
    guint64 host_memory_mib;
    bool is_cores_asked;    /* by -l nodes=1:ppn= */
    bool is_memory_asked;   /* by -l mem= */
    bool is_memory_cgroups; /* `host_memory_mib` is a cgroup's limit, not the machine's memory */
    guint quota_cores;      /* whose time the cgroup gives at most; 0: no limit */
    guint nodes;            /* of the job; 0 counts as 1 */
    VtAccel accel;          /* of the guests: emulation takes memory of its own */
} VtAllocation;
