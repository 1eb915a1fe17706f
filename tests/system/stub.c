/* SPDX-License-Identifier: Apache-2.0 */
/*
 * system/stub.c - stands in for QEMU or a file server that is not what it should be.
 *
 * What it does is written over `mode` in a copy of the program: there is no argument, no environment
 * and no file that could tell it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MONITOR_FD 3 /* src/vm/machine.h */

static const volatile char mode[] = "STUB:MODE............";

int main(int argc, char **argv)
{
    char what[sizeof mode];
    for (size_t i = 0; i < sizeof mode; i++)
        what[i] = mode[i];
    const char *word = what + strlen("STUB:");
    if (strcmp(word, "old") == 0)
        fprintf(stderr, "%s: unrecognized option '%s'\n", argv[0], argc > 1 ? argv[1] : "");
    else if (strcmp(word, "crash") == 0)
        abort();
    else if (strcmp(word, "leave") == 0)
        return 0;
    else if (strcmp(word, "noise") == 0)
        (void)!write(MONITOR_FD, "{\"QMP\": nonsense}\r\n", 19);
    if (strcmp(word, "mute") == 0 || strcmp(word, "noise") == 0)
        for (;;)
            pause();
    return 1;
}
