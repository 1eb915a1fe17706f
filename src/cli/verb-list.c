/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-list.c - vmgr list. */
#include <jansson.h>
#include <stdlib.h>

#include "cli/jobs.h"
#include "cli/vmgr.h"

static gboolean as_json;

static const GOptionEntry options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &as_json, "an array of objects", NULL},
    G_OPTION_ENTRY_NULL,
};

static const char *known(const char *text)
{
    return text ? text : "?";
}

/* The column of nodes is there where one of them is another. */
static void print_table(const GPtrArray *jobs)
{
    bool has_nodes = false;
    for (guint i = 0; i < jobs->len; i++)
        has_nodes = has_nodes || ((const VtLiveJob *)jobs->pdata[i])->node;
    if (jobs->len > 0)
        g_print("%-24s %-12s %-16s %-20s %-9s %4s %9s %5s  %-*s%s\n", "JOB", "USER", "NAME", "VM",
                "PHASE", "VMS", "RAM/MiB", "VCPUS", has_nodes ? 19 : 0, "STARTED",
                has_nodes ? "  NODE" : "");
    for (guint i = 0; i < jobs->len; i++) {
        const VtLiveJob *job = g_ptr_array_index(jobs, i);
        g_autoptr(GDateTime) started = g_date_time_new_from_unix_local(job->started);
        g_autofree char *text = started ? g_date_time_format(started, "%F %T") : g_strdup("?");
        g_print("%-24s %-12s %-16s %-20s %-9s %4s %9s %5s  %-19s%s%s\n", job->id, known(job->user),
                known(job->name), known(job->vm), known(job->phase), known(job->vms),
                known(job->ram_mib), known(job->vcpus), text, has_nodes ? "  " : "",
                !has_nodes  ? ""
                : job->node ? job->node
                            : "here");
    }
}

static json_int_t number(const char *text)
{
    return text ? (json_int_t)g_ascii_strtoull(text, NULL, 10) : 0;
}

static void print_json(const GPtrArray *jobs)
{
    json_t *array = json_array();
    for (guint i = 0; i < jobs->len; i++) {
        const VtLiveJob *job = g_ptr_array_index(jobs, i);
        json_array_append_new(
            array,
            json_pack("{s:s, s:s?, s:s?, s:s?, s:s?, s:I, s:I, s:I, s:I, s:I, s:i, s:i, s:s?}",
                      "id", job->id, "user", job->user, "name", job->name, "vm", job->vm, "phase",
                      job->phase, "vms", number(job->vms), "ram_mib", number(job->ram_mib), "vcpus",
                      number(job->vcpus), "memory_limit_mib", number(job->memory_mib), "started",
                      (json_int_t)job->started, "slot", job->slot, "keeper", (int)job->keeper,
                      "node", job->node));
    }
    char *text = json_dumps(array, JSON_INDENT(2));
    g_print("%s\n", text);
    free(text);
    json_decref(array);
}

bool vt_verb_list(int argc, char **argv, int *status, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, options, "[--json]", 0, 0, error))
        return false;
    g_autoptr(GPtrArray) problems = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) jobs = vt_jobs_list(problems, error);
    if (!jobs)
        return false;
    as_json ? print_json(jobs) : print_table(jobs);
    for (guint i = 0; i < problems->len; i++)
        g_printerr("vmgr: %s\n", (const char *)problems->pdata[i]);
    return problems->len == 0;
}
