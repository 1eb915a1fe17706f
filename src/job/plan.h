/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/plan.h - the node plan: everything about one job on one node that follows from the job and
 * its slots.
 *
 * Pure: the same job and slots give the same plan, whoever asks (the engine, or vsub --dry-run). The
 * QEMU command line (vm/command.h) and the guest plan (job/guest_plan.h) are made of it and of
 * nothing else.
 */
#pragma once

#include "job/job.h"
#include "job/memory.h"
#include "job/record.h"

#define VT_UID_BASE 1900000000u /* id of slot 0's engine and QEMU; no passwd entry needed */
/* A job's private network: node N of the job has N in the third byte, its first guest 1 in the last. */
#define VT_PRIVATE_NETWORK 0x0a4d0000u /* 10.77.0.0 */
#define VT_PRIVATE_PREFIX 16u
#define VT_PRIVATE_NODE_PREFIX 24u

static inline guint32 vt_private_network(guint node)
{
    return VT_PRIVATE_NETWORK + (node << 8);
}

static inline guint32 vt_private_address(guint node, guint index)
{
    return vt_private_network(node) + 1 + index;
}

/* A guest's own way out: the same in each, of a block that is nobody's on the internet and rarely
 * used inside a site (RFC 6598). */
#define VT_UPLINK_PREFIX 29u
#define VT_UPLINK_GATEWAY 0x647f4d01u /* 100.127.77.1 */
#define VT_UPLINK_ADDRESS 0x647f4d02u /* 100.127.77.2 */
/* Mount tags of the two shares. The root is only read, so a guest may keep what it has read (which
 * makes programs start several times faster); what the owner writes to must be looked at again each
 * time it is opened. */
#define VT_FILES_TAG "vtorque"
#define VT_ROOT_TAG "vtorque-root"
/* init=system: the kernel's argument that tells the agent to hand over to the image's own init, with
 * DEVICE,TYPE of the root file system behind it. */
#define VT_SYSTEM_ARG "vtorque.system"

/* A directory of the host that the guest gets: bound at /<index> of its share. */
typedef struct {
    char *path;   /* absolute, the same on host and guest */
    bool is_root; /* the host's root: becomes the guest's, read-only */
} VtShare;

/* Whom a guest may trust, and who may reach into it (SECURITY.md). */
typedef enum {
    VT_GUEST_OWNERS, /* has nothing that the owner does not have on the host */
    VT_GUEST_SITES,  /* of an image that the site vouches for, the owner not being root inside */
} VtGuestKind;

/* The disk of a guest: what is read from the pool's file, and the scratch above it. */
typedef struct {
    char *base; /* path of the pool's file, for people: it is opened once, by vt_pool_open() */
    VtFormat format;
    guint64 size;      /* bytes */
    char *scratch_dir; /* NULL: in memory */
    guint scratch_mib; /* limit of that memory */
    char *root;        /* device of the root file system in the guest */
    char *filesystem;  /* its type */
} VtDisk;

#define VT_MAC_SIZE 6

/* One virtual machine. */
typedef struct {
    guint slot;
    char *name;                    /* "v<host>-<slot>": also the guest's host name */
    guint8 mac[VT_MAC_SIZE];       /* on the job's private network */
    guint8 outer_mac[VT_MAC_SIZE]; /* on its way out */
    guint32 address;               /* IPv4 in the job's private network, host byte order */
} VtPlanVm;

/* What every machine of the job knows of each, on whatever node. */
typedef struct {
    char *name;
    guint32 address; /* as above */
    guint vcpus;
} VtPlanName;

typedef struct {
    VtPlanVm *vms;
    guint n_vms;
    /* All machines of the job, in the order of nodes and of each node's; of a job of several nodes
     * those of this one, until vt_plan_take_names(). */
    VtPlanName *names;
    guint n_names;
    VtNet net;
    bool has_uplink; /* each guest has a way out */
    guint mtu;       /* of the private network, where taps carry it; 0: Ethernet's */
    VtGuestKind kind;
    VtInit init;
    VtAccel accel;
    VtLocks locks;
    VtFileServer file_server;
    VtDisk *disk;   /* NULL: none */
    uid_t cage_uid; /* engine and QEMU, where the starter is root */
    gid_t cage_gid;
    guint ram_mib;   /* of each */
    guint vcpus;     /* of each */
    VtMemory memory; /* what the job takes in all */
    guint tasks;     /* the most processes and threads that it has */
    guint boot_timeout_s;
    char *kernel; /* host path of vmlinux or vmlinuz */
    char *initrd; /* host path */
    char *kernel_args;
    GPtrArray *shares; /* of VtShare, in the order of their index */
} VtPlan;

/* The plan of `job` with job->vms slots of its node. `kernel_file` is the name of the
 * kernel in job->kernel_dir ("vmlinux" or "vmlinuz"), which counts unless `record`, that of a job
 * with a disk (else NULL), names a kernel of its own. (transfer full); cannot fail for a job that
 * vt_job_load() took. */
VtPlan *vt_plan_new(const VtJob *job, const guint *slots, const char *kernel_file,
                    const VtRecord *record);
/* Whose a guest is. `is_roots`: root starts it, and takes no files but root's for an image with a
 * disk. */
VtGuestKind vt_plan_kind(const VtJob *job, bool is_roots);

/* All machines of the job, in place of what was known so far; `names` (transfer full). */
void vt_plan_take_names(VtPlan *plan, VtPlanName *names, guint n);
void vt_plan_names_free(VtPlanName *names, guint n);

/* IPv4 `address`, of host byte order, in dots. (transfer full) */
char *vt_address_format(guint32 address);

/* True if the plan has a root to share, or (`is_root` false) any writable directory. */
bool vt_plan_has_share(const VtPlan *plan, bool is_root);

/* The plan as text for people: one "key: value" a line, the shares below each other. (transfer
 * full) */
char *vt_plan_explain(const VtPlan *plan);

void vt_plan_free(VtPlan *plan);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtPlan, vt_plan_free)
