/* SPDX-License-Identifier: Apache-2.0 */
/* cli/afar.c - where the batch system says that jobs are, against what the nodes say. */
#include "cli/afar.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/cluster.h"

#define GONE_MS 10000 /* for the keeper of a job that has ended */
#define RETRY_US 200000
#define NODES_AT_ONCE 16

static bool has_job(const GPtrArray *jobs, const char *id)
{
    for (guint i = 0; i < jobs->len; i++)
        if (strcmp(((const VtLiveJob *)jobs->pdata[i])->id, id) == 0)
            return true;
    return false;
}

/* Names of nodes with jobs of this user's, in virtual machines, that are not among `jobs`. (transfer full) */
static GPtrArray *nodes_of(const VtCluster *cluster, const GPtrArray *places, const GPtrArray *jobs)
{
    GPtrArray *nodes = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < places->len; i++) {
        const VtPlace *place = places->pdata[i];
        if (!place->node || !place->is_running || !place->has_request ||
            g_strcmp0(place->owner, g_get_user_name()) != 0 ||
            vt_cluster_is_here(cluster, place->node) || has_job(jobs, place->id) ||
            g_ptr_array_find_with_equal_func(nodes, place->node, g_str_equal, NULL))
            continue;
        g_ptr_array_add(nodes, g_strdup(place->node));
    }
    return nodes;
}

/* Where the batch system's jobs are, and what is found. */
typedef struct {
    const GPtrArray *places;
    GPtrArray *jobs, *problems;
} Search;

static void add_problem(GPtrArray *problems, GError *error)
{
    g_ptr_array_add(problems, g_strdup(error->message));
    g_error_free(error);
}

static bool is_there(const GPtrArray *places, const char *id, const char *node)
{
    for (guint i = 0; i < places->len; i++) {
        const VtPlace *place = places->pdata[i];
        if (strcmp(place->id, id) == 0)
            return g_strcmp0(place->node, node) == 0;
    }
    return false;
}

/* This user's jobs on a node, over the door that vt_cluster_start() has given. (transfer full) */
static GPtrArray *read_jobs(int door, const char *node, GError **error)
{
    g_autoptr(GPtrArray) jobs = g_ptr_array_new_with_free_func((GDestroyNotify)vt_live_job_free);
    if (!vt_cluster_wait(door, node, error))
        return NULL;
    if (vt_jobs_add_listed(jobs, door, node))
        return g_steal_pointer(&jobs);
    vt_error_set(error, VT_ERROR_HOST, "node '%s': does not list its jobs", node);
    return NULL;
}

/* When the door is ready. Jobs are taken of their first node. */
static void ask_node(int door, const char *node, const Search *search)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(GPtrArray) found = read_jobs(door, node, &error);
    /* A job may have ended meanwhile: VT_ERROR_USER. */
    if (!found && error->code != VT_ERROR_USER)
        add_problem(search->problems, g_steal_pointer(&error));
    while (found && found->len > 0) {
        VtLiveJob *job = g_ptr_array_steal_index(found, 0);
        if (is_there(search->places, job->id, node) && !has_job(search->jobs, job->id))
            g_ptr_array_add(search->jobs, job);
        else
            vt_live_job_free(job);
    }
}

/* Nodes number `first` and on, at the same time, each when it is ready: one that is dead keeps nobody
 * waiting, and who is let in has not long to speak. */
static void ask_nodes(const VtCluster *cluster, const GPtrArray *nodes, guint first,
                      const Search *search)
{
    struct pollfd doors[NODES_AT_ONCE];
    guint n = MIN(nodes->len - first, NODES_AT_ONCE), left = 0;
    for (guint i = 0; i < n; i++) {
        GError *error = NULL;
        int fd = vt_cluster_start(cluster, nodes->pdata[first + i], &error);
        doors[i] = (struct pollfd){.fd = fd, .events = POLLIN};
        if (fd < 0)
            add_problem(search->problems, error);
        left += fd >= 0;
    }
    while (left > 0) {
        if (poll(doors, n, -1) < 0)
            continue;
        for (guint i = 0; i < n; i++) {
            if (doors[i].fd < 0 || !doors[i].revents)
                continue;
            ask_node(doors[i].fd, nodes->pdata[first + i], search);
            vt_fd_clear(&doors[i].fd);
            left--;
        }
    }
}

static gint compare_nodes(gconstpointer a, gconstpointer b)
{
    const VtLiveJob *const *one = a, *const *other = b;
    return g_strcmp0((*one)->node, (*other)->node);
}

void vt_afar_list(GPtrArray *jobs, bool is_node, GPtrArray *problems)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(VtCluster) cluster = vt_cluster_load(&error);
    if (!cluster) {
        if (error && !is_node)
            g_ptr_array_add(problems, g_strdup_printf("jobs on other nodes are not looked for: %s",
                                                      error->message));
        return;
    }
    g_autoptr(GPtrArray) places = vt_cluster_find(cluster, NULL, &error);
    if (!places) {
        add_problem(problems, g_steal_pointer(&error));
        return;
    }
    g_autoptr(GPtrArray) nodes = nodes_of(cluster, places, jobs);
    const Search search = {places, jobs, problems};
    for (guint i = 0; i < nodes->len; i += NODES_AT_ONCE)
        ask_nodes(cluster, nodes, i, &search);
    g_ptr_array_sort(jobs, compare_nodes);
}

/* The place of a job that runs on another node. (transfer full) */
static VtPlace *find_place(const VtCluster *cluster, const char *id, GError **error)
{
    g_autoptr(GPtrArray) places = vt_cluster_find(cluster, id, error);
    if (!places)
        return NULL;
    g_autoptr(VtPlace) place = places->len == 1 ? g_ptr_array_steal_index(places, 0) : NULL;
    if (!place)
        vt_error_set(error, VT_ERROR_USER, "'%s' is not one job", id);
    else if (g_strcmp0(place->owner, g_get_user_name()) != 0)
        vt_error_set(error, VT_ERROR_USER, "job '%s' is not yours", place->id);
    else if (!place->has_request)
        vt_error_set(error, VT_ERROR_USER, "job '%s' is none in virtual machines", place->id);
    else if (!place->is_running || !place->node)
        vt_error_set(error, VT_ERROR_USER, "job '%s' does not run: its state is '%s'", place->id,
                     place->state ? place->state : "?");
    else if (vt_cluster_is_here(cluster, place->node))
        vt_error_set(error, VT_ERROR_USER, "job '%s' has no virtual machine here that is yours",
                     place->id);
    else
        return g_steal_pointer(&place);
    return NULL;
}

VtLiveJob *vt_afar_find(const char *id, GError **error)
{
    g_autoptr(GError) problem = NULL;
    g_autoptr(VtCluster) cluster = vt_cluster_load(&problem);
    if (!cluster) {
        vt_error_set(error, VT_ERROR_USER, "no job '%s' lives here%s%s%s", id,
                     problem ? ", and other nodes are not asked: " : "",
                     problem ? problem->message : "", problem ? "" : " (see 'vmgr list')");
        return NULL;
    }
    g_autoptr(VtPlace) place = find_place(cluster, id, error);
    VtLiveJob *job = place ? g_new0(VtLiveJob, 1) : NULL;
    if (job)
        *job = (VtLiveJob){.slot = -1,
                           .is_batch = true,
                           .id = g_steal_pointer(&place->id),
                           .node = g_steal_pointer(&place->node)};
    return job;
}

int vt_afar_connect(const char *node, GError **error)
{
    g_autoptr(VtCluster) cluster = vt_cluster_load(error);
    vt_autofd door = cluster ? vt_cluster_start(cluster, node, error) : -1;
    return door >= 0 && vt_cluster_wait(door, node, error) ? vt_fd_steal(&door) : -1;
}

bool vt_afar_wait_gone(const VtLiveJob *job, GError **error)
{
    gint64 deadline_us = g_get_monotonic_time() + GONE_MS * G_GINT64_CONSTANT(1000);
    g_autoptr(VtCluster) cluster = vt_cluster_load(error);
    while (cluster) {
        g_autoptr(GError) problem = NULL;
        vt_autofd door = vt_cluster_start(cluster, job->node, &problem);
        g_autoptr(GPtrArray) jobs = door < 0 ? NULL : read_jobs(door, job->node, &problem);
        if (jobs ? !has_job(jobs, job->id) : problem->code == VT_ERROR_USER)
            return true;
        if (g_get_monotonic_time() > deadline_us)
            return vt_error_set(error, VT_ERROR_HOST, "job '%s' may not have ended: %s", job->id,
                                jobs ? "it is still there" : problem->message);
        g_usleep(RETRY_US);
    }
    return false;
}
