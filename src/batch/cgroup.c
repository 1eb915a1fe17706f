/* SPDX-License-Identifier: Apache-2.0 */
/* batch/cgroup.c - what the cgroups that this process is in allow it. */
#include "batch/cgroup.h"

#include <stdbool.h>
#include <string.h>

#include "base/size.h"

#define QUOTA_CORES_MAX 65536u

/* (transfer full), without white space around it; NULL if it can't be read. */
static char *read_file(const char *root, const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(root, folder, name, NULL);
    char *text = NULL;
    return g_file_get_contents(path, &text, NULL, NULL) ? g_strstrip(text) : NULL;
}

/* "max" is no limit; version 1's, a huge number, is none either. */
static void apply_memory(VtCgroup *cgroup, const char *text)
{
    guint64 bytes;
    if (text && vt_number_parse(text, &bytes))
        cgroup->memory_mib = MIN(cgroup->memory_mib, bytes / VT_MIB);
}

/* Microseconds of processor time in each period; "max" and -1 are no limit. */
static void apply_quota(VtCgroup *cgroup, const char *quota, const char *period)
{
    guint64 time, each;
    if (!quota || !period || !vt_number_parse(quota, &time) || !vt_number_parse(period, &each) ||
        each == 0)
        return;
    guint cores = (guint)CLAMP(time / each + (time % each > 0), 1, QUOTA_CORES_MAX);
    if (cgroup->quota_cores == 0 || cores < cgroup->quota_cores)
        cgroup->quota_cores = cores;
}

/* What one cgroup says, of whichever version it is. */
static void apply_folder(VtCgroup *cgroup, const char *root, const char *folder)
{
    g_autofree char *memory = read_file(root, folder, "memory.max");
    g_autofree char *memory_v1 = read_file(root, folder, "memory.limit_in_bytes");
    g_autofree char *cpu = read_file(root, folder, "cpu.max");
    g_autofree char *quota_v1 = read_file(root, folder, "cpu.cfs_quota_us");
    g_autofree char *period_v1 = read_file(root, folder, "cpu.cfs_period_us");
    g_auto(GStrv) words = cpu ? g_strsplit(cpu, " ", 2) : NULL;
    apply_memory(cgroup, memory);
    apply_memory(cgroup, memory_v1);
    apply_quota(cgroup, quota_v1, period_v1);
    if (words && words[0])
        apply_quota(cgroup, words[0], words[1]);
}

static bool has_word(const char *list, const char *word)
{
    g_auto(GStrv) words = g_strsplit(list, ",", -1);
    return g_strv_contains((const char *const *)words, word);
}

/* Our path in the hierarchy of a controller of version 1, or ("") of version 2, by lines
 * "N:CONTROLLERS:PATH" of /proc/self/cgroup. (transfer full) or NULL */
static char *own_path(const char *cgroups, const char *controller)
{
    g_auto(GStrv) lines = g_strsplit(cgroups, "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) fields = g_strsplit(*line, ":", 3);
        if (g_strv_length(fields) == 3 &&
            (*controller ? has_word(fields[1], controller) : !*fields[1]))
            return g_strdup(fields[2]);
    }
    return NULL;
}

/* The limits from our cgroup up to what is mounted at `mount`, whose root there is `top`. */
static void apply_hierarchy(VtCgroup *cgroup, const char *root, const char *mount, const char *top,
                            const char *own)
{
    gsize length = strcmp(top, "/") == 0 ? 0 : strlen(top);
    const char *below = strncmp(own, top, length) == 0 ? own + length : own;
    g_autofree char *folder = g_strdup(below);
    for (;;) {
        g_autofree char *path = g_build_filename(mount, folder, NULL);
        apply_folder(cgroup, root, path);
        char *slash = strrchr(folder, '/');
        if (!slash)
            return;
        *slash = '\0';
    }
}

static void apply_mount(VtCgroup *cgroup, const char *root, const char *line, const char *cgroups)
{
    static const char *const controllers[] = {"memory", "cpu"};
    const char *dash = strstr(line, " - ");
    g_auto(GStrv) fields = g_strsplit(line, " ", 6);
    g_auto(GStrv) rest = g_strsplit(dash ? dash + 3 : "", " ", 3);
    if (g_strv_length(fields) < 6 || g_strv_length(rest) < 3)
        return;
    if (strcmp(rest[0], "cgroup2") == 0) {
        g_autofree char *own = own_path(cgroups, "");
        if (own)
            apply_hierarchy(cgroup, root, fields[4], fields[3], own);
    }
    for (gsize i = 0; strcmp(rest[0], "cgroup") == 0 && i < G_N_ELEMENTS(controllers); i++) {
        g_autofree char *own = own_path(cgroups, controllers[i]);
        if (own && has_word(rest[2], controllers[i]))
            apply_hierarchy(cgroup, root, fields[4], fields[3], own);
    }
}

VtCgroup vt_cgroup_load(const char *root)
{
    VtCgroup cgroup = {.memory_mib = G_MAXUINT64};
    g_autofree char *cgroups = read_file(root, "proc/self", "cgroup");
    g_autofree char *mounts = read_file(root, "proc/self", "mountinfo");
    g_auto(GStrv) lines = g_strsplit(mounts && cgroups ? mounts : "", "\n", -1);
    for (char **line = lines; *line; line++)
        apply_mount(&cgroup, root, *line, cgroups);
    return cgroup;
}
