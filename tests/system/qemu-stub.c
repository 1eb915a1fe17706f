/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/system/qemu-stub.c - stands in QEMU's place and does what a QEMU that was taken over could.
 *
 * Neither arguments, environment nor files reach QEMU's place that a test could say more by: a test
 * binds a copy of this program over QEMU's whose `mode` it has filled in.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STEP (1024 * 1024)
/* As vm/machine.h has them. */
#define MONITOR_FD 3
#define SERIAL_FD 4
#define FLOOD_MIB 64

static volatile const char mode[64] =
    "MODE:                                                         ";

/* As much of a monitor as an engine asks for before a guest has spoken. */
static void greet(void)
{
    static const char greeting[] = "{\"QMP\": {}}\n", reply[] = "{\"return\": {}, \"id\": 1}\n";
    char command[256];
    (void)!write(MONITOR_FD, greeting, sizeof greeting - 1);
    (void)!read(MONITOR_FD, command, sizeof command);
    (void)!write(MONITOR_FD, reply, sizeof reply - 1);
}

static void eat(void)
{
    for (;;)
        mmap(NULL, STEP, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void flood(int fd)
{
    char line[4096];
    memset(line, 'x', sizeof line);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < FLOOD_MIB * 1024 / 4; i++)
        (void)!write(fd, line, sizeof line);
    /* For who watches: there is nothing else that the host can see. */
    prctl(PR_SET_NAME, "flooded");
}

/* As many children as there may be; says how many, and why no more. */
static int multiply(void)
{
    int born = 0;
    for (;;) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (pid == 0)
            for (;;)
                pause();
        born++;
    }
    dprintf(STDERR_FILENO, "%d children, then %s\n", born, strerror(errno));
    return 3;
}

int main(void)
{
    char word[sizeof mode] = "";
    for (size_t i = 5; i < sizeof mode && mode[i] != ' '; i++)
        word[i - 5] = mode[i];
    greet();
    if (strcmp(word, "eat") == 0)
        eat();
    else if (strcmp(word, "flood-log") == 0)
        flood(STDERR_FILENO);
    else if (strcmp(word, "flood-serial") == 0)
        flood(SERIAL_FD);
    else if (strcmp(word, "multiply") == 0)
        return multiply();
    for (;;)
        pause();
}
