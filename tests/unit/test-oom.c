/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-oom.c - how an engine learns that the kernel has killed for want of memory. */
#include "engine/oom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

static const struct {
    const char *text;
    guint64 kills;
} rows[] = {
    {"", 0},
    {"oom_kill_disable 0\nunder_oom 0\noom_kill 0\n", 0},
    {"oom_kill_disable 1\nunder_oom 0\noom_kill 7\n", 7},
    {"low 0\nhigh 0\nmax 94\noom 3\noom_kill 2\noom_group_kill 0\n", 2},
    {"oom_kill 12", 12},
    {"oom_kill", 0},
    {"oom_kill \n", 0},
    {"xoom_kill 5\n", 0},
    {"oom_group_kill 5\n", 0},
};

static void test_parse(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("row %zu", i);
        g_assert_cmpuint(vt_oom_parse(rows[i].text), ==, rows[i].kills);
    }
}

static void put(const char *folder, const char *name, const char *text)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    g_assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

/* Only what comes after the job's birth is the job's. */
static void test_kills(void)
{
    g_autofree char *folder = g_dir_make_tmp("vtt-oom-XXXXXX", NULL);
    g_autofree char *limits =
        g_strdup_printf("memory_mib=700\ntasks=9\nevents=%s/memory.events\n", folder);
    vt_autofd dir = open(folder, O_RDONLY | O_DIRECTORY);
    VtOom oom;
    put(folder, "limits", limits);
    put(folder, "memory.events", "oom 1\noom_kill 3\n");
    vt_oom_open(&oom, dir);
    g_assert_cmpuint(oom.memory_mib, ==, 700);
    g_assert_false(vt_oom_has_killed(&oom));
    put(folder, "memory.events", "oom 2\noom_kill 4\n");
    g_assert_true(vt_oom_has_killed(&oom));
    vt_fd_clear(&oom.events);
    vt_oom_settle(&oom);
    /* The leaf is gone, or there was none. */
    put(folder, "limits", "memory_mib=0\ntasks=0\nevents=\n");
    vt_oom_open(&oom, dir);
    g_assert_cmpuint(oom.memory_mib, ==, 0);
    g_assert_cmpint(oom.events, ==, -1);
    g_assert_false(vt_oom_has_killed(&oom));
    vt_oom_settle(&oom);
    unlinkat(dir, "limits", 0);
    vt_oom_open(&oom, dir);
    g_assert_cmpint(oom.events, ==, -1);
    g_assert_false(vt_oom_has_killed(&oom));
    vt_oom_settle(&oom);
    unlinkat(dir, "memory.events", 0);
    rmdir(folder);
}

static int own_score(void)
{
    g_autofree char *text = NULL;
    g_assert_true(g_file_get_contents("/proc/self/oom_score_adj", &text, NULL, NULL));
    return atoi(text);
}

static void test_scores(void)
{
    VtOom oom;
    int before = own_score();
    vt_oom_open(&oom, -1);
    g_assert_cmpint(oom.own_score, ==, before);
    vt_oom_raise(&oom, before + 100);
    g_assert_cmpint(own_score(), ==, before + 100);
    /* Never below what it was born with: that would need a right. */
    vt_oom_raise(&oom, before - 100);
    g_assert_cmpint(own_score(), ==, before);
    vt_oom_raise(&oom, VT_OOM_SCORE_MACHINE);
    vt_oom_restore(&oom);
    g_assert_cmpint(own_score(), ==, before);
    vt_oom_settle(&oom);
    vt_oom_raise(&oom, before + 100);
    g_assert_cmpint(own_score(), ==, before);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/oom/parse", test_parse);
    g_test_add_func("/oom/kills", test_kills);
    g_test_add_func("/oom/scores", test_scores);
    return g_test_run();
}
