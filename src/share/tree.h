/* SPDX-License-Identifier: Apache-2.0 */
/* share/tree.h - the tree of binds that a file server shows. */
#pragma once

#include "job/plan.h"

/* Where the tree is, in the server's own mount namespace. */
#define VT_TREE_PLACE "/tmp"

/* Opens the plan's root (`is_root`), or its other directories, with the process's fsuid and groups.
 * Returns a descriptor (int) for each of the plan's shares, -1 for those of the other kind; or
 * NULL. */
GArray *vt_tree_open(const VtPlan *plan, bool is_root, GError **error);

/* Builds the tree of what vt_tree_open() opened. */
bool vt_tree_build(const VtPlan *plan, const GArray *sources, GError **error);

/* True for a file system that holds files for keeps (also over a network); false for the kernel's
 * own (proc, sysfs, devtmpfs ...) and for memory. */
bool vt_tree_is_real(const char *fs_type);
