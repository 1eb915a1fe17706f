/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/job.h - one job, as the engine is told of it: owner, allocation and resolved request.
 *
 * Made by vsub --local (later by vtorqued), handed to the engine as one JSON document in a sealed
 * memory file (doc/contracts/request.md). What runs inside (arguments, environment, script) is not
 * in it: that comes over the run connection (ctl/run.h).
 *
 * Trusts: nothing; vt_job_load() checks every field again.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "conf/choice.h"
#include "ctl/birth.h"

#define VT_JOB_VERSION 1
#define VT_JOB_DOCUMENT_MAX (4 * 1024 * 1024) /* bytes; 100,000 groups and a thousand mounts fit */

/* Limits of what may be asked for, whatever the machine has. */
#define VT_RAM_MIB_MIN 96u /* seen: with 64 the kernel panics in early start, with 80 it runs */
#define VT_RAM_MIB_MAX (16u * 1024 * 1024)   /* 16 TiB */
#define VT_VMS_MAX ((guint)KEEPER_SLOTS_MAX) /* of one job on one node: each has a slot */
#define VT_NODES_MAX 254u                    /* of one job: each has a third byte of 10.77.0.0/16 */
#define VT_VNI_MAX 0xffffffu                 /* of a VXLAN */
#define VT_NET_MTU_MIN 576u                  /* what IPv4 takes for granted */
#define VT_KEY_DIGITS 64u                    /* of a key between engines, hexadecimal */
#define VT_VCPUS_MAX 255u                    /* QEMU's q35 without an interrupt-remapping IOMMU */

typedef struct {
    char *user;  /* name; "u<uid>" if it has none */
    char *group; /* name of the primary group */
    uid_t uid;
    gid_t gid;
    gid_t *groups; /* supplementary groups without `gid`, each once */
    gsize n_groups;
    GStrv group_names; /* one for each of `groups`; "g<gid>" where it has none */
    char *home;        /* absolute */
    char *shell;       /* absolute */
} VtOwner;

typedef struct {
    char *id;   /* [A-Za-z0-9._\[\]-]{1,255} */
    char *name; /* as -N says, or the script's base name, or STDIN */
    char *host; /* name of this machine, of which the guest's name is made */
    VtOwner owner;
    VtImage image;
    char *image_name;  /* record of a disk's image; NULL for others */
    char *image_dir;   /* its pool; NULL for others */
    VtInit init;       /* agent, unless the image has a disk */
    VtFsType fs_type;  /* of the disk; without meaning for others */
    char *scratch_dir; /* where the disk keeps what is written; NULL: in memory */
    guint scratch_mib; /* limit of that memory; 0: there is no disk in memory */
    VtAccel accel;     /* TCG or KVM: what the probe has found */
    VtLocks locks;
    VtFileServer file_server;
    guint vms;        /* virtual machines on this node */
    VtNet net;        /* what they reach */
    guint has_uplink; /* 1: the machine's own network, too */
    guint mac_prefix; /* MAC_PREFIX: three bytes */
    char *domain;     /* DOMAIN, or NULL */
    GStrv name_servers, search_domains, time_servers;
    guint ram_mib; /* of each */
    guint vcpus;   /* of each */
    guint boot_timeout_s;
    guint walltime_s;   /* 0: none */
    guint cput_s;       /* processor time of the script, as the node counts it; 0: no limit */
    guint kill_grace_s; /* between TERM and KILL */
    char *kernel_dir;   /* GUEST_KERNEL: vmlinux or vmlinuz, initramfs, initramfs-tiny */
    char *submit_dir;   /* absolute: shared, writable */
    GStrv mounts;       /* VM_MOUNTS, absolute: shared, writable with the owner's rights */
    guint64 tmp_mib;    /* size limit of each of the guest's tmpfs */
    guint run_wait_s;   /* how long a guest that is ready waits for its run connection; 0: that is
                           there from birth */
    char *node_file;    /* the host's path at which the job finds its node file; NULL: none */
    guint node;         /* which of the job's nodes this is; 0: the first, which leads */
    guint nodes;        /* how many the job has */
    GStrv addresses;    /* IPv4 of all nodes, in their order; empty for a job of one */
    VtTransport
        transport;  /* what carries the private network between the nodes; NONE: there is none */
    guint vni;      /* VXLAN's number; 0 for others */
    guint net_mtu;  /* of the private network, bytes; 0: as much as one node's own takes */
    char *peer_key; /* of the connections between the job's engines; NULL for one node */
} VtJob;

/* Frees what it holds; all zero afterwards. */
void vt_owner_clear(VtOwner *owner);

void vt_job_free(VtJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtJob, vt_job_free)

/* The document: UTF-8 is not required of paths and names; bytes over 0x7f and controls are escaped
 * as U+0000-00FF, one code point a byte. (transfer full), NUL-terminated. */
char *vt_job_save(const VtJob *job);

/* The job in a document of `size` bytes. Unknown or missing keys, a wrong type, a value out of
 * range, a relative path or one with "." or ".." parts: VT_ERROR_USER that names the key. (transfer
 * full) or NULL. */
VtJob *vt_job_load(const char *document, gsize size, GError **error);

/* True if `id` is one that files, units and messages may carry: [A-Za-z0-9._\[\]-]{1,255}, not "."
 * or "..". */
bool vt_job_id_is_valid(const char *id);

/* True for an absolute path without "." and ".." parts, shorter than PATH_MAX. */
bool vt_job_path_is_valid(const char *path);
/* True if `text` has a control character. */
bool vt_job_has_control(const char *text);
/* True for a word of 1 to 255 bytes without blanks and control characters. */
bool vt_job_name_is_valid(const char *name);
/* True for what can be a name in passwd and group: as above, without ':', '/' and ',', and not
 * begun by '-' or '+'. */
bool vt_job_entry_is_valid(const char *name);
/* True for [A-Za-z0-9._-]{1,64} that begins with a letter or digit. */
bool vt_job_host_is_valid(const char *host);
