/* SPDX-License-Identifier: Apache-2.0 */
/* share/ids.h - the groups that a file server's user namespace knows. */
#pragma once

#include "job/job.h"

/* The text for gid_map: each of the owner's groups as itself, neighbours as one range, the primary
 * one first. The kernel takes VT_GID_MAP_BYTES in one write and VT_GID_MAP_LINES lines; `left_out`
 * is how many groups had no place: in the guest their files are nobody's, what they alone allow is
 * refused by its kernel, and no file can be given to them. (transfer full) */
char *vt_gid_map(const VtOwner *owner, guint *left_out);

#define VT_GID_MAP_BYTES 4095 /* less than a page (user_namespaces(7)) */
#define VT_GID_MAP_LINES 340
