/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-end.c - vmgr end and vmgr console. */
#include <string.h>

#include "base/error.h"
#include "cli/jobs.h"
#include "cli/vmgr.h"
#include "ctl/control.h"
#include "job/job.h"

#define GRACE_MAX_MS 600000 /* KILL_GRACE's upper bound: the engine knows the job's own */
#define ASK_TIMEOUT_MS 5000

static gboolean now;

static const GOptionEntry end_options[] = {
    {"now", 0, 0, G_OPTION_ARG_NONE, &now, "do not ask the job first", NULL},
    G_OPTION_ENTRY_NULL,
};

static const GOptionEntry no_options[] = {G_OPTION_ENTRY_NULL};

bool vt_verb_end(int argc, char **argv, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, end_options, "[--now] JOB", 1, 1, error))
        return false;
    g_autoptr(VtLiveJob) job = vt_jobs_find(argv[1], error);
    return job && vt_jobs_end(job, now, GRACE_MAX_MS, error);
}

bool vt_verb_console(int argc, char **argv, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, no_options, "JOB[/N]", 1, 1, error))
        return false;
    guint64 number = 1;
    char *slash = strchr(argv[1], '/');
    if (slash && !g_ascii_string_to_unsigned(slash + 1, 10, 1, VT_VMS_MAX, &number, NULL))
        return vt_error_set(error, VT_ERROR_USER,
                            "'%s': must be JOB/N, N the number of a virtual machine from 1 to %u",
                            argv[1], VT_VMS_MAX);
    if (slash)
        *slash = '\0';
    g_autoptr(VtLiveJob) job = vt_jobs_find(argv[1], error);
    g_autofree char *text =
        job ? vt_jobs_ask(job, CTL_CONSOLE, (guint8)(number - 1), ASK_TIMEOUT_MS, error) : NULL;
    /* An engine that was taken over must not speak to the terminal. */
    for (char *at = text; at && *at; at++)
        if (!g_ascii_isprint(*at) && *at != '\n')
            *at = '?';
    if (text)
        g_print("%s", text);
    return text != NULL;
}
