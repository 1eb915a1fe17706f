/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/starting.h - the lock of a job that is being started: /run/vtorque/starting/ID.
 *
 * Held from before the first step of a start until the keeper holds the run folder's lock. Whoever
 * ends a job takes it first, and then either finds a run folder or knows that there will be none.
 * The file holds the word of the start that is announced: a prologue that goes on after its job's
 * end, as a batch system lets it, starts nothing any more. A POSIX record lock: a starter that dies
 * lets it go. Libc only.
 *
 * Runs as: root.
 */
#pragma once

#include <stdbool.h>

#define CTL_TICKET_MAX 64

/* Says that the job `id` is about to be started, with a word that is this start's alone: before
 * anything that takes time. Whoever ends the job removes it. Returns 0 or -errno. */
int ctl_starting_announce(const char *id, const char *ticket);

/* True if the start of that word is still the one that is announced; `lock` is held. */
bool ctl_starting_is_announced(int lock, const char *ticket);

/* Takes the lock of the job `id`, waiting for who has it. Blocks: the caller has a deadline (an
 * alarm). Returns a descriptor, or -errno. */
int ctl_starting_lock(const char *id);

/* Lets it go, and closes the descriptor. */
void ctl_starting_unlock(const char *id, int lock);
