/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/local.h - the batch system that is none: a job of vsub --local is given what the machine
 * has, less what its own system keeps.
 */
#pragma once

#include "conf/settings.h"
#include "job/allocation.h"

/* What -l asks for; 0: nothing. */
typedef struct {
    guint ppn;
    guint64 memory_mib;
} VtLocalRequest;

typedef struct {
    guint cores;        /* that this process may run on */
    guint64 memory_mib; /* of the machine, or the lowest limit of a cgroup */
    bool is_memory_cgroups;
    guint quota_cores; /* whose time our cgroups give at most; 0: no limit */
} VtHost;

/* This machine's name up to the first dot; "" if it has none. (transfer full) */
char *vt_host_name(void);

/* Looks at this machine. VT_ERROR_HOST if its memory cannot be read. */
bool vt_host_load(VtHost *host, GError **error);

/* Cores: ppn, else the machine's less HOST_OS_CORE_COUNT, at least one, at most the cgroup's
 * quota. Memory: mem=, at most the
 * machine's; else the machine's less HOST_OS_RAM_MB, at least half of it. More than the machine has
 * is told in `notes` (of char *). */
VtAllocation vt_local_allocate(const VtHost *host, const VtLocalRequest *request,
                               const VtSettings *settings, GPtrArray *notes);
