/* SPDX-License-Identifier: Apache-2.0 */
/* agent/ending.h - the ends of processes and of the machine. */
#pragma once

#include "wire/wire.h"

/* Sends SIGKILL to every process that the agent or its sessions started and reaps them; waits at
 * most 5 s for one that the kernel cannot end. As process 1 that is every process there is. Returns
 * their number that are left. */
int ending_kill_all(bool is_init);

/* Writes back what file systems with a store behind them hold in memory. Blocks as long as they do.
 */
void ending_sync(void);

/* Turns the machine off once the console has printed what it holds. Returns only if that is
 * refused. */
void ending_power_off(void);

/* Does what a test asked for. */
void ending_fault(WireFault fault);
