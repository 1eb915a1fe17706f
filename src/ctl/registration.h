/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/registration.h - what a further node of a job was told by its own batch daemon:
 * /run/vtorque/registered/ID.
 *
 * Left by `prologue.parallel`, removed by `epilogue.parallel` and by whoever finds one that is stale.
 * It is no process and waits for nobody: without an order of the job's first node nothing
 * follows from it (doc/contracts/peer.md). Libc only.
 *
 * Runs as: root.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define CTL_REGISTRATION_MAX 65536   /* bytes of its lines */
#define CTL_REGISTRATION_LIFE_S 3600 /* from its making to the leader's order */
#define CTL_BOOT_ID_SIZE 37          /* with its NUL */

/* Leaves the lines of `text` for the job `id`, in place of what is there, with this boot's id and the
 * time at which they are void. Returns 0 or -errno. */
int ctl_registration_write(const char *id, const char *text);

/* Reads them into `text` of CTL_REGISTRATION_MAX bytes, NUL added. Returns 0; -ENOENT: there is none;
 * -ESTALE: of another boot, or too old, and so removed; another -errno. */
int ctl_registration_read(const char *id, char *text);

/* Removes it, if there is one. */
void ctl_registration_remove(const char *id);

/* Removes those that are stale. */
void ctl_registration_sweep(void);
