/* SPDX-License-Identifier: Apache-2.0 */
/* cli/limit.h - one resource limit of a job. */
#pragma once

#include <glib.h>

/* For one WIRE_LIMIT; UINT64_MAX: unlimited. */
typedef struct {
    int resource; /* RLIMIT_* */
    guint64 soft, hard;
} VtLimit;
