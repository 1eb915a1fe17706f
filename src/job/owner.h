/* SPDX-License-Identifier: Apache-2.0 */
/* job/owner.h - who a local job belongs to: the user who runs this process. */
#pragma once

#include "job/job.h"

/* Fills `owner` from this process's ids and the user database; a user or group without an entry is
 * "u<uid>", "g<gid>", with $HOME (else "/") and /bin/sh. VT_ERROR_HOST: setuid or setgid, or the
 * groups cannot be read. May block as long as the user database does. Cleared by vt_owner_clear().
 */
bool vt_owner_load(VtOwner *owner, GError **error);
