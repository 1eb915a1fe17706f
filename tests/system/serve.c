/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/system/serve.c - stands in for the daemon, and for vtorque-run behind it: root starts a job
 * for its owner, by the function that the daemon will call, and streams it.
 *
 *   serve [OPTION...] DOCUMENT SCRIPT    DOCUMENT: a job document (job/job.h), "-": standard input
 *
 * Says "keeper PID" on its stderr; ends with the script's status, or 125 and one line.
 *
 * Runs as: root. For tests only, never installed.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/attach.h"
#include "cli/report.h"
#include "ctl/run.h"
#include "job/job.h"
#include "job/owner.h"
#include "node/launch.h"

typedef struct {
    char *cgroup;
    char *cwd;
    int gate;
    gboolean is_looked_up; /* the owner's names and groups, from the user database */
    gboolean is_silent;    /* never speaks to the engine: a vtorque-run that never comes */
    char **words;          /* DOCUMENT, SCRIPT */
} Options;

static bool parse(int argc, char **argv, Options *options, GError **error)
{
    const GOptionEntry entries[] = {
        {"cgroup", 0, 0, G_OPTION_ARG_FILENAME, &options->cgroup, "below which the leaf is made",
         "PATH"},
        {"cwd", 0, 0, G_OPTION_ARG_FILENAME, &options->cwd, "of the script", "DIR"},
        {"gate", 0, 0, G_OPTION_ARG_INT, &options->gate, "a socket (ctl/gate.h)", "FD"},
        {"look-up", 0, 0, G_OPTION_ARG_NONE, &options->is_looked_up,
         "take all of the owner but the uid from the user database", NULL},
        {"silent", 0, 0, G_OPTION_ARG_NONE, &options->is_silent, "send no opening", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &options->words, NULL, NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new("DOCUMENT SCRIPT");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (!options->words || g_strv_length(options->words) != 2)
        return vt_error_set(error, VT_ERROR_USER, "usage: serve [OPTION...] DOCUMENT SCRIPT");
    return true;
}

static GBytes *load_file(const char *path, gsize max, GError **error)
{
    vt_autofd fd = strcmp(path, "-") == 0 ? dup(0) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        vt_error_set(error, VT_ERROR_USER, "cannot open '%s'", path);
        return NULL;
    }
    return vt_fd_read_all(fd, max, path, error);
}

static VtJob *load_job(const Options *options, GError **error)
{
    g_autoptr(GBytes) document = load_file(options->words[0], VT_JOB_DOCUMENT_MAX, error);
    gsize size;
    const char *text = document ? g_bytes_get_data(document, &size) : NULL;
    g_autoptr(VtJob) job = text ? vt_job_load(text, size, error) : NULL;
    if (job && options->is_looked_up) {
        uid_t uid = job->owner.uid;
        vt_owner_clear(&job->owner);
        if (!vt_owner_find(&job->owner, uid, error))
            return NULL;
    }
    return g_steal_pointer(&job);
}

static void attach(const Options *options, const VtJob *job, GBytes *script, int run,
                   VtResult *result)
{
    g_autofree char *home = g_strconcat("HOME=", job->owner.home, NULL);
    g_autofree char *user = g_strconcat("USER=", job->owner.user, NULL);
    const char *const argv[] = {"sh", CTL_SCRIPT_PATH, NULL};
    const char *const env[] = {home, user, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                               NULL};
    const VtAttachment attachment = {
        .program_name = "serve",
        .cwd = options->cwd ? options->cwd : job->submit_dir,
        .umask_bits = 022,
        .program = "/bin/sh",
        .argv = argv,
        .env = env,
        .script = script,
        .input = STDIN_FILENO,
        .output = STDOUT_FILENO,
        .errors = STDERR_FILENO,
    };
    vt_attach(&attachment, run, result);
}

static int serve(const Options *options, GError **error)
{
    g_autoptr(VtJob) job = load_job(options, error);
    g_autoptr(GBytes) script = job ? load_file(options->words[1], CTL_SCRIPT_MAX, error) : NULL;
    if (!script)
        return -1;
    const VtLaunchOptions launch_options = {
        .job = job, .cgroup = options->cgroup, .gate = options->gate, .run = -1};
    VtLaunch launch;
    VtResult result = {0};
    if (!vt_launch_start(&launch_options, &launch, error))
        return -1;
    g_printerr("serve: keeper %d\n", launch.keeper);
    if (options->is_silent)
        vt_fd_wait(launch.pidfd, -1);
    else
        attach(options, job, script, vt_fd_steal(&launch.run), &result);
    vt_launch_finish(&launch);
    if (!result.has_outcome)
        g_printerr("serve: the job's engine was killed\n");
    else if (result.reason != CTL_REASON_DONE)
        g_printerr("serve: %s: %s\n", ctl_reason_name(result.reason), result.message);
    int status = vt_report_status(&result);
    vt_result_clear(&result);
    return status;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Options options = {.gate = -1};
    signal(SIGCHLD, SIG_DFL);
    int status = parse(argc, argv, &options, &error) ? serve(&options, &error) : -1;
    if (status >= 0)
        return status;
    fprintf(stderr, "serve: %s\n", error->message);
    return vt_error_exit_status(error);
}
