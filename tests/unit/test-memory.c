/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-memory.c - what a job takes of its machine, as a model. */
#include "job/memory.h"

#define EMULATED true
#define KVM false

static const struct {
    VtMemoryShape shape;
    guint64 total;
    guint tasks;
} rows[] = {
    {{1, 256, 1, 1, EMULATED, 0, false, false}, 256 + 98 + 256 + 4 + 2 + 64 + 16, 8 + 68 + 1 + 80},
    {{1, 256, 1, 1, KVM, 0, false, false}, 256 + 98 + 2 + 64 + 16, 8 + 68 + 1 + 80},
    {{1, 1024, 7, 2, EMULATED, 0, false, false},
     1024 + 110 + 256 + 16 * 7 + 6 + 128 + 16,
     8 + 68 + 7 + 160},
    /* A disk in memory, of a size of its own or as large as the RAM. */
    {{1, 1024, 1, 1, KVM, 500, false, false}, 1024 + 500 + 98 + 4 + 64 + 16, 8 + 68 + 1 + 80},
    {{1, 1024, 1, 1, KVM, 0, true, false}, 1024 + 1024 + 98 + 4 + 64 + 16, 8 + 68 + 1 + 80},
    /* Three guests: each part three times, but the engine's. */
    {{3, 1024, 1, 1, EMULATED, 500, false, false},
     3 * (1024 + 500 + 98 + 256 + 16 + 4 + 64) + 16 + 4,
     8 + 3 * (68 + 1 + 80)},
    /* A way out for each of two. */
    {{2, 1024, 1, 1, KVM, 0, false, true},
     2 * (1024 + 98 + 4 + 64 + 96) + 16 + 2,
     8 + 2 * (68 + 1 + 80 + 2)},
    /* What is below a whole share counts as one; nothing overflows. */
    {{1, VT_RAM_MIB_MIN, 1, 0, EMULATED, 0, false, false}, 96 + 98 + 256 + 2 + 1 + 16, 8 + 68 + 1},
    {{1, VT_RAM_MIB_MAX, 255, 2, EMULATED, VT_RAM_MIB_MAX, false, false},
     16777216ull * 2 + 96 + 510 + 256 + 262144ull * 255 + 32768 * 3 + 128 + 16,
     8 + 68 + 255 + 160},
};

static void test_rows(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtMemory memory = vt_memory_of(&rows[i].shape);
        g_test_message("row %zu", i);
        g_assert_cmpuint(memory.total, ==, rows[i].total);
        g_assert_cmpuint((guint64)memory.ram + memory.scratch + vt_memory_overhead(&memory), ==,
                         memory.total);
        g_assert_cmpuint(vt_memory_tasks(&rows[i].shape), ==, rows[i].tasks);
    }
}

/* The largest RAM fits, one MiB more does not, and more memory never means less RAM. */
static void test_largest(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtMemoryShape shape = rows[i].shape;
        guint before = 0;
        for (guint64 total = 64; total <= 8192; total += 61) {
            shape.ram_mib = vt_memory_largest_ram(&rows[i].shape, total);
            g_assert_cmpuint(shape.ram_mib, >=, before);
            before = shape.ram_mib;
            if (shape.ram_mib > 0)
                g_assert_cmpuint(vt_memory_of(&shape).total, <=, total);
            shape.ram_mib = MAX(shape.ram_mib + 1, VT_RAM_MIB_MIN);
            g_assert_cmpuint(vt_memory_of(&shape).total, >, total);
        }
    }
}

static void test_edges(void)
{
    const VtMemoryShape shape = {1, 1024, 1, 1, EMULATED, 0, false};
    VtMemoryShape least = shape;
    least.ram_mib = VT_RAM_MIB_MIN;
    guint64 total = vt_memory_of(&least).total;
    g_assert_cmpuint(vt_memory_largest_ram(&shape, total), ==, VT_RAM_MIB_MIN);
    g_assert_cmpuint(vt_memory_largest_ram(&shape, total - 1), ==, 0);
    g_assert_cmpuint(vt_memory_largest_ram(&shape, 0), ==, 0);
    g_assert_cmpuint(vt_memory_largest_ram(&shape, G_MAXUINT64), ==, VT_RAM_MIB_MAX);
}

static void test_job(void)
{
    static const struct {
        VtImage image;
        VtAccel accel;
        guint servers;
        bool is_emulated;
    } jobs[] = {
        {VT_IMAGE_HOST, VT_ACCEL_TCG, 2, true},
        {VT_IMAGE_TINY, VT_ACCEL_TCG, 1, true},
        {VT_IMAGE_DISK, VT_ACCEL_KVM, 1, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(jobs); i++) {
        const VtJob job = {.image = jobs[i].image,
                           .accel = jobs[i].accel,
                           .ram_mib = 300,
                           .vcpus = 3,
                           .scratch_mib = 40};
        VtMemoryShape shape = vt_memory_shape(&job);
        g_assert_cmpuint(shape.ram_mib, ==, 300);
        g_assert_cmpuint(shape.vcpus, ==, 3);
        g_assert_cmpuint(shape.scratch_mib, ==, 40);
        g_assert_cmpuint(shape.servers, ==, jobs[i].servers);
        g_assert_cmpint(shape.is_emulated, ==, jobs[i].is_emulated);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/memory/rows", test_rows);
    g_test_add_func("/memory/largest", test_largest);
    g_test_add_func("/memory/edges", test_edges);
    g_test_add_func("/memory/job", test_job);
    return g_test_run();
}
