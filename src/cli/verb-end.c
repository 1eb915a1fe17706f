/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-end.c - vmgr end. */
#include "cli/jobs.h"
#include "cli/vmgr.h"

#define GRACE_MAX_MS 600000 /* KILL_GRACE's upper bound: the engine knows the job's own */

static gboolean now;

static const GOptionEntry end_options[] = {
    {"now", 0, 0, G_OPTION_ARG_NONE, &now, "do not ask the job first", NULL},
    G_OPTION_ENTRY_NULL,
};

bool vt_verb_end(int argc, char **argv, int *status, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, end_options, "[--now] JOB", 1, 1, error))
        return false;
    g_autoptr(VtLiveJob) job = vt_jobs_find(argv[1], error);
    return job && vt_jobs_end(job, now, GRACE_MAX_MS, error);
}
