/* SPDX-License-Identifier: Apache-2.0 */
/* tests/system/qsub-stub.c - stands in qsub's place and records what it was started with: argv.N,
 * env and stdin in the folder QSUB_FOLDER; prints a job id and ends with QSUB_STATUS. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int create(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
}

/* Each string with its NUL. */
static int record(const char *folder, const char *name, char **strings)
{
    int fd = create(folder, name);
    for (; fd >= 0 && *strings; strings++)
        if (write(fd, *strings, strlen(*strings) + 1) < 0)
            return -1;
    return fd < 0 ? -1 : close(fd);
}

int main(int argc, char **argv, char **envp)
{
    const char *folder = getenv("QSUB_FOLDER"), *status = getenv("QSUB_STATUS");
    char buffer[65536];
    ssize_t n;
    if (argc < 1 || !folder || record(folder, "argv", argv) < 0 || record(folder, "env", envp) < 0)
        return 99;
    int fd = create(folder, "stdin");
    while ((n = read(STDIN_FILENO, buffer, sizeof buffer)) > 0)
        if (write(fd, buffer, (size_t)n) != n)
            return 99;
    puts("17.server");
    return status ? atoi(status) : 0;
}
