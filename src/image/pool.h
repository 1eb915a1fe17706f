/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image/pool.h - the pool of images: records by name, files by digest (doc/images.md).
 *
 * A pool is trusted for who owns it. Every directory on the way to it, the pool, the record and the
 * files that it names must belong to root (in a user's own local mode: or to that user) and be
 * writable by nobody else; this is looked at each time, and nothing is opened that has not passed.
 * Nothing in a pool is ever written by us.
 *
 * Runs as: root, or the user. Reads from: the pool. Trusts: its owner, for what guests run; nothing
 * else: records and headers are parsed as anybody's bytes.
 */
#pragma once

#include <sys/types.h>

#include "base/fd.h"
#include "conf/settings.h"
#include "job/record.h"

typedef struct {
    VtRecord *record;
    int disk;      /* read-only */
    int kernel;    /* read-only; -1: the record names none */
    int initramfs; /* the same */
} VtPoolImage;

#define VT_POOL_IMAGE_NONE ((VtPoolImage){.disk = -1, .kernel = -1, .initramfs = -1})

/* The pool of local jobs: VM_IMG_DIR of the site's file; else $XDG_CACHE_HOME/vtorque/images, which
 * `make image` fills, if it is there; else VM_IMG_DIR's built-in value. (transfer full) */
char *vt_pool_find(const VtSettings *settings);

/* Opens image `name` of the pool at the absolute path `pool`. `owner`: whose files count beside
 * root's; 0 for root's alone. The disk's header is checked: it must be what the record says and name
 * no other file. VT_ERROR_USER: no such image, with the names of those that there are;
 * VT_ERROR_HOST: the pool, record or file may not be used, with the reason. `image` is
 * VT_POOL_IMAGE_NONE then. */
bool vt_pool_open(const char *pool, const char *name, uid_t owner, VtPoolImage *image,
                  GError **error);

/* The record of image `name` alone, by the same rules; its files are not looked at. (transfer full) */
VtRecord *vt_pool_load(const char *pool, const char *name, uid_t owner, GError **error);

/* The names of all records in the pool, sorted, whether they are fit or not; empty if there is no
 * such folder. (transfer full) */
GStrv vt_pool_list(const char *pool);

/* Closes and frees what it holds; VT_POOL_IMAGE_NONE afterwards. */
void vt_pool_image_clear(VtPoolImage *image);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VtPoolImage, vt_pool_image_clear)
