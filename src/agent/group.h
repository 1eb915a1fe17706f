/* SPDX-License-Identifier: Apache-2.0 */
/* agent/group.h - signals to a session's process group. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Sends signal `number` to every process of `group`. SIGTSTP has its effect though the kernel drops
 * it for those that do not handle it: no member of a session's group has a parent in that session. */
void group_signal(pid_t group, int number);

/* What a line of /proc/PID/stat says about SIGTSTP: true if a process of `group` would be stopped
 * by it, since it neither handles, ignores nor blocks it. */
bool group_stat_stops(const char *stat, pid_t group);
