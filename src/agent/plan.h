/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/plan.h - applies the guest plan, step by step as it comes.
 *
 * A step may block for as long as a file system does; the host has the deadline.
 */
#pragma once

#include "wire/wire.h"

typedef struct {
    uint32_t count; /* steps seen since the connection began */
    bool has_failed;
    char file[WIRE_STRING_MAX + 1]; /* newest FILE, for APPEND */
    char what[WIRE_STRING_MAX + 1]; /* the step at hand, for STEP_FAIL */
    char text[4][WIRE_STRING_MAX + 1];
} Plan;

/* Applies one step, whose payload has passed wire_frame_check(). Returns 0 or -errno; `what` then
 * says what it was. */
int plan_apply(Plan *plan, WireStep step, const uint8_t *payload, size_t size);
