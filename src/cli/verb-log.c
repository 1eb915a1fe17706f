/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-log.c - vmgr log. */
#include <string.h>

#include "cli/jobs.h"
#include "cli/terminal.h"
#include "cli/vmgr.h"
#include "ctl/control.h"

#define ASK_TIMEOUT_MS 5000

static const GOptionEntry options[] = {G_OPTION_ENTRY_NULL};

static gint64 time_of(const char *line)
{
    return g_ascii_strtoll(line, NULL, 10);
}

static gint compare_times(gconstpointer a, gconstpointer b)
{
    gint64 x = time_of(*(char *const *)a), y = time_of(*(char *const *)b);
    return x < y ? -1 : x > y;
}

static void print_event(const char *line)
{
    const char *what = strchr(line, ' ');
    gint64 at_us = time_of(line);
    g_autoptr(GDateTime) at = g_date_time_new_from_unix_local(at_us / G_USEC_PER_SEC);
    g_autofree char *text = at ? g_date_time_format(at, "%F %T") : g_strdup("?");
    g_print("%s.%03d%s\n", text, (int)(at_us % G_USEC_PER_SEC / 1000), what ? what : "");
}

bool vt_verb_log(int argc, char **argv, int *status, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, options, "JOB", 1, 1, error))
        return false;
    g_autoptr(VtLiveJob) job = vt_jobs_find(argv[1], error);
    g_autofree char *text = job ? vt_jobs_ask(job, CTL_LOG, 0, ASK_TIMEOUT_MS, error) : NULL;
    if (!text)
        return false;
    vt_terminal_make_printable(text, strlen(text));
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(GPtrArray) events = g_ptr_array_new();
    for (char **line = lines; *line; line++)
        if (g_ascii_isdigit(**line))
            g_ptr_array_add(events, *line);
    g_ptr_array_sort(events, compare_times);
    for (guint i = 0; i < events->len; i++)
        print_event(events->pdata[i]);
    for (char **line = lines; *line; line++)
        if (g_str_has_prefix(*line, "  "))
            g_print("%s\n", *line);
    return true;
}
