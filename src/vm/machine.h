/* SPDX-License-Identifier: Apache-2.0 */
/* vm/machine.h - starting one QEMU by descriptors. */
#pragma once

#include "job/plan.h"
#include "vm/command.h"

#define VT_QEMU_PROGRAM "/usr/bin/qemu-system-x86_64"

/* The numbers of QEMU's ends, in its process. */
#define VT_MACHINE_FDS                                                                             \
    {                                                                                              \
        .qmp = 3, .serial = 4, .agent = 5, .files = 6, .root = 7                                   \
    }

/* Our ends of what QEMU was started with. */
typedef struct {
    pid_t pid;
    int qmp;
    int serial;
    int agent;
    int log; /* QEMU's stderr */
} VtMachine;

#define VT_MACHINE_NONE ((VtMachine){.pid = -1, .qmp = -1, .serial = -1, .agent = -1, .log = -1})

/* Starts QEMU for `plan` in the cage, with the sockets `files` and `root` (-1: none; both taken
 * over) connected to the file servers. The process is the engine's to reap; signals that batch
 * systems send to whole cgroups do not end it. */
bool vt_machine_start(const VtPlan *plan, int files, int root, VtMachine *machine, GError **error);
