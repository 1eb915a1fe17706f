/* SPDX-License-Identifier: Apache-2.0 */
/* keeper/birth.h - the engine's birth: namespaces, cgroup, descriptors, program. */
#pragma once

#include <sys/types.h>

#include "keeper/leaf.h"

typedef struct {
    pid_t pid;
    int lifeline; /* write end of the pipe whose closing ends the engine */
    int go;       /* socket on which the newborn waits; -1 once released */
} Birth;

/* Clones the engine-to-be in new PID, mount, IPC and UTS namespaces (an ordinary user's in a new
 * user namespace too, with its own ids alone) and in the leaf. It waits and holds nothing until
 * birth_release(). Limits that do not hold it are taken out of `leaf`. `what` names the step that
 * failed. Returns 0 or -errno; on failure nothing is
 * left. */
int birth_clone(Leaf *leaf, int folder, const char *slots, Birth *birth, const char **what);

/* Lets the newborn execute the engine. Returns 0 or -errno; on failure it is killed, and its end is
 * still to be waited for. */
int birth_release(Birth *birth);
