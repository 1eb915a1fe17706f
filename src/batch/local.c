/* SPDX-License-Identifier: Apache-2.0 */
/* batch/local.c - what a job without a batch system is given. */
#include "batch/local.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/cgroup.h"

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

char *vt_host_name(void)
{
    char name[HOST_NAME_MAX + 1] = "";
    gethostname(name, sizeof name - 1);
    name[strcspn(name, ".")] = '\0';
    return g_strdup(name);
}

bool vt_host_load(VtHost *host, GError **error)
{
    VtCgroup cgroup = vt_cgroup_load("/");
    host->cores = count_cores();
    host->quota_cores = cgroup.quota_cores;
    if (!read_meminfo(&host->memory_mib, error))
        return false;
    host->is_memory_cgroups = cgroup.memory_mib < host->memory_mib;
    host->memory_mib = MIN(host->memory_mib, cgroup.memory_mib);
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
    if (request->ppn == 0) {
        guint cores = host->cores > reserve ? host->cores - (guint)reserve : 1;
        return host->quota_cores > 0 ? MIN(cores, host->quota_cores) : cores;
    }
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
        .is_memory_cgroups = host->is_memory_cgroups,
        .quota_cores = host->quota_cores,
    };
}
