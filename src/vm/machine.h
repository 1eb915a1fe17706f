/* SPDX-License-Identifier: Apache-2.0 */
/* vm/machine.h - starting one QEMU by descriptors. */
#pragma once

#include "job/plan.h"
#include "vm/command.h"

#define VT_QEMU_PROGRAM "/usr/bin/qemu-system-x86_64"

/* The numbers of QEMU's ends, in its process. */
#define VT_MACHINE_FDS                                                                             \
    {                                                                                              \
        .qmp = 3, .serial = 4, .agent = 5, .files = 6, .root = 7, .disk = 8, .scratch = 9,         \
        .net = 10, .outer = 11                                                                     \
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

/* What QEMU is given besides its lines to us; -1: none. */
typedef struct {
    int files, root;   /* sockets that are connected to the file servers */
    int disk, scratch; /* the image's file, and what is written above it */
    VtNic nic;         /* on the private network */
    VtNic outer;       /* on the way out */
} VtMachineParts;

#define VT_MACHINE_PARTS_NONE                                                                      \
    ((VtMachineParts){-1, -1, -1, -1, {VT_NIC_NONE, -1}, {VT_NIC_NONE, -1}})

/* Starts QEMU for machine `index` of `plan` in the cage, with `parts`, which are closed here in any
 * case. The process is the engine's to reap; signals that batch systems send to whole cgroups do not
 * end it. */
bool vt_machine_start(const VtPlan *plan, guint index, VtMachineParts *parts, VtMachine *machine,
                      GError **error);
