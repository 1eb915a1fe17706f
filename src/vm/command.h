/* SPDX-License-Identifier: Apache-2.0 */
/* vm/command.h - QEMU's command line: a pure function of the plan. */
#pragma once

#include "job/memory.h"
#include "job/plan.h"
#include "net/nic.h"

/* Where the cage shows the guest's kernel and initramfs. */
#define VT_CAGE_KERNEL "/boot/kernel"
#define VT_CAGE_INITRD "/boot/initramfs"

/* The virtio-serial port on which the agent speaks. */
#define VT_AGENT_PORT "org.vtorque.agent"

/* Numbers of the descriptors that QEMU is started with; each is one end of a stream socket pair. */
typedef struct {
    int qmp;     /* the monitor */
    int serial;  /* the serial console */
    int agent;   /* the virtio-serial port VT_AGENT_PORT */
    int files;   /* connected to the server of the owner's directories */
    int root;    /* connected to the server of the root; not used where the plan has none */
    int disk;    /* the image's file, read-only; not used where the plan has no disk */
    int scratch; /* what is written to it, a qcow2 file */
    int net;     /* the private network's end */
    int outer;   /* the end of the way out */
} VtMachineFds;

/* argv of QEMU for machine `index` of the plan, whose end of the private network is a `nic`; argv[0]
 * being the program's path `qemu`. The guest starts at once; its end, of whatever kind, is a SHUTDOWN
 * event on the monitor and QEMU's own exit. (transfer full) */
GStrv vt_command_new(const VtPlan *plan, guint index, VtNicKind nic, const char *qemu,
                     const VtMachineFds *fds);

/* The command line as text that a shell would take: an option and its value a line. (transfer full)
 */
char *vt_command_explain(char *const *argv);
