/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/record.h - what an image pool says of one image: the record NAME.json (doc/images.md).
 *
 * Pure; image/pool.h opens and checks the files that a record names.
 *
 * Reads from: a pool, whose owner decides what guests run. Trusts: nothing until it is parsed.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/choice.h"

#define VT_RECORD_VERSION 1
#define VT_RECORD_MAX 65536 /* bytes */

typedef struct {
    char *name;
    VtFamily family;
    VtArch arch;
    VtFormat format;
    char *digest;     /* "sha256-<64 hex digits>": also the file's name in the pool */
    guint64 size;     /* bytes that the disk has for the guest */
    char *root;       /* device of the root file system in the guest: /dev/vda, /dev/vda1 ... */
    char *filesystem; /* of the root: ext4 */
    char *kernel;     /* a digest; NULL: GUEST_KERNEL's */
    char *initramfs;  /* the same */
    bool has_init[2]; /* index VtInit: may be booted so */
    char *description;
} VtRecord;

/* The record in `size` bytes, whose file says it is called `name`. Unknown or missing keys, a bad
 * value, another name: VT_ERROR_HOST that names the key. (transfer full) */
VtRecord *vt_record_parse(const char *text, gsize size, const char *name, GError **error);

void vt_record_free(VtRecord *record);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtRecord, vt_record_free)

/* True for "sha256-" and 64 lower-case hexadecimal digits. */
bool vt_record_digest_is_valid(const char *digest);
