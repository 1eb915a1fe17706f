/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/starting.h - the lock of a job that is being started: /run/vtorque/starting/ID.
 *
 * Held from before the first step of a start until the keeper holds the run folder's lock. Whoever
 * ends a job takes it first, and then either finds a run folder or knows that there will be none.
 * A POSIX record lock: a starter that dies lets it go. Libc only.
 *
 * Runs as: root.
 */
#pragma once

/* Takes the lock of the job `id`, waiting for who has it. Blocks: the caller has a deadline (an
 * alarm). Returns a descriptor, or -errno. */
int ctl_starting_lock(const char *id);

/* Lets it go, and closes the descriptor. */
void ctl_starting_unlock(const char *id, int lock);
