/* SPDX-License-Identifier: Apache-2.0 */
/* job/owner.h - who a job belongs to: the user who runs this process, or whom a batch system names. */
#pragma once

#include "job/job.h"

/* Fills `owner` from this process's ids and the user database; a user or group without an entry is
 * "u<uid>", "g<gid>", with $HOME (else "/") and /bin/sh, which also stands for a shell that is no
 * absolute path. VT_ERROR_HOST: setuid or setgid, or the groups cannot be read. May block as long as
 * the user database does. Cleared by vt_owner_clear(). */
bool vt_owner_load(VtOwner *owner, GError **error);

/* The same for the user `uid`, by the user database alone: for a daemon, whose own ids, groups and
 * environment say nothing. VT_ERROR_USER: there is no such user. */
bool vt_owner_find(VtOwner *owner, uid_t uid, GError **error);

/* Until vt_owner_return(), files are looked up and made with the owner's rights where this process
 * is root and the owner is another; mounts and all else stay root's. Not for processes with threads.
 * VT_ERROR_HOST: the ids cannot be taken; nothing is then changed. */
bool vt_owner_borrow(const VtOwner *owner, GError **error);
void vt_owner_return(void);
