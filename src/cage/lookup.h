/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cage/lookup.h - opening paths with every id of the user who named them, by a process of root.
 *
 * vt_owner_borrow() takes on what most file systems ask for. A FUSE mount without allow_other asks
 * for all ids, so this is for a process of its own, that becomes the owner's anyway: the owner may
 * end and stop it meanwhile, but not trace it. What it has opened is used by descriptor afterwards.
 *
 * Does nothing where the process is not root's, or the owner is root.
 *
 * Runs as: root.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/job.h"

/* Takes the owner's ids and groups on. `is_changed`: they have to be given back. */
bool vt_lookup_start(const VtOwner *owner, bool *is_changed, GError **error);

/* Back to root with all its capabilities and no groups. */
bool vt_lookup_stop(bool *is_changed, GError **error);
