/* SPDX-License-Identifier: Apache-2.0 */
/* engine/cputime.c - the processor time that a job's processes have used. */
#include "engine/cputime.h"

#include <sys/resource.h>
#include <time.h>

#define WAIT_MS_MIN 100

guint64 vt_cputime_used(const pid_t *pids, gsize n)
{
    struct rusage ended;
    struct timespec time;
    clockid_t clock;
    guint64 used = 0;
    if (getrusage(RUSAGE_CHILDREN, &ended) == 0)
        used = (guint64)(ended.ru_utime.tv_sec + ended.ru_stime.tv_sec) * G_USEC_PER_SEC +
               (guint64)(ended.ru_utime.tv_usec + ended.ru_stime.tv_usec);
    for (gsize i = 0; i < n; i++)
        if (pids[i] > 0 && clock_getcpuclockid(pids[i], &clock) == 0 &&
            clock_gettime(clock, &time) == 0)
            used += (guint64)time.tv_sec * G_USEC_PER_SEC + (guint64)time.tv_nsec / 1000;
    return used;
}

guint vt_cputime_wait_ms(guint limit_s, guint64 used_us, guint threads)
{
    guint64 limit_us = (guint64)limit_s * G_USEC_PER_SEC;
    if (used_us >= limit_us)
        return 0;
    guint64 wait_ms = (limit_us - used_us) / 1000 / MAX(threads, 1);
    return (guint)CLAMP(wait_ms, WAIT_MS_MIN, G_MAXINT);
}
