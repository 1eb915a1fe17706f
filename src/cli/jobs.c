/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/jobs.c - jobs that live on this machine.
 *
 * Reads from: run folders of this uid, engines. Trusts: the folders (made by keepers of this uid);
 * of an engine's answer only that it is text, which is made printable.
 */
#include "cli/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/live.h"

#define ASK_TIMEOUT_MS 2000

void vt_live_job_free(VtLiveJob *job)
{
    if (!job)
        return;
    g_free(job->id);
    g_free(job->name);
    g_free(job->vm);
    g_free(job->phase);
    g_free(job->ram_mib);
    g_free(job->vcpus);
    g_free(job->memory_mib);
    g_free(job);
}

/* The value of `key` (with its "="), printable; NULL if it is not there. (transfer full) */
static char *value_of(const char *text, const char *key)
{
    char value[CTL_ID_MAX + 1];
    return ctl_text_find(text, key, value, sizeof value) ? g_strescape(value, NULL) : NULL;
}

static int open_root(GError **error)
{
    char path[PATH_MAX];
    int root = ctl_root_path(path, sizeof path) < 0 ? -ENAMETOOLONG : ctl_root_open(path, false);
    if (root < 0 && root != -ENOENT)
        vt_error_set_errno(
            error, VT_ERROR_HOST, -root,
            "cannot use the folder of run folders (which must be yours alone, and no link) '%s'",
            path);
    return root;
}

static VtLiveJob *load(int root, int slot)
{
    CtlLive live;
    if (ctl_live_load(root, slot, &live) < 0)
        return NULL;
    VtLiveJob *job = g_new0(VtLiveJob, 1);
    job->slot = slot;
    job->keeper = live.keeper;
    job->id = g_strescape(live.id, NULL);
    job->name = g_strescape(live.name, NULL);
    job->started = live.started;
    return job;
}

static void ask_engine(VtLiveJob *job)
{
    g_autofree char *text = vt_jobs_ask(job, CTL_QUERY, 0, ASK_TIMEOUT_MS, NULL);
    if (!text)
        return;
    job->vm = value_of(text, "vm=");
    job->phase = value_of(text, "phase=");
    job->ram_mib = value_of(text, "ram_mib=");
    job->vcpus = value_of(text, "vcpus=");
    job->memory_mib = value_of(text, "memory_mib=");
}

GPtrArray *vt_jobs_list(GError **error)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vt_live_job_free);
    vt_autofd root = open_root(error);
    if (root == -ENOENT)
        return g_steal_pointer(&jobs);
    if (root < 0)
        return NULL;
    ctl_root_sweep(root);
    for (int slot = 0; slot < CTL_SLOTS_MAX; slot++) {
        VtLiveJob *job = load(root, slot);
        if (!job)
            continue;
        ask_engine(job);
        g_ptr_array_add(jobs, job);
    }
    return g_steal_pointer(&jobs);
}

static bool names(const char *given, const char *id)
{
    gsize length = strlen(given);
    return length > 0 && strncmp(given, id, length) == 0 &&
           (id[length] == '\0' || id[length] == '.');
}

VtLiveJob *vt_jobs_find(const char *id, GError **error)
{
    g_autoptr(VtLiveJob) found = NULL;
    vt_autofd root = open_root(error);
    if (root < 0 && root != -ENOENT)
        return NULL;
    for (int slot = 0; root >= 0 && slot < CTL_SLOTS_MAX; slot++) {
        g_autoptr(VtLiveJob) job = load(root, slot);
        if (!job || !names(id, job->id))
            continue;
        if (found) {
            vt_error_set(error, VT_ERROR_USER, "'%s' names more than one job: '%s' and '%s'", id,
                         found->id, job->id);
            return NULL;
        }
        found = g_steal_pointer(&job);
    }
    if (!found)
        vt_error_set(error, VT_ERROR_USER, "no job '%s' lives here (see 'vmgr list')", id);
    return g_steal_pointer(&found);
}

static int connect_engine(const VtLiveJob *job, GError **error)
{
    vt_autofd root = open_root(NULL);
    vt_autofd fd = root < 0 ? root : ctl_live_connect(root, job->slot);
    if (fd < 0)
        vt_error_set_errno(error, VT_ERROR_HOST, -fd, "cannot reach the engine of job '%s'",
                           job->id);
    return vt_fd_steal(&fd);
}

static char *ask_on(int fd, guint8 request, guint8 aux, int timeout_ms)
{
    WireHeader header;
    g_autofree char *text = g_malloc(WIRE_PAYLOAD_MAX + 1);
    if (ctl_door_send(fd, request, aux, NULL, 0, NULL, 0) < 0 ||
        ctl_door_receive(fd, &header, text, timeout_ms) < 0 || header.type != CTL_ANSWER)
        return NULL;
    text[header.length] = '\0';
    return g_steal_pointer(&text);
}

char *vt_jobs_ask(const VtLiveJob *job, guint8 request, guint8 aux, int timeout_ms, GError **error)
{
    vt_autofd fd = connect_engine(job, error);
    if (fd < 0)
        return NULL;
    char *text = ask_on(fd, request, aux, timeout_ms);
    if (!text)
        vt_error_set(error, VT_ERROR_HOST, "the engine of job '%s' does not answer", job->id);
    return text;
}

bool vt_jobs_end(const VtLiveJob *job, bool now, int grace_ms, GError **error)
{
    const CtlLive live = {.slot = job->slot, .keeper = job->keeper};
    vt_autofd root = open_root(error);
    if (root < 0)
        return false;
    int err = ctl_live_end(root, &live, now ? CTL_END_NOW : CTL_END_TERM, grace_ms);
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err,
                                  "job '%s' does not end (its keeper is process %d)", job->id,
                                  job->keeper);
    return true;
}
