/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-cputime.c - the processor time of processes, and when to look again. */
#include "engine/cputime.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_wait(void)
{
    static const struct {
        guint limit_s;
        guint64 used_us;
        guint threads, wait_ms;
    } rows[] = {
        {10, 0, 1, 10000},
        {10, 0, 4, 2500},
        {10, 0, 0, 10000},
        {10, 9 * G_USEC_PER_SEC, 4, 250},
        {10, 9999 * 1000, 4, 100},
        {10, 9999999, 1, 100},
        {10, 10 * G_USEC_PER_SEC, 1, 0},
        {10, G_MAXUINT64, 1, 0},
        {G_MAXINT, 0, 1, G_MAXINT},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_cmpuint(vt_cputime_wait_ms(rows[i].limit_s, rows[i].used_us, rows[i].threads), ==,
                         rows[i].wait_ms);
}

/* A child that has used at least `ms` of processor time, and is told of here; it waits for its end. */
static pid_t start_busy(rlim_t ms)
{
    int pair[2];
    char byte;
    g_assert_cmpint(pipe(pair), ==, 0);
    pid_t pid = fork();
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        struct rusage used;
        do
            getrusage(RUSAGE_SELF, &used);
        while ((rlim_t)used.ru_utime.tv_sec * 1000 + (rlim_t)used.ru_utime.tv_usec / 1000 +
                   (rlim_t)used.ru_stime.tv_sec * 1000 + (rlim_t)used.ru_stime.tv_usec / 1000 <
               ms);
        (void)!write(pair[1], "x", 1);
        pause();
    }
    g_assert_cmpint(read(pair[0], &byte, 1), ==, 1);
    close(pair[0]);
    close(pair[1]);
    return pid;
}

/* What lives and what has ended both count, and nothing twice. */
static void test_used(void)
{
    pid_t pids[] = {-1, start_busy(200), 0};
    guint64 before = vt_cputime_used(NULL, 0);
    guint64 alive = vt_cputime_used(pids, G_N_ELEMENTS(pids));
    g_assert_cmpuint(alive, >=, before + 190000);
    g_assert_cmpuint(alive, <, before + 10 * G_USEC_PER_SEC);
    kill(pids[1], SIGKILL);
    waitpid(pids[1], NULL, 0);
    guint64 after = vt_cputime_used(pids, G_N_ELEMENTS(pids));
    g_assert_cmpuint(after, >=, before + 190000);
    g_assert_cmpuint(after, <, alive + 190000);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cputime/wait", test_wait);
    g_test_add_func("/cputime/used", test_used);
    return g_test_run();
}
