/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf/choice.h - the closed lists of words that settings, requests and the job document share.
 *
 * Pure; a choice's number is the value of its enum.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    VT_IMAGE_HOST, /* img=host: this machine's root file system, read-only */
    VT_IMAGE_TINY, /* img=tiny: BusyBox in the initramfs; what the tests use */
    VT_IMAGE_DISK, /* img=NAME: a record of the image pool */
} VtImage;

/* What is process 1 of a guest with a disk. */
typedef enum {
    VT_INIT_AGENT,  /* ours */
    VT_INIT_SYSTEM, /* the image's own, with the agent as one of its services */
} VtInit;

/* Where a guest's disk keeps what is written to it. */
typedef enum {
    VT_FS_SHAREDFS, /* in WS_DIR */
    VT_FS_RAMDISK,  /* in memory, or in RAMDISK_DIR */
} VtFsType;

typedef enum {
    VT_ACCEL_TCG, /* emulation */
    VT_ACCEL_KVM,
    VT_ACCEL_AUTO, /* a setting's word alone: KVM where it works */
} VtAccel;

/* Where the locks of files in shared directories are held. */
typedef enum {
    VT_LOCKS_LOCAL,  /* in the guest: not seen by the host or other guests */
    VT_LOCKS_REMOTE, /* on the host: one that would block is an errno */
} VtLocks;

/* The program that serves directories to a guest. */
typedef enum {
    VT_FILE_SERVER_QEMU, /* QEMU's own virtiofsd, which ended with QEMU 7.2 */
    VT_FILE_SERVER_RUST, /* virtiofsd of the virtio-fs project */
} VtFileServer;

typedef enum {
    VT_FAMILY_DEBIAN,
    VT_FAMILY_UBUNTU,
    VT_FAMILY_REDHAT,
    VT_FAMILY_CENTOS,
    VT_FAMILY_OSV,
} VtFamily;

typedef enum { VT_ARCH_X86_64 } VtArch;

/* The batch system that jobs are submitted to. */
typedef enum {
    VT_BATCH_AUTO, /* a setting's word alone: whose submit command is there */
    VT_BATCH_TORQUE,
    VT_BATCH_OPENPBS,
    VT_BATCH_SLURM,
    VT_BATCH_LOCAL, /* none: vsub --local */
} VtBatch;

/* What carries a request's word from qsub to the nodes. */
typedef enum {
    VT_CHANNEL_GRES,  /* -l gres=: under pbs_sched, which does not look at it */
    VT_CHANNEL_OTHER, /* -l other=: under Maui and Moab, which schedule a gres */
} VtRequestChannel;

typedef enum { VT_FORMAT_QCOW2, VT_FORMAT_RAW } VtFormat;

typedef struct {
    const char *const *words; /* NULL-terminated */
    const char *allowed;      /* as a message says it */
} VtChoice;

typedef enum {
    VT_NET_NONE,    /* no network */
    VT_NET_PRIVATE, /* the job's guests reach each other, and what VT_NET_USER reaches */
    VT_NET_USER,    /* what a user of the host reaches, from the inside out */
} VtNet;

/* What carries a job's private network from node to node. */
typedef enum {
    VT_TRANSPORT_AUTO,                     /* of a setting: what is safe everywhere, WireGuard */
    VT_TRANSPORT_WIREGUARD,                /* with keys of the job */
    VT_TRANSPORT_VXLAN,                    /* in clear, for networks that the site trusts */
    VT_TRANSPORT_NONE = VT_TRANSPORT_AUTO, /* of a job: there is no such network */
} VtTransport;

extern const VtChoice vt_image_choice, vt_init_choice, vt_fs_type_choice, vt_accel_choice,
    vt_locks_choice, vt_file_server_choice, vt_family_choice, vt_arch_choice, vt_format_choice,
    vt_batch_choice, vt_channel_choice, vt_net_choice, vt_transport_choice, vt_carrier_choice;

/* false is 0, true is 1. */
extern const VtChoice vt_truth_choice;

/* The word of `number`, which must be one of the choice's. (static) */
const char *vt_choice_word(const VtChoice *choice, guint number);

/* Sets `number` to that of `word`, in any case of letters. False if there is none. */
bool vt_choice_find(const VtChoice *choice, const char *word, guint *number);

/* True for what can be an image's name: [A-Za-z0-9._+-]{1,64} that begins with a letter or digit. */
bool vt_image_name_is_valid(const char *name);

/* True for a name of a host or domain, or an IPv4 or IPv6 address: [A-Za-z0-9.:_-]{1,253} that begins
 * with a letter, a digit or a colon. */
bool vt_network_name_is_valid(const char *name);

/* True for an IPv4 or IPv6 address. */
bool vt_address_is_valid(const char *address);
/* True for an IPv4 address. */
bool vt_address_is_ipv4(const char *address);

/* Sets `prefix` to the number of XX:XX:XX, the first bytes of a network card's own (unicast) address.
 */
bool vt_mac_prefix_parse(const char *text, guint64 *prefix);

/* Most entries of such lists: resolv.conf's own limits, and the parameters that there are. */
#define VT_NAME_SERVERS_MAX 3u
#define VT_SEARCH_DOMAINS_MAX 6u
#define VT_TIME_SERVERS_MAX 2u
