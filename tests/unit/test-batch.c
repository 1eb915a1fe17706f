/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-batch.c - what a local job is given. */
#include <string.h>

#include "batch/cgroup.h"
#include "batch/local.h"

static const struct {
    guint cores;
    guint64 memory_mib;
    guint ppn;
    guint64 mem_mib;
    const char *site;
    guint given_cores;
    guint64 given_mib;
    guint notes;
} rows[] = {
    {8, 16384, 0, 0, "", 7, 14336, 0},
    {8, 16384, 0, 0, "HOST_OS_CORE_COUNT=3\nHOST_OS_RAM_MB=1000\n", 5, 15384, 0},
    {8, 16384, 0, 0, "HOST_OS_CORE_COUNT=0\nHOST_OS_RAM_MB=0\n", 8, 16384, 0},
    {1, 16384, 0, 0, "", 1, 14336, 0},
    {2, 2048, 0, 0, "HOST_OS_CORE_COUNT=9\n", 1, 1024, 0},
    {2, 1000, 0, 0, "", 1, 500, 0},
    {2, 4096, 2, 512, "", 2, 512, 0},
    {2, 4096, 3, 0, "", 3, 2048, 1},
    {2, 4096, 0, 4097, "", 1, 4096, 1},
};

static void test_allocate(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(VtSettings) settings =
            vt_settings_parse(rows[i].site, strlen(rows[i].site), "x.conf", NULL);
        VtHost host = {.cores = rows[i].cores, .memory_mib = rows[i].memory_mib};
        VtLocalRequest request = {rows[i].ppn, rows[i].mem_mib};
        VtAllocation given = vt_local_allocate(&host, &request, settings, notes);
        g_test_message("row %zu", i);
        g_assert_cmpuint(given.cores, ==, rows[i].given_cores);
        g_assert_cmpuint(given.memory_mib, ==, rows[i].given_mib);
        g_assert_cmpuint(given.host_cores, ==, rows[i].cores);
        g_assert_cmpuint(given.host_memory_mib, ==, rows[i].memory_mib);
        g_assert_cmpint(given.is_memory_asked, ==, rows[i].mem_mib > 0);
        g_assert_cmpuint(notes->len, ==, rows[i].notes);
    }
}

/* Time of so many cores: what is not asked for is cut to it. */
static void test_quota(void)
{
    static const struct {
        guint quota, ppn, given;
    } quotas[] = {{0, 0, 7}, {2, 0, 2}, {9, 0, 7}, {2, 4, 4}};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(VtSettings) settings = vt_settings_parse("", 0, "x.conf", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(quotas); i++) {
        VtHost host = {.cores = 8, .memory_mib = 4096, .quota_cores = quotas[i].quota};
        VtLocalRequest request = {quotas[i].ppn, 0};
        VtAllocation given = vt_local_allocate(&host, &request, settings, notes);
        g_assert_cmpuint(given.cores, ==, quotas[i].given);
        g_assert_cmpuint(given.quota_cores, ==, quotas[i].quota);
    }
}

/* Machines as a process sees them, in a folder. */
static const struct {
    const char *name, *cgroup, *mountinfo;
    const char *files[8][2];
    guint64 memory_mib; /* 0: no limit */
    guint quota;
} machines[] = {
    {"none", "", "", {{NULL}}, 0, 0},
    {"v2, no limit",
     "0::/user.slice/a\n",
     "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     {{"sys/fs/cgroup/user.slice/a/memory.max", "max\n"},
      {"sys/fs/cgroup/user.slice/a/cpu.max", "max 100000\n"}},
     0,
     0},
    {"v2, the ancestor's is lower",
     "0::/user.slice/a\n",
     "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
     {{"sys/fs/cgroup/user.slice/a/memory.max", "1073741824\n"},
      {"sys/fs/cgroup/user.slice/memory.max", "536870912\n"},
      {"sys/fs/cgroup/user.slice/a/cpu.max", "150000 100000\n"},
      {"sys/fs/cgroup/user.slice/cpu.max", "400000 100000\n"}},
     512,
     2},
    {"v1",
     "4:memory:/job/7\n3:cpu,cpuacct:/job\n1:name=systemd:/x\n",
     "34 30 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
     "31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n",
     {{"sys/fs/cgroup/memory/job/7/memory.limit_in_bytes", "2147483648\n"},
      {"sys/fs/cgroup/memory/job/memory.limit_in_bytes", "9223372036854771712\n"},
      {"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "50000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n"},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
      {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}},
     2048,
     1},
    {"v1 beside v2",
     "4:memory:/job\n0::/\n",
     "34 30 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
     "40 30 0:37 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
     {{"sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1048576000\n"},
      {"sys/fs/cgroup/unified/memory.max", "10485760\n"}},
     10,
     0},
    /* A container that sees its own part of the hierarchy alone. */
    {"v1, mounted from below",
     "4:memory:/docker/7/job\n",
     "34 30 0:31 /docker/7 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
     {{"sys/fs/cgroup/memory/job/memory.limit_in_bytes", "1073741824\n"},
      {"sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"}},
     512,
     0},
    {"garbage",
     "x\n::::\n0::\n4:memory\n",
     "34\n - cgroup2\n1 2 3 4 5 6 - cgroup2 x y\n40 30 0:37 / /c rw - cgroup2 cgroup2 rw\n",
     {{"c/memory.max", "-5\n"}, {"c/cpu.max", "100000 0\n"}},
     0,
     0},
};

static void put_file(const char *root, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(root, name, NULL);
    g_autofree char *folder = g_path_get_dirname(path);
    g_assert_cmpint(g_mkdir_with_parents(folder, 0755), ==, 0);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
}

static void test_cgroups(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(machines); i++) {
        g_autofree char *root = g_dir_make_tmp("vtt-batch-XXXXXX", NULL);
        put_file(root, "proc/self/cgroup", machines[i].cgroup);
        put_file(root, "proc/self/mountinfo", machines[i].mountinfo);
        for (gsize k = 0; machines[i].files[k][0]; k++)
            put_file(root, machines[i].files[k][0], machines[i].files[k][1]);
        VtCgroup cgroup = vt_cgroup_load(root);
        g_test_message("%s", machines[i].name);
        g_assert_cmpuint(cgroup.memory_mib, ==,
                         machines[i].memory_mib ? machines[i].memory_mib : G_MAXUINT64);
        g_assert_cmpuint(cgroup.quota_cores, ==, machines[i].quota);
        const char *const argv[] = {"rm", "-r", root, NULL};
        g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                                   NULL, NULL, NULL));
    }
}

static void test_host(void)
{
    VtHost host;
    GError *error = NULL;
    g_assert_true(vt_host_load(&host, &error));
    g_assert_no_error(error);
    g_assert_cmpuint(host.cores, >=, 1);
    g_assert_cmpuint(host.memory_mib, >=, 1);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/batch/allocate", test_allocate);
    g_test_add_func("/batch/quota", test_quota);
    g_test_add_func("/batch/cgroups", test_cgroups);
    g_test_add_func("/batch/host", test_host);
    return g_test_run();
}
