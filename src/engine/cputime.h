/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/cputime.h - the processor time that a job's processes have used.
 *
 * Of a guest that is what QEMU takes on the node, not what the guest's own processes see.
 *
 * Reads from: the kernel. Trusts: it.
 */
#pragma once

#include <glib.h>
#include <sys/types.h>

/* Microseconds of processor time of the processes `pids` (those that are -1 or gone count as none)
 * and of all children of this process that were waited for. */
guint64 vt_cputime_used(const pid_t *pids, gsize n);

/* The least time in milliseconds, at least 100, in which `threads` can use up what is left of
 * `limit_s` seconds when `used_us` are used; 0 when nothing is left. */
guint vt_cputime_wait_ms(guint limit_s, guint64 used_us, guint threads);
