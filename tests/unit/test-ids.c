/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-ids.c - the groups of a file server's user namespace: what fits, in what order. */
#include "share/ids.h"

#include <string.h>

typedef struct {
    const char *name;
    gid_t own, first;
    guint step, count; /* of the supplementary groups */
    const char *start; /* of the map */
    guint lines, left_out;
} Case;

static const Case cases[] = {
    {"none", 1000, 0, 1, 0, "1000 1000 1\n", 1, 0},
    {"neighbours", 1000, 1001, 1, 20, "1000 1000 21\n", 1, 0},
    {"apart", 1000, 2000, 2, 2, "1000 1000 1\n2000 2000 1\n2002 2002 1\n", 3, 0},
    {"own in a range", 1005, 1000, 1, 10, "1000 1000 10\n", 1, 0},
    {"own twice", 1000, 1000, 10, 2, "1000 1000 1\n1010 1010 1\n", 2, 0},
    {"root's group", 0, 5, 5, 1, "0 0 1\n5 5 1\n", 2, 0},
    {"300 of five digits", 60000, 70000, 2, 300, "60000 60000 1\n70000 70000 1\n", 292, 9},
    {"341 lines", 1, 10, 2, 400, "1 1 1\n10 10 1\n", 340, 61},
    {"1000 in one range", 60000, 70000, 1, 1000, "60000 60000 1\n70000 70000 1000\n", 2, 0},
    {"the last id", G_MAXUINT32 - 1, 0, 1, 2, "4294967294 4294967294 1\n0 0 2\n", 2, 0},
};

static void test_case(gconstpointer data)
{
    const Case *at = data;
    g_autofree gid_t *groups = g_new0(gid_t, at->count + 1);
    guint left_out;
    for (guint i = 0; i < at->count; i++)
        groups[at->count - 1 - i] = at->first + i * at->step;
    const VtOwner owner = {.gid = at->own, .groups = groups, .n_groups = at->count};
    g_autofree char *map = vt_gid_map(&owner, &left_out);
    g_auto(GStrv) lines = g_strsplit(map, "\n", -1);
    g_assert_cmpuint(strlen(map), <=, VT_GID_MAP_BYTES);
    g_assert_true(g_str_has_prefix(map, at->start));
    g_assert_cmpuint(g_strv_length(lines) - 1, ==, at->lines);
    g_assert_cmpuint(left_out, ==, at->left_out);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strconcat("/ids/gid-map/", cases[i].name, NULL);
        g_test_add_data_func(path, &cases[i], test_case);
    }
    return g_test_run();
}
