/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/system.h - handing a guest over to its image's own init (init=system).
 *
 * Runs as: root, first process. Reads from: the kernel's command line, which the engine made.
 */
#pragma once

#include <stdbool.h>

/* True if the kernel's command line has vtorque.system=DEVICE,TYPE (job/plan.h, VT_SYSTEM_ARG). */
bool system_is_wanted(void);

/* Mounts DEVICE and executes the init on it. Returns -errno, with `what` set to what failed, only if
 * that is not to be had. */
int system_enter(const char **what);
