/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/jobs.c - jobs that live on this machine.
 *
 * Reads from: run folders of this uid, engines. Trusts: the folders (made by keepers of this uid);
 * of an engine's answer only that it is text, which is made printable.
 */
#include "cli/jobs.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/control.h"
#include "ctl/folder.h"

#define ASK_TIMEOUT_MS 2000
#define END_SLACK_MS 15000 /* beyond the grace: KILL, sync, freeing of the memory */
#define GONE_MS 5000

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

/* The value of `key` in lines of key=value, printable; NULL if it is not there. (transfer full) */
static char *value_of(const char *text, const char *key)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    gsize length = strlen(key);
    for (char **line = lines; *line; line++)
        if (strncmp(*line, key, length) == 0 && (*line)[length] == '=')
            return g_strescape(*line + length + 1, NULL);
    return NULL;
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
    char text[CTL_FILE_MAX];
    vt_autofd dir = ctl_folder_open(root, slot);
    pid_t keeper = dir < 0 ? 0 : ctl_folder_holder(dir);
    if (keeper <= 0 || ctl_file_read(dir, "job", text) < 0)
        return NULL;
    g_autoptr(VtLiveJob) job = g_new0(VtLiveJob, 1);
    g_autofree char *started = value_of(text, "started");
    job->slot = slot;
    job->keeper = keeper;
    job->id = value_of(text, "id");
    job->name = value_of(text, "name");
    job->started = started ? g_ascii_strtoll(started, NULL, 10) : 0;
    return job->id ? g_steal_pointer(&job) : NULL;
}

static void ask_engine(VtLiveJob *job)
{
    g_autofree char *text = vt_jobs_ask(job, CTL_QUERY, 0, ASK_TIMEOUT_MS, NULL);
    if (!text)
        return;
    job->vm = value_of(text, "vm");
    job->phase = value_of(text, "phase");
    job->ram_mib = value_of(text, "ram_mib");
    job->vcpus = value_of(text, "vcpus");
    job->memory_mib = value_of(text, "memory_mib");
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
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    vt_autofd root = open_root(NULL);
    vt_autofd dir = root < 0 ? -1 : ctl_folder_open(root, job->slot);
    /* A stopped engine takes no connection: once enough wait, connect() would too. */
    vt_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The folder's own path may be longer than an address. */
    g_snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", dir);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot reach the engine of job '%s'",
                           job->id);
        return -1;
    }
    return vt_fd_steal(&fd);
}

/* Reads exactly `size` bytes before `deadline_us`. */
static bool read_by(int fd, void *data, gsize size, gint64 deadline_us)
{
    guint8 *at = data;
    while (size > 0) {
        gint64 left_ms = (deadline_us - g_get_monotonic_time()) / 1000;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int n = left_ms > 0 ? poll(&ready, 1, (int)left_ms) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t got = n > 0 ? read(fd, at, size) : -1;
        if (got <= 0)
            return false;
        at += got;
        size -= (gsize)got;
    }
    return true;
}

static char *ask_on(int fd, guint8 request, guint8 aux, int timeout_ms)
{
    guint8 bytes[WIRE_HEADER_SIZE];
    WireHeader header = {.type = request, .aux = aux};
    gint64 deadline_us = g_get_monotonic_time() + timeout_ms * G_GINT64_CONSTANT(1000);
    wire_header_format(&header, bytes);
    if (send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) != sizeof bytes ||
        !read_by(fd, bytes, sizeof bytes, deadline_us) || wire_header_parse(bytes, &header) < 0 ||
        header.type != CTL_ANSWER)
        return NULL;
    g_autofree char *text = g_malloc0(header.length + 1);
    return read_by(fd, text, header.length, deadline_us) ? g_steal_pointer(&text) : NULL;
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
    vt_autofd pidfd = (int)syscall(SYS_pidfd_open, job->keeper, 0);
    vt_autofd root = open_root(error);
    vt_autofd dir = root < 0 ? -1 : ctl_folder_open(root, job->slot);
    /* Asked again: only now is the pid surely the keeper's (F_GETLK, pidfd_open, F_GETLK). */
    if (pidfd < 0 || dir < 0 || ctl_folder_holder(dir) != job->keeper)
        return true;
    vt_autofd fd = connect_engine(job, NULL);
    g_autofree char *answer =
        fd < 0 ? NULL : ask_on(fd, CTL_END, now ? CTL_END_NOW : CTL_END_TERM, ASK_TIMEOUT_MS);
    if (answer && vt_fd_wait(pidfd, (now ? 0 : grace_ms) + END_SLACK_MS))
        return true;
    syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
    if (!vt_fd_wait(pidfd, GONE_MS))
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    if (!vt_fd_wait(pidfd, GONE_MS))
        return vt_error_set(error, VT_ERROR_HOST,
                            "job '%s' does not end: its keeper, process %d, cannot be killed",
                            job->id, job->keeper);
    ctl_root_sweep(root);
    return true;
}
