/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/request.h - what a job asks of its virtual machine: -vm key=value[,key=value...].
 *
 * doc/contracts/request.md is the specification. A request is read from two places, the command
 * line and the script; vt_request_resolve() is the one function in which both, the site's settings
 * and what the job was given become one shape.
 *
 * Reads from: the user. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "conf/settings.h"
#include "job/allocation.h"
#include "job/job.h"

#define VT_REQUEST_TEXT_MAX 4096 /* bytes of one -vm */

typedef enum {
    VT_REQUEST_IMG,          /* VtImage; `text` is the image's name */
    VT_REQUEST_RAM,          /* MiB */
    VT_REQUEST_VCPUS,        /* count */
    VT_REQUEST_BOOT_TIMEOUT, /* seconds */
    VT_REQUEST_DISTRO,       /* VtFamily that the image must be of */
    VT_REQUEST_ARCH,         /* VtArch */
    VT_REQUEST_FS_TYPE,      /* VtFsType */
    VT_REQUEST_INIT,         /* VtInit */
    VT_REQUEST_SHARE_LOCKS,  /* VtLocks */
    VT_REQUEST_VMS_PER_NODE, /* count */
    VT_REQUEST_NET,          /* VtNet */
    VT_REQUEST_KEYS,
} VtRequestKey;

typedef struct {
    guint64 number;
    char *text;   /* the value as it was written */
    char *origin; /* "command line", "script line N"; NULL: not set */
} VtRequestItem;

typedef struct {
    VtRequestItem items[VT_REQUEST_KEYS];
} VtRequest;

/* The virtual machines of a node, decided: each is as the others. */
typedef struct {
    VtImage image;
    char *image_name; /* of a record; NULL for images without one */
    guint vms;
    VtNet net;
    bool has_net;  /* the user named it */
    guint ram_mib; /* of each */
    guint vcpus;   /* of each */
    guint boot_timeout_s;
    bool has_family; /* the image must be of `family` */
    VtFamily family;
    VtArch arch;
    VtFsType fs_type;
    VtInit init;
    VtLocks locks;
    char *origins[VT_REQUEST_KEYS]; /* where each value came from */
} VtShape;

/* Adds what `text` says to `request`; a key that is already set gets the new value. VT_ERROR_USER
 * that begins with `origin`: no key=value, an unknown key, one that is not built yet, a bad value;
 * `request` may then hold a part. */
bool vt_request_parse(VtRequest *request, const char *text, const char *origin, GError **error);

/* What `option` asks for, and what `directive` asks for beside it, as one text that
 * vt_request_parse() takes, the values as they were written; "" if neither asks for anything.
 * (transfer full) */
char *vt_request_format(const VtRequest *option, const VtRequest *directive);

/* Who of the user's two places decides on a key; its origin is NULL if neither says anything.
 * (borrowed) */
const VtRequestItem *vt_request_choose(const VtRequest *option, const VtRequest *directive,
                                       VtRequestKey key);

/* Frees what it holds; all zero afterwards. */
void vt_request_clear(VtRequest *request);

/* Decides the shape: option over directive over site over built-in value, within the allocation.
 * What was cut or may surprise is told in `notes` (of char *). VT_ERROR_USER: more RAM than the job
 * may have, or a key that only a guest with a disk has. `shape` is then unchanged. */
bool vt_request_resolve(const VtRequest *option, const VtRequest *directive,
                        const VtSettings *settings, const VtAllocation *allocation, VtShape *shape,
                        GPtrArray *notes, GError **error);

/* The network of a job, of one machine in all (`is_one`) or several, where `wanted` is what the user asked for (`is_explicit`), or else
 * NET_DEFAULT: several are there to talk to each other. */
VtNet vt_request_net(VtNet wanted, bool is_explicit, bool is_one);

/* Frees what it holds; all zero afterwards. */
void vt_shape_clear(VtShape *shape);
