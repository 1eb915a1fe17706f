/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/jobs.h - the jobs of this user (root: of the node): those that the user has started here, found by
 * their run folders; those of the batch system that live here, by way of the daemon; those on other nodes, by
 * cli/afar.h.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

typedef struct {
    int slot;
    pid_t keeper;
    bool is_batch; /* the daemon's, and not to be seen but by asking it */
    char *node;    /* on which it is; NULL: this one */
    char *id;
    char *name;
    gint64 started; /* seconds since 1970 */
    /* From the engine; NULL where it does not answer. */
    char *user;
    char *vm;
    char *phase;
    char *ram_mib;
    char *vcpus;      /* of each machine, as the RAM */
    char *vms;        /* virtual machines; `vm` is the first */
    char *memory_mib; /* that its cgroup holds it to; "0": nothing does */
} VtLiveJob;

/* All of them, by slot, one's own first, then by node. What killed keepers left is removed on the way. Nodes
 * that could not be asked are told in `problems` (of char *). (transfer full) of VtLiveJob, or NULL. */
GPtrArray *vt_jobs_list(GPtrArray *problems, GError **error);

/* The job named `id`; a unique part of it up to a dot is enough. Where it does not live
 * here the batch system is asked: then `id` and `node` alone are known. NULL and VT_ERROR_USER if there is none;
 * another if that cannot be said. (transfer full) */
VtLiveJob *vt_jobs_find(const char *id, GError **error);
void vt_live_job_free(VtLiveJob *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtLiveJob, vt_live_job_free)

/* Sends one control request (ctl/control.h) to the job's engine and waits `timeout_ms` for the
 * answer. (transfer full) text, or NULL. */
char *vt_jobs_ask(const VtLiveJob *job, guint8 request, guint8 aux, int timeout_ms, GError **error);

/* The same, with a payload, on a connection of vt_jobs_connect(), which stays. */
char *vt_jobs_ask_on(int fd, const VtLiveJob *job, guint8 request, guint8 aux, const void *payload,
                     gsize size, int timeout_ms, GError **error);

/* A control connection to the job's engine, or -1. (transfer full) */
int vt_jobs_connect(const VtLiveJob *job, GError **error);

/* The job and the number of a virtual machine, from 0, that `text` names: JOB[/N]. (transfer
 * full) */
VtLiveJob *vt_jobs_find_machine(const char *text, guint8 *machine, GError **error);

/* Ends the job and waits until its run folder is gone. An engine that does not obey in time is
 * ended by its keeper, a keeper that does not by SIGKILL. Of the batch system's jobs the end of the
 * engine is waited for, which must obey; another node is asked again afterwards. */
bool vt_jobs_end(const VtLiveJob *job, bool now, int grace_ms, GError **error);

/* Adds the jobs that a daemon lists over `door`, one of its user.sock; `node`: its name, NULL: this one's. False:
 * not all of it came. */
bool vt_jobs_add_listed(GPtrArray *jobs, int door, const char *node);
