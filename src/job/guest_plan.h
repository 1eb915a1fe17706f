/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/guest_plan.h - what the agent does in the guest before the job starts.
 *
 * Pure: made of job, node plan, a clock value and random bytes, and of nothing else. Each step is
 * the payload of one WIRE_STEP frame (wire/wire.h), whose aux is the step's kind; the list's end is
 * the sender's to say (WIRE_PLAN_END).
 */
#pragma once

#include "job/job.h"
#include "job/plan.h"
#include "job/ssh.h"
#include "wire/wire.h"

/* Paths in the guest. */
#define VT_GUEST_RUN "/run/vtorque"               /* root's, 0755; on the guest's own tmpfs */
#define VT_GUEST_NODEFILE "/run/vtorque/nodefile" /* one line a vCPU: the guest's name */
#define VT_GUEST_PRIVATE                                                                           \
    "/run/vtorque/private" /* the two shares are mounted in it; root's, 0700  \
                                                 */

/* Bytes of entropy that a guest should be given; WIRE_STEP_RANDOM takes 512. */
#define VT_GUEST_RANDOM_SIZE 64

typedef struct {
    WireStep kind;
    GBytes *payload;
} VtGuestStep;

/* The steps for machine `index` of the plan, in order: an array of VtGuestStep that frees them. `keys` are
 * the job's (NULL: no guest lets its owner in). `now_ns`: nanoseconds since 1970,
 * of the moment at which the plan is sent; `random`: `random_size` bytes (512 at most; 0: no such
 * step). (transfer full); cannot fail for a job that vt_job_load() took and the plan of that job.
 */
GPtrArray *vt_guest_plan_new(const VtJob *job, const VtPlan *plan, guint index,
                             const VtSshKeys *keys, guint64 now_ns, const void *random,
                             gsize random_size);

/* The payload of a step WIRE_STEP_CLOCK. (transfer full) */
GBytes *vt_guest_clock(guint64 now_ns);

/* The steps as text for people: one line a step, the bytes of a file below it, indented. Random
 * bytes are counted, not shown. (transfer full) */
char *vt_guest_plan_explain(GPtrArray *steps);
