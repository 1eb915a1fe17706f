/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/jobs.c - jobs that live on this machine, and the way to any.
 *
 * Reads from: run folders of this uid, the daemon, engines. Trusts: the folders (made by keepers of
 * this uid); of an engine's answer only that it is text, which is made printable.
 */
#include "cli/jobs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/afar.h"
#include "cli/terminal.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/live.h"
#include "job/job.h"

#define ASK_TIMEOUT_MS 2000
#define END_PATIENCE_MS 15000 /* for an engine, after the grace */

void vt_live_job_free(VtLiveJob *job)
{
    if (!job)
        return;
    g_free(job->id);
    g_free(job->node);
    g_free(job->name);
    g_free(job->user);
    g_free(job->vm);
    g_free(job->phase);
    g_free(job->ram_mib);
    g_free(job->vcpus);
    g_free(job->vms);
    g_free(job->memory_mib);
    g_free(job);
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

static VtLiveJob *job_new(const CtlLive *live)
{
    VtLiveJob *job = g_new0(VtLiveJob, 1);
    job->slot = live->slot;
    job->keeper = live->keeper;
    job->id = g_strescape(live->id, NULL);
    job->name = g_strescape(live->name, NULL);
    job->started = live->started;
    return job;
}

static long long number_of(const char *text, const char *key)
{
    char value[32];
    return ctl_text_find(text, key, value, sizeof value) ? g_ascii_strtoll(value, NULL, 10) : 0;
}

bool vt_jobs_add_listed(GPtrArray *jobs, int door, const char *node)
{
    WireHeader header;
    char text[WIRE_STRING_MAX + 1];
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    if (ctl_door_send(door, CTL_DOOR_LIST, 0, NULL, 0, NULL, 0) < 0)
        return false;
    while (ctl_door_receive(door, &header, payload, ASK_TIMEOUT_MS) == 0 &&
           header.type == CTL_ANSWER) {
        if (header.length == 0)
            return true;
        WireReader reader = wire_reader(payload, header.length);
        wire_get_string(&reader, text, sizeof text);
        CtlLive live = {.slot = (int)number_of(text, "slot="),
                        .keeper = (pid_t)number_of(text, "keeper="),
                        .started = number_of(text, "started=")};
        if (!reader.ok || !ctl_text_find(text, "id=", live.id, sizeof live.id))
            return false;
        ctl_text_find(text, "name=", live.name, sizeof live.name);
        VtLiveJob *job = job_new(&live);
        job->is_batch = true;
        job->node = g_strdup(node);
        g_ptr_array_add(jobs, job);
    }
    return false;
}

/* The batch system's jobs, where there is a daemon. Root sees them as its own. False: there is none. */
static bool add_batch(GPtrArray *jobs)
{
    vt_autofd door = geteuid() == 0 ? -1 : ctl_door_connect(CTL_DOOR_USER, 0);
    if (door >= 0)
        vt_jobs_add_listed(jobs, door, NULL);
    return door >= 0;
}

/* All jobs here, of whom no engine was asked yet; `is_swept`: without what killed keepers left, for which
 * it may have to wait. `is_node`, which may be NULL: there is a daemon. */
static GPtrArray *load_all(bool is_swept, bool *is_node, GError **error)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vt_live_job_free);
    vt_autofd root = open_root(error);
    CtlLive live;
    if (root < 0 && root != -ENOENT)
        return NULL;
    if (root >= 0 && is_swept)
        ctl_root_sweep(root, CTL_SWEEP_MS);
    for (int slot = 0; root >= 0 && slot < CTL_SLOTS_MAX; slot++)
        if (ctl_live_load(root, slot, &live) == 0)
            g_ptr_array_add(jobs, job_new(&live));
    bool has_daemon = add_batch(jobs);
    if (is_node)
        *is_node = has_daemon;
    return g_steal_pointer(&jobs);
}

/* The value of `key` (with its "="), printable; NULL if it is not there. (transfer full) */
static char *value_of(const char *text, const char *key)
{
    char value[CTL_ID_MAX + 1];
    return ctl_text_find(text, key, value, sizeof value) ? g_strescape(value, NULL) : NULL;
}

static void ask_engine(VtLiveJob *job)
{
    g_autofree char *text = vt_jobs_ask(job, CTL_QUERY, 0, ASK_TIMEOUT_MS, NULL);
    if (!text)
        return;
    job->user = value_of(text, "user=");
    job->vm = value_of(text, "vm=");
    job->phase = value_of(text, "phase=");
    job->ram_mib = value_of(text, "ram_mib=");
    job->vcpus = value_of(text, "vcpus=");
    job->vms = value_of(text, "vms=");
    job->memory_mib = value_of(text, "memory_mib=");
}

GPtrArray *vt_jobs_list(GPtrArray *problems, GError **error)
{
    bool is_node = false;
    GPtrArray *jobs = load_all(true, &is_node, error);
    if (jobs)
        vt_afar_list(jobs, is_node, problems);
    for (guint i = 0; jobs && i < jobs->len; i++)
        ask_engine(jobs->pdata[i]);
    return jobs;
}

static bool names(const char *given, const char *id)
{
    gsize length = strlen(given);
    return length > 0 && strncmp(given, id, length) == 0 &&
           (id[length] == '\0' || id[length] == '.');
}

VtLiveJob *vt_jobs_find(const char *id, GError **error)
{
    g_autoptr(GPtrArray) jobs = load_all(false, NULL, error);
    guint found = 0, n = 0;
    for (guint i = 0; jobs && i < jobs->len; i++) {
        const VtLiveJob *job = jobs->pdata[i], *first = jobs->pdata[found];
        if (!names(id, job->id))
            continue;
        if (n++ > 0) {
            vt_error_set(error, VT_ERROR_USER, "'%s' names more than one job: '%s' and '%s'", id,
                         first->id, job->id);
            return NULL;
        }
        found = i;
    }
    if (n == 1)
        return g_ptr_array_steal_index(jobs, found);
    return jobs ? vt_afar_find(id, error) : NULL;
}

static int connect_daemon(const VtLiveJob *job, GError **error)
{
    vt_autofd door =
        job->node ? vt_afar_connect(job->node, error) : ctl_door_connect(CTL_DOOR_USER, 0);
    int err = door < 0 ? door : ctl_door_send_text(door, CTL_DOOR_CONTROL, 0, job->id);
    return err < 0 ? err : vt_fd_steal(&door);
}

int vt_jobs_connect(const VtLiveJob *job, GError **error)
{
    vt_autofd root = job->is_batch ? -1 : open_root(NULL);
    vt_autofd fd = job->is_batch ? connect_daemon(job, error)
                   : root < 0    ? root
                                 : ctl_live_connect(root, job->slot);
    if (fd < 0 && (!error || !*error))
        vt_error_set_errno(error, VT_ERROR_HOST, -fd, "cannot reach the engine of job '%s'",
                           job->id);
    return vt_fd_steal(&fd);
}

VtLiveJob *vt_jobs_find_machine(const char *text, guint8 *machine, GError **error)
{
    guint64 number = 1;
    const char *slash = strchr(text, '/');
    if (slash && !g_ascii_string_to_unsigned(slash + 1, 10, 1, VT_VMS_MAX, &number, NULL)) {
        vt_error_set(error, VT_ERROR_USER,
                     "'%s': must be JOB/N, N the number of a virtual machine from 1 to %u", text,
                     VT_VMS_MAX);
        return NULL;
    }
    g_autofree char *id = g_strndup(text, slash ? (gsize)(slash - text) : strlen(text));
    *machine = (guint8)(number - 1);
    return vt_jobs_find(id, error);
}

char *vt_jobs_ask_on(int fd, const VtLiveJob *job, guint8 request, guint8 aux, const void *payload,
                     gsize size, int timeout_ms, GError **error)
{
    WireHeader header;
    char why[WIRE_STRING_MAX + 1];
    g_autofree char *text = g_malloc(WIRE_PAYLOAD_MAX + 1);
    if (ctl_door_send(fd, request, aux, payload, size, NULL, 0) < 0 ||
        ctl_door_receive(fd, &header, text, timeout_ms) < 0 ||
        (header.type != CTL_ANSWER && header.type != CTL_REFUSED)) {
        vt_error_set(error, VT_ERROR_HOST, "the engine of job '%s' does not answer", job->id);
        return NULL;
    }
    if (header.type == CTL_REFUSED) {
        WireReader reader = wire_reader(text, header.length);
        wire_get_string(&reader, why, sizeof why);
        vt_terminal_make_printable(why, strlen(why));
        vt_error_set(error, VT_ERROR_HOST, "job '%s': %s", job->id, why);
        return NULL;
    }
    text[header.length] = '\0';
    return g_steal_pointer(&text);
}

char *vt_jobs_ask(const VtLiveJob *job, guint8 request, guint8 aux, int timeout_ms, GError **error)
{
    vt_autofd fd = vt_jobs_connect(job, error);
    return fd < 0 ? NULL : vt_jobs_ask_on(fd, job, request, aux, NULL, 0, timeout_ms, error);
}

/* Its keeper is root's: where the engine does not obey, the batch system's own order does. */
static bool end_batch(const VtLiveJob *job, bool now, int grace_ms, GError **error)
{
    g_autofree char *taken = NULL;
    char byte;
    vt_autofd fd = vt_jobs_connect(job, error);
    if (fd < 0)
        return false;
    taken = vt_jobs_ask_on(fd, job, CTL_END, now ? CTL_END_NOW : CTL_END_TERM, NULL, 0,
                           ASK_TIMEOUT_MS, NULL);
    if (!taken || !vt_fd_wait(fd, grace_ms + END_PATIENCE_MS) || recv(fd, &byte, 1, 0) > 0)
        return vt_error_set(error, VT_ERROR_HOST,
                            "job '%s' does not end: end it by the batch system", job->id);
    vt_fd_clear(&fd); /* the node counts it */
    return !job->node || vt_afar_wait_gone(job, error);
}

bool vt_jobs_end(const VtLiveJob *job, bool now, int grace_ms, GError **error)
{
    if (job->is_batch)
        return end_batch(job, now, grace_ms, error);
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
