/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/system.h - handing a guest over to its image's own init (init=system), and speaking to it.
 *
 * Runs as: root, first process; then a service. Reads from: the kernel's command line, which the
 * engine made; its environment.
 */
#pragma once

#include <stdbool.h>

/* True if the kernel's command line has vtorque.system=DEVICE,TYPE (job/plan.h, VT_SYSTEM_ARG). */
bool system_is_wanted(void);

/* Mounts DEVICE and executes the init on it. Returns -errno, with `what` set to what failed, only if
 * that is not to be had. */
int system_enter(const char **what);

/* Says to the image's init, which has started the agent as a service, that what waits for it may go
 * on: the guest plan is applied. Does nothing where nobody asked for it. */
void system_announce_ready(void);
