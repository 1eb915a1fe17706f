/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/order.h - what a hook says of a job that is to start (doc/contracts/ctl.md, START).
 *
 * Reads from: root's hooks, which pass on what a user asked for. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef struct {
    char *id;           /* job/job.h's alphabet */
    char *name;         /* a word */
    char *user;         /* a name for passwd */
    char *queue;        /* a word */
    char *request;      /* the request word */
    char *work_dir;     /* absolute */
    char *node_file;    /* absolute, or NULL */
    char *ticket;       /* a word: of the start (ctl/starting.h), or NULL */
    char *cgroup;       /* absolute below each hierarchy's mount, or NULL */
    guint cores;        /* of the job on this node */
    guint64 memory_mib; /* of the job on this node; 0: not asked for */
    guint cput_s;       /* processor time of the job; 0: no limit */
} VtOrder;

/* VT_ERROR_BATCH that names the line: no key=value, an unknown key, one twice or missing, a bad
 * value, another version. `order` is then empty. */
bool vt_order_parse(VtOrder *order, const char *text, gsize size, GError **error);

void vt_order_clear(VtOrder *order);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VtOrder, vt_order_clear)
