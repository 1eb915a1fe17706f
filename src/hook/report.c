/* SPDX-License-Identifier: Apache-2.0 */
/* hook/report.c - why there is no job, where its user will look. */
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "hook/hook.h"

#define WRITE_MS 5000   /* for the submit directory's file system */
#define GROUPS_MAX 1024 /* of those that the batch system gave us with the user's */

/* Root's own group is left behind. */
static bool become_owner(const struct stat *script)
{
    gid_t groups[GROUPS_MAX];
    int n = getgroups(GROUPS_MAX, groups), kept = 0;
    for (int i = 0; i < n; i++)
        if (groups[i] != 0)
            groups[kept++] = groups[i];
    return script->st_uid != 0 && setgroups((size_t)kept, groups) == 0 &&
           setgid(script->st_gid) == 0 && setuid(script->st_uid) == 0 && setuid(0) < 0;
}

/* NAME.eNUMBER as the batch system would name it; NAME.eNUMBER-INDEX for a job of an array, whose
 * hooks see NAME-INDEX. False if that is no file name. */
static bool format_name(const Hook *hook, char *name, unsigned size)
{
    const char *id = hook->argv[1], *job = hook->argv[4];
    size_t number = strcspn(id, ".["), length = strlen(job);
    char index[32] = "";
    if (id[number] == '[')
        snprintf(index, sizeof index, "-%.*s", (int)strcspn(id + number + 1, "]"), id + number + 1);
    size_t end = strlen(index);
    if (end > 1 && length > end && strcmp(job + length - end, index) == 0)
        length -= end;
    int n = snprintf(name, size, "%.*s.e%.*s%s", (int)length, job, (int)number, id, index);
    return n > 0 && (unsigned)n < size && !strchr(name, '/');
}

/* In a child: a dead file server may hold it, and its owner may stop it. */
static void write_file(const Hook *hook, const struct stat *script, const char *text)
{
    char path[NAME_MAX + 1];
    const char *work_dir = getenv("PBS_O_WORKDIR");
    if (!work_dir || !become_owner(script) || chdir(work_dir) < 0)
        _exit(1);
    if (!format_name(hook, path, sizeof path))
        _exit(1);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    _exit(fd < 0 || write(fd, text, strlen(text)) < 0);
}

void hook_report(const Hook *hook, const char *reason)
{
    char text[4200];
    struct stat script;
    snprintf(text, sizeof text, "vTorque: the job was not run: %s\n", reason);
    for (char *at = text; *at; at++)
        if (((unsigned char)*at < 0x20 && *at != '\n') || *at == 0x7f)
            *at = '?';
    (void)!write(STDERR_FILENO, text, strlen(text));
    /* Torque does not deliver a job's files when its prologue has failed. */
    if (hook->argc < 9 || stat(hook->argv[8], &script) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        write_file(hook, &script, text);
    if (pid < 0)
        return;
    ctl_autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct pollfd dead = {.fd = pidfd, .events = POLLIN};
    if (pidfd < 0 || poll(&dead, 1, WRITE_MS) <= 0)
        kill(pid, SIGKILL);
    waitpid(pid, NULL, WNOHANG);
}
