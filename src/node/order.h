/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/order.h - what is said of a job that is to start: by the hook of its first node, by that of a
 * further one, and by the first node's daemon to the others (doc/contracts/ctl.md, peer.md).
 *
 * Reads from: root's hooks, which pass on what a user asked for; other nodes. Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

#include "job/job.h"

#define VT_ORDER_MAX (60 * 1024) /* bytes */

/* Who speaks; bits, so that a key can belong to several. */
typedef enum {
    VT_ORDER_START = 1,        /* prologue: the job's only, or first, node */
    VT_ORDER_REGISTRATION = 2, /* prologue.parallel: a further node */
    VT_ORDER_FOLLOW = 4,       /* the first node's daemon, to that of a further one */
    VT_ORDER_USER = 8,         /* a user's vmgr, to the daemon of a job's node */
} VtOrderKind;

typedef struct {
    char *id;                /* job/job.h's alphabet */
    char *name;              /* a word */
    char *user;              /* a name for passwd */
    char *queue;             /* a word */
    char *request;           /* the request word */
    char *work_dir;          /* absolute */
    char *node_file;         /* absolute, or NULL */
    char *ticket;            /* a word: of the start (ctl/starting.h), or NULL */
    char *cgroup;            /* absolute below each hierarchy's mount, or NULL */
    guint cores;             /* of the job on this node */
    guint64 memory_mib;      /* of the job on this node; 0: not asked for */
    guint64 core_memory_mib; /* for each of the cores; 0: not asked for */
    guint cput_s;            /* processor time of the job; 0: no limit */
    /* Of jobs of several nodes. */
    GStrv hosts;    /* START: HOST:CORES of each node, the first one's first; else NULL */
    char *leader;   /* REGISTRATION: the first node's name */
    guint node;     /* which of them this is; 0: the first */
    guint nodes;    /* how many there are; 0 in a START without hosts */
    guint np;       /* REGISTRATION: cores of the whole job */
    char *host;     /* FOLLOW: the name of the node that is spoken to */
    char *receiver; /* FOLLOW, USER: its address, as the sender has it */
    char *run;      /* FOLLOW: this run of the job, 32 hexadecimal digits */
    char *nonce;    /* FOLLOW, USER: what the receiver has just said, 32 hexadecimal digits */
    char *key; /* FOLLOW: of the engines' connection; USER: of this one; 64 hexadecimal digits */
    GStrv addresses; /* FOLLOW: IPv4 of all nodes, in their order */
    guint mtu;       /* FOLLOW: of that network */
    VtTransport
        transport; /* FOLLOW: what carries the job's network between nodes; NONE: there is none */
    guint vni;     /* FOLLOW: VXLAN's number; 0 for others */
} VtOrder;

/* VT_ERROR_BATCH that names the line: no key=value, an unknown key or one of another kind, one twice
 * or missing, a bad value, another version. `order` is then empty. */
bool vt_order_parse(VtOrder *order, VtOrderKind kind, const char *text, gsize size, GError **error);

/* The lines of a FOLLOW or USER. (transfer full) */
char *vt_order_format(const VtOrder *order, VtOrderKind kind);

/* True if a FOLLOW or USER was made for the connection that was greeted with `nonce`, to the address
 * `local`; else VT_ERROR_BATCH. */
bool vt_order_check_connection(const VtOrder *order, const char *nonce, const char *local,
                               GError **error);

/* True if what the first node orders (FOLLOW) fits what this node's own batch daemon has said
 * (REGISTRATION); else VT_ERROR_BATCH that names what does not. */
bool vt_order_check(const VtOrder *follow, const VtOrder *registration, GError **error);

/* HOST and CORES of entry `index` of `hosts`. (transfer full) */
char *vt_order_host(const VtOrder *order, guint index, guint *cores);

void vt_order_clear(VtOrder *order);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VtOrder, vt_order_clear)
