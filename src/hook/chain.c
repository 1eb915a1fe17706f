/* SPDX-License-Identifier: Apache-2.0 */
/* hook/chain.c - the site's own scripts: same arguments, environment and descriptors. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hook/hook.h"

#define NOT_EXECUTED 126

int hook_chain(const Hook *hook)
{
    char *first = hook->argv[0];
    hook->argv[0] = (char *)hook->site;
    execve(hook->site, hook->argv, environ);
    hook->argv[0] = first;
    if (errno == ENOENT)
        return 0;
    fprintf(stderr, "vtorque-hook: cannot execute '%s': %s\n", hook->site, strerror(errno));
    return NOT_EXECUTED;
}

int hook_run_site(const Hook *hook)
{
    int status;
    if (access(hook->site, F_OK) < 0)
        return 0;
    pid_t pid = fork();
    if (pid < 0)
        return 1;
    if (pid == 0)
        _exit(hook_chain(hook));
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return 1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
