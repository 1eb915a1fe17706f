/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-leaf.c - leaves below cgroups that a starter names, and what is said of limits. */
#include "keeper/leaf.h"

#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <string.h>

#include "base/fd.h"

/* A cgroup that is none, or leads out of its hierarchy, is never used. */
static void test_named(void)
{
    static const struct {
        const char *cgroup;
        int err;
    } rows[] = {
        {"", -EINVAL},        {"relative", -EINVAL}, {"/..", -EINVAL},
        {"/a/../b", -EINVAL}, {"/a/..", -EINVAL},    {"/vtorque-no-such-cgroup", -ENOENT},
    };
    vt_autofd root = open("/", O_PATH | O_CLOEXEC);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        Leaf leaf;
        const LeafWish wish = {.cgroup = rows[i].cgroup, .memory = 1 << 20, .tasks = 1};
        g_test_message("row %zu", i);
        g_assert_cmpint(leaf_make(root, 255, &wish, &leaf), ==, rows[i].err);
        g_assert_cmpint(leaf.memory, ==, -1);
        leaf_remove(&leaf);
    }
    g_autofree char *longest = g_strnfill(LEAF_PATH_MAX, 'x');
    Leaf leaf;
    longest[0] = '/';
    g_assert_cmpint(leaf_make(root, 255, &(LeafWish){.cgroup = longest}, &leaf), ==, -EINVAL);
}

/* Below the starter's own cgroup nothing is an error: where there is no leaf, there is none. */
static void test_own(void)
{
    vt_autofd root = open("/", O_PATH | O_CLOEXEC);
    Leaf leaf;
    const LeafWish wish = {.memory = 64 << 20, .tasks = 10};
    g_assert_cmpint(leaf_make(root, 255, &wish, &leaf), ==, 0);
    g_assert_cmpint(leaf.count, <=, LEAVES_MAX);
    for (int i = 0; i < leaf.count; i++)
        g_assert_true(leaf.places[i].is_made &&
                      g_file_test(leaf.places[i].path, G_FILE_TEST_IS_DIR));
    Leaf before = leaf;
    leaf_remove(&leaf);
    for (int i = 0; i < before.count; i++)
        g_assert_false(g_file_test(before.places[i].path, G_FILE_TEST_EXISTS));
}

/* The same slot below another root has leaves of its own, and those of a killed keeper are taken. */
static void test_roots(void)
{
    const LeafWish wish = {.tasks = 10};
    vt_autofd one = open("/", O_PATH | O_CLOEXEC), two = open("/proc", O_PATH | O_CLOEXEC);
    Leaf first, second, again;
    g_assert_cmpint(leaf_make(one, 255, &wish, &first), ==, 0);
    g_assert_cmpint(leaf_make(two, 255, &wish, &second), ==, 0);
    g_assert_cmpint(leaf_make(one, 255, &wish, &again), ==, 0);
    g_assert_cmpint(first.count, ==, second.count);
    g_assert_cmpint(first.count, ==, again.count);
    for (int i = 0; i < first.count; i++) {
        g_assert_cmpstr(first.places[i].path, !=, second.places[i].path);
        g_assert_cmpstr(first.places[i].path, ==, again.places[i].path);
    }
    leaf_remove(&first);
    leaf_remove(&second);
    leaf_remove(&again);
}

/* A limit of a place that the newborn did not get into holds nobody. */
static void test_missed(void)
{
    const LeafWish wish = {.memory = 64 << 20, .tasks = 10};
    Leaf leaf = LEAF_NONE;
    char text[512];
    leaf.count = 2;
    leaf.memory = 0;
    leaf.tasks = 1;
    strcpy(leaf.events, "/x");
    strcpy(leaf.places[0].path, "/memory");
    strcpy(leaf.places[1].path, "/pids");
    leaf_miss(&leaf, 0);
    leaf_explain(&leaf, &wish, text, sizeof text);
    g_assert_cmpstr(text, ==,
                    "memory held to 64 MiB by /memory; processes and threads to 10 by /pids");
    leaf_miss(&leaf, 1 << 1);
    g_assert_cmpint(leaf.memory, ==, 0);
    g_assert_cmpint(leaf.tasks, ==, -1);
    leaf_miss(&leaf, 1 << 0);
    g_assert_cmpint(leaf.memory, ==, -1);
    g_assert_cmpstr(leaf.events, ==, "");
    leaf_explain(&leaf, &wish, text, sizeof text);
    g_assert_nonnull(strstr(text, "memory held to 64 MiB by nobody"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/leaf/named", test_named);
    g_test_add_func("/leaf/own", test_own);
    g_test_add_func("/leaf/roots", test_roots);
    g_test_add_func("/leaf/missed", test_missed);
    return g_test_run();
}
