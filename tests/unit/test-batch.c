/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-batch.c - what a local job is given. */
#include <string.h>

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
        VtHost host = {rows[i].cores, rows[i].memory_mib};
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
    g_test_add_func("/batch/host", test_host);
    return g_test_run();
}
