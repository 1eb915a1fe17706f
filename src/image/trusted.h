/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image/trusted.h - opening what must be root's, or one other owner's, and nobody else's to write.
 *
 * "Nobody else's": owned by root or by `owner`, and not writable by group or others; an ACL that
 * lets others write shows in the group's bits.
 *
 * In a user namespace without root (an ordinary user's engine) root's files look like those of
 * anybody who is not in it, and count as root's. So whoever starts such an engine looks first,
 * outside: nobody but root and the owner can change then what it saw.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* Opens the directory at the absolute path `path` with O_PATH, step by step. It and every directory
 * and link on the way must be nobody else's; of root's directories with the sticky bit (/tmp), only
 * what lies in them. Follows links of theirs. `fd` is -1, without an error, where there is none.
 * VT_ERROR_HOST that names the directory or link. */
bool vt_trusted_open_folder(const char *path, uid_t owner, int *fd, GError **error);

/* Opens file `name` of `folder` for reading: a regular file and nobody else's, no link. The rest as
 * above. */
bool vt_trusted_open_file(int folder, const char *name, uid_t owner, int *fd, GError **error);
