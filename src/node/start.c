/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/start.c - from an order to a keeper.
 *
 * Theory of operation. The steps of one table, as for vsub's own jobs; the first that fails ends it,
 * with a line for the hook. /run/vtorque/starting/ID is locked from before the first step until
 * the keeper holds the run folder's lock, so that who ends the job (and takes that lock first) finds
 * either nothing that will start, or a run folder.
 */
#include "node/start.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "batch/local.h"
#include "ctl/folder.h"
#include "ctl/live.h"
#include "ctl/starting.h"
#include "job/owner.h"
#include "job/word.h"
#include "node/decision.h"
#include "node/launch.h"
#include "node/order.h"

#define LOCKED_MS 10000 /* for the keeper to take a slot */

typedef struct {
    VtOrder order;
    const VtSettings *settings;
    VtRequest request, directive; /* the second stays empty */
    VtGiven given;
    VtDecision decision;
} Start;

static bool read_request(Start *start, GError **error)
{
    return vt_word_parse(&start->request, start->order.request, "request", error);
}

/* A batch system's user; root's jobs are refused as the batch system itself refuses them. */
static bool load_owner(Start *start, GError **error)
{
    struct passwd *found = getpwnam(start->order.user);
    if (!found)
        return vt_error_set(error, VT_ERROR_HOST, "there is no user '%s' on this node",
                            start->order.user);
    if (found->pw_uid == 0)
        return vt_error_set(error, VT_ERROR_USER, "root has no jobs in virtual machines");
    VtOwner *owner = &start->decision.job->owner;
    if (!vt_owner_find(owner, found->pw_uid, error))
        return false;
    return vt_job_path_is_valid(owner->home) ||
           vt_error_set(error, VT_ERROR_HOST, "the home directory of '%s' is no absolute path",
                        start->order.user);
}

static bool name_job(Start *start, GError **error)
{
    VtJob *job = start->decision.job;
    job->id = g_strdup(start->order.id);
    job->name = g_strdup(start->order.name);
    job->submit_dir = g_strdup(start->order.work_dir);
    job->node_file = g_strdup(start->order.node_file);
    job->cput_s = start->order.cput_s;
    job->run_wait_s = (guint)vt_settings_get_number(start->settings, VT_SETTING_RUN_WAIT);
    return vt_decision_is_shareable(job->submit_dir) ||
           vt_error_set(error, VT_ERROR_USER,
                        "the submit directory '%s' cannot be shared with a guest: /proc, /sys and "
                        "/dev are its own",
                        job->submit_dir);
}

/* A request that vsub has not seen is refused here. */
static bool check_enabled(Start *start, GError **error)
{
    const char *message = vt_settings_get_text(start->settings, VT_SETTING_DISABLED_MESSAGE);
    return vt_settings_get_number(start->settings, VT_SETTING_VTORQUE_ENABLED) ||
           vt_error_set(error, VT_ERROR_CONFIG,
                        "this site takes no new jobs with virtual machines%s%s",
                        message ? ": " : "", message ? message : "");
}

static bool check_host(Start *start, GError **error)
{
    return vt_decision_check_host(&start->decision, &start->given, error);
}

/* vsub has asked for what the host keeps besides what the guest needs (batch/torque.h). */
static VtLocalRequest granted_of(const Start *start)
{
    guint64 cores = vt_settings_get_number(start->settings, VT_SETTING_HOST_OS_CORE_COUNT);
    guint64 memory_mib = vt_settings_get_number(start->settings, VT_SETTING_HOST_OS_RAM_MB);
    const VtOrder *order = &start->order;
    return (VtLocalRequest){
        .ppn = order->cores > cores ? order->cores - (guint)cores : 1,
        .memory_mib = order->memory_mib == 0           ? 0
                      : order->memory_mib > memory_mib ? order->memory_mib - memory_mib
                                                       : 1,
    };
}

static bool resolve(Start *start, GError **error)
{
    const VtLocalRequest granted = granted_of(start);
    VtDecision *decision = &start->decision;
    guint longest = (guint)vt_settings_get_number(start->settings, VT_SETTING_PROLOGUE_TIMEOUT);
    VtHost host;
    if (!vt_host_load(&host, error))
        return false;
    start->given.allocation = vt_local_allocate(&host, &granted, start->settings, decision->notes);
    if (!vt_decision_resolve(decision, &start->given, error))
        return false;
    decision->job->boot_timeout_s = MIN(decision->job->boot_timeout_s, longest);
    if (decision->job->image == VT_IMAGE_HOST &&
        !vt_settings_get_number(start->settings, VT_SETTING_HOST_IMAGE))
        return vt_error_set(error, VT_ERROR_USER,
                            "img=host is not allowed here: the site's HOST_IMAGE is false");
    return true;
}

static bool load_mounts(Start *start, GError **error)
{
    return vt_decision_load_mounts(&start->decision, &start->given, error);
}

static bool find_image(Start *start, GError **error)
{
    return vt_decision_find_image(&start->decision, &start->given, error);
}

static bool find_kernel(Start *start, GError **error)
{
    return vt_decision_find_kernel(&start->decision, &start->given, error);
}

static bool finish(Start *start, GError **error)
{
    return vt_decision_finish(&start->decision, &start->given, error);
}

typedef bool (*Step)(Start *start, GError **error);

static const Step steps[] = {
    check_enabled, read_request, load_owner, name_job,    check_host,
    resolve,       load_mounts,  find_image, find_kernel, finish,
};

static bool decide(Start *start, GError **error)
{
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!steps[i](start, error))
            return false;
    return true;
}

/* A hook that was called twice, or a job that came back: there is one virtual machine for it. */
static bool end_former(const char *id, GError **error)
{
    CtlLive live;
    vt_autofd root = ctl_root_find();
    if (root < 0 || ctl_live_find(root, id, &live) < 0)
        return true;
    int err = ctl_live_end(root, &live, CTL_END_NOW, 0);
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, -err,
                                          "what an earlier run of the job left does not end");
}

/* The gate's first phase is the run folder's lock; after that all are open. */
static bool launch(const Start *start, int connection, GError **error)
{
    int pair[2];
    char byte;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the keeper's gate");
    vt_autofd ours = pair[0], theirs = pair[1];
    const VtLaunchOptions options = {.job = start->decision.job,
                                     .cgroup = start->order.cgroup,
                                     .gate = theirs,
                                     .run = connection};
    VtLaunch launched;
    if (!vt_launch_start(&options, &launched, error))
        return false;
    vt_fd_clear(&theirs);
    vt_fd_clear(&launched.pidfd);
    /* A keeper that failed has said why. */
    if (vt_fd_wait(ours, LOCKED_MS))
        (void)!read(ours, &byte, 1);
    return true;
}

/* The batch system lets a prologue go on whose job was ended meanwhile. */
static bool check_ticket(const Start *start, int lock, GError **error)
{
    return !start->order.ticket || ctl_starting_is_announced(lock, start->order.ticket) ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the job was ended before its virtual machine was started");
}

static bool start_job(Start *start, int connection, const char *text, gsize size, GError **error)
{
    if (!vt_order_parse(&start->order, text, size, error))
        return false;
    vt_autofd lock = ctl_starting_lock(start->order.id);
    if (lock < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -lock, "cannot lock the job's start");
    bool ok = check_ticket(start, lock, error) && end_former(start->order.id, error) &&
              decide(start, error) && launch(start, connection, error);
    ctl_starting_unlock(start->order.id, vt_fd_steal(&lock));
    return ok;
}

static void tell_notes(int connection, const GPtrArray *notes)
{
    for (guint i = 0; i < notes->len; i++)
        ctl_run_send_text(connection, CTL_NOTE, CTL_NOTE_VERBOSE, notes->pdata[i]);
}

int vt_start_job(int connection, const char *text, gsize size, const char *settings_file)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtSettings) settings = vt_settings_load(settings_file, &error);
    Start start = {.settings = settings};
    if (settings) {
        start.given = (VtGiven){.settings = settings,
                                .option = &start.request,
                                .directive = &start.directive,
                                .is_batch = true};
        vt_decision_init(&start.decision, settings);
        if (start_job(&start, connection, text, size, &error))
            tell_notes(connection, start.decision.notes);
    }
    if (error) {
        g_autofree char *printable = g_strescape(error->message, NULL);
        g_printerr("vtorqued: job '%s' is not started: %s\n", start.order.id ? start.order.id : "?",
                   printable);
        ctl_run_send_text(connection, CTL_OUTCOME, CTL_REASON_HOST, error->message);
        return vt_error_exit_status(error);
    }
    g_printerr("vtorqued: job '%s' of '%s' is started\n", start.order.id, start.order.user);
    return 0;
}
