/* SPDX-License-Identifier: Apache-2.0 */
/* agent/group.c - kill(), and what the kernel leaves out of it. */
#include "agent/group.h"

#include "agent/directory.h"
#include "agent/fd.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A line of numbers: 52 fields of at most 21 bytes, and a name. */
enum { STAT_MAX = 1200 };

/* Fields of /proc/PID/stat behind the name, counted from 0 (proc(5): 5, 32, 33 and 34). */
enum { FIELD_GROUP = 2, FIELD_BLOCKED = 29, FIELD_IGNORED = 30, FIELD_CAUGHT = 31, FIELDS };

/* Members are looked at in the order of their numbers, and most of what one of them forks
 * meanwhile comes later in it; the second look is for the rest. */
enum { LOOKS = 2 };

bool group_stat_stops(const char *stat, pid_t group)
{
    const char *at = strrchr(stat, ')'); /* the name can hold anything else */
    unsigned long long fields[FIELDS] = {0};

    for (int i = 0; i < FIELDS && at; i++) {
        at = strchr(at, ' ');
        if (at)
            fields[i] = strtoull(++at, NULL, 10);
    }
    return at && fields[FIELD_GROUP] == (unsigned long long)group &&
           !((fields[FIELD_BLOCKED] | fields[FIELD_IGNORED] | fields[FIELD_CAUGHT]) &
             1ull << (SIGTSTP - 1));
}

static bool would_stop(const char *pid, pid_t group)
{
    char path[64], stat[STAT_MAX + 1];
    ssize_t size;

    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    auto_fd fd = open(path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? -1 : read(fd, stat, STAT_MAX);
    if (size <= 0) /* it has ended */
        return false;
    stat[size] = '\0';
    return group_stat_stops(stat, group);
}

static void stop_members(pid_t group)
{
    Directory directory;
    const char *name;

    if (directory_open(&directory, "/proc") < 0)
        return;
    while ((name = directory_next(&directory)))
        if (name[0] >= '1' && name[0] <= '9' && would_stop(name, group))
            kill((pid_t)atoi(name), SIGSTOP);
    directory_close(&directory);
}

void group_signal(pid_t group, int number)
{
    kill(-group, number);
    for (int i = 0; number == SIGTSTP && i < LOOKS; i++)
        stop_members(group);
}
