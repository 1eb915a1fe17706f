/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image/qcow2.h - the header of a qcow2 file (QEMU's docs/interop/qcow2.txt): checked where it is a
 * pool's, made where it is a guest's scratch disk.
 *
 * Reads from: image files. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

/* Reads the header in `fd` and sets `size` to the bytes that the disk has for its guest.
 * VT_ERROR_HOST: not qcow2 of version 2 or 3; a backing file, an external data file, encryption,
 * saved states, or an incompatible feature that is not one of ours; a size of 0; a file shorter than
 * its header and tables say. */
bool vt_qcow2_check(int fd, guint64 *size, GError **error);

/* Writes into the empty file `fd` a disk of `size` bytes on which nothing is written yet. Its header
 * names no backing file: whoever starts QEMU says what lies below it. Three small writes. */
bool vt_qcow2_make(int fd, guint64 size, GError **error);
