/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/tar.h - files as a tar stream, to and from a guest.
 *
 * Runs as: the user. Reads from: a guest (vt_tar_unpack). Trusts: nothing: whatever the stream
 * says, nothing is written but what is called `name`, or is below it, and no link is followed on
 * the way; owners, set-id bits and devices are not taken over.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Reads a stream of `base` and what is below it from `fd`, and writes it to the directory
 * `folder` as `name`. What is there is replaced, but for directories, which are added to. Stops
 * at the first that may not be, or cannot be written. VT_ERROR_GUEST: a name or a kind of file
 * that is refused, or no tar; VT_ERROR_HOST. */
bool vt_tar_unpack(int fd, const char *base, int folder, const char *name, GError **error);

/* Writes `path`, and what is below it, to `fd` as `name`. What is no file, directory or link is
 * left out, and told on stderr. VT_ERROR_USER: it cannot be read; VT_ERROR_HOST. */
bool vt_tar_pack(const char *path, const char *name, int fd, GError **error);
