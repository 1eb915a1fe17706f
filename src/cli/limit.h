/* SPDX-License-Identifier: Apache-2.0 */
/* cli/limit.h - resource limits: one of a job, and vsub's own. */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* For one WIRE_LIMIT; UINT64_MAX: unlimited. */
typedef struct {
    int resource; /* RLIMIT_* */
    guint64 soft, hard;
} VtLimit;

/* All of this process's limits, of VtLimit, as a guest can have them. (transfer full) */
bool vt_limits_load(GArray **limits, GError **error);

/* Raises the own limit of the stack to what vsub and the programs that it starts need, and sets
 * `submitters` to what it was. To be called first: a stack of 64 KiB ends in its buffers.
 * VT_ERROR_HOST: the hard limit is too low, and we may not raise it. */
bool vt_limit_raise_stack(VtLimit *submitters, GError **error);
