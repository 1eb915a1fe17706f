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

typedef struct {
    guint cores;        /* of the job */
    guint64 memory_mib; /* of the job */
    guint host_cores;   /* of the machine, as far as this process may use it */
    guint64 host_memory_mib;
    bool is_cores_asked;  /* by -l nodes=1:ppn= */
    bool is_memory_asked; /* by -l mem= */
} VtAllocation;
