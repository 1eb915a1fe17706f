/* SPDX-License-Identifier: Apache-2.0 */
/* batch/local.c - what a job without a batch system is given. */
#include "batch/local.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"

#define CPUS_MAX 8192 /* kernels are built for at most this many */

static guint count_cores(void)
{
    guint cores = 0;
    cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
    if (set && sched_getaffinity(0, CPU_ALLOC_SIZE(CPUS_MAX), set) == 0)
        cores = (guint)CPU_COUNT_S(CPU_ALLOC_SIZE(CPUS_MAX), set);
    CPU_FREE(set);
    return MAX(cores, 1);
}

static bool read_meminfo(guint64 *memory_mib, GError **error)
{
    g_autofree char *text = NULL;
    unsigned long kib;
    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL) ||
        sscanf(text, "MemTotal: %lu kB", &kib) != 1)
        return vt_error_set(error, VT_ERROR_HOST, "cannot read MemTotal from '/proc/meminfo'");
    *memory_mib = kib / 1024;
    return true;
}

/* Lowers `memory_mib` to the limit in `file`, if there is one: "max" and v1's huge number are none.
 */
static void apply_limit(const char *file, guint64 *memory_mib)
{
    g_autofree char *text = NULL;
    guint64 bytes;
    if (!g_file_get_contents(file, &text, NULL, NULL))
        return;
    if (vt_number_parse(g_strstrip(text), &bytes))
        *memory_mib = MIN(*memory_mib, bytes / VT_MIB);
}

/* The limits of cgroup `path` below `root` and of all its ancestors: each of them binds. */
static void apply_limits(const char *root, const char *path, const char *name, guint64 *memory_mib)
{
    g_autofree char *folder = g_strdup(path);
    for (;;) {
        g_autofree char *file = g_build_filename(root, folder, name, NULL);
        apply_limit(file, memory_mib);
        char *slash = strrchr(folder, '/');
        if (!slash || !*folder)
            return;
        *slash = '\0';
    }
}

static bool has_controller(const char *controllers, const char *name)
{
    g_auto(GStrv) list = g_strsplit(controllers, ",", -1);
    return g_strv_contains((const char *const *)list, name);
}

/* Lines of /proc/self/cgroup: "0::PATH" (v2), "N:CONTROLLERS:PATH" (v1). */
static void apply_cgroups(guint64 *memory_mib)
{
    g_autofree char *text = NULL;
    if (!g_file_get_contents("/proc/self/cgroup", &text, NULL, NULL))
        return;
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, ":", 3);
        if (g_strv_length(fields) != 3)
            continue;
        if (strcmp(fields[0], "0") == 0 && !*fields[1])
            apply_limits("/sys/fs/cgroup", fields[2], "memory.max", memory_mib);
        else if (has_controller(fields[1], "memory"))
            apply_limits("/sys/fs/cgroup/memory", fields[2], "memory.limit_in_bytes", memory_mib);
    }
}

bool vt_host_load(VtHost *host, GError **error)
{
    host->cores = count_cores();
    if (!read_meminfo(&host->memory_mib, error))
        return false;
    apply_cgroups(&host->memory_mib);
    return true;
}

static guint64 allocate_memory(const VtHost *host, const VtLocalRequest *request,
                               const VtSettings *settings, GPtrArray *notes)
{
    guint64 reserve = vt_settings_get_number(settings, VT_SETTING_HOST_OS_RAM_MB);
    if (request->memory_mib == 0)
        return host->memory_mib - MIN(reserve, host->memory_mib / 2);
    if (request->memory_mib > host->memory_mib)
        g_ptr_array_add(notes, g_strdup_printf("-l mem= is more than the %" G_GUINT64_FORMAT
                                               "M of this machine",
                                               host->memory_mib));
    return MIN(request->memory_mib, host->memory_mib);
}

static guint allocate_cores(const VtHost *host, const VtLocalRequest *request,
                            const VtSettings *settings, GPtrArray *notes)
{
    guint64 reserve = vt_settings_get_number(settings, VT_SETTING_HOST_OS_CORE_COUNT);
    if (request->ppn == 0)
        return host->cores > reserve ? host->cores - (guint)reserve : 1;
    if (request->ppn > host->cores)
        g_ptr_array_add(
            notes, g_strdup_printf("-l nodes=1:ppn=%u is more than the %u cores of this machine",
                                   request->ppn, host->cores));
    return request->ppn;
}

VtAllocation vt_local_allocate(const VtHost *host, const VtLocalRequest *request,
                               const VtSettings *settings, GPtrArray *notes)
{
    return (VtAllocation){
        .cores = allocate_cores(host, request, settings, notes),
        .memory_mib = allocate_memory(host, request, settings, notes),
        .host_cores = host->cores,
        .host_memory_mib = host->memory_mib,
        .is_cores_asked = request->ppn > 0,
        .is_memory_asked = request->memory_mib > 0,
    };
}
