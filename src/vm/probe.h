/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm/probe.h - does KVM run a guest here, and at the speed of a processor?
 *
 * Neither that /dev/kvm can be opened nor that it answers says so: seen on a host was one that made
 * machines and ran them at 0.6 million steps a second, instruction by instruction, and on which a
 * guest's kernel hung for ever. So a few instructions in a machine of their own must do a set amount
 * of work in a set time.
 *
 * Runs as: whoever will start QEMU. Trusts: the kernel, but not that it comes back: all is done in a
 * child that is killed at its deadline.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

/* The device that QEMU 7.2 opens, by this name alone. */
#define VT_KVM_DEVICE "/dev/kvm"

/* The work, in steps of three instructions of which one writes to memory: about one step a cycle,
 * so 7 to 20 ms on processors of 3 to 1 GHz. Long enough for a tick of the host's clock to interrupt
 * it, which a KVM must survive too. */
#define VT_PROBE_STEPS 20000000u
/* CPU time that the work may take: 50 million steps a second are a tenth of what a slow KVM does, and
 * eighty times what the broken one did. CPU time, since a busy machine is no slow KVM. */
#define VT_PROBE_CPU_MS 400
/* Time that all may take, for calls that sleep or never come back: room for the CPU time on a machine
 * that has twice as much to do as it can. With the time that a killed child is waited for
 * (VT_PROBE_REAP_MS) it is a second. */
#define VT_PROBE_WALL_MS 800
#define VT_PROBE_REAP_MS 200

typedef enum {
    VT_PROBE_WORKS,
    VT_PROBE_MISSING,   /* no device, or no driver behind it */
    VT_PROBE_FORBIDDEN, /* it may not be opened */
    VT_PROBE_REFUSED,   /* something that QEMU needs was refused, or the work ended wrongly */
    VT_PROBE_HANGS,     /* no answer, or not one step, in the time given */
    VT_PROBE_CRAWLS,    /* steps, but too few in the time given */
} VtProbeVerdict;

/* What the probe asks of the kernel, so that tests can answer in its place. As the system calls: -1
 * and errno on failure. Called in the child. */
typedef struct {
    const char *device; /* its path; what a message says of its mode is looked up there */
    int (*open)(const char *path, int flags);
    int (*ioctl)(int fd, unsigned long request, void *argument);
    void *(*map)(int fd, size_t size); /* shared, to read and write; MAP_FAILED on failure */
} VtProbeCalls;

/* The kernel's own, on VT_KVM_DEVICE. */
extern const VtProbeCalls vt_probe_kernel;

/* Runs the work. `text` becomes one line on what was found, without a full stop. (transfer full)
 * Blocks for some tens of milliseconds where KVM works, else for a second at most. */
VtProbeVerdict vt_probe_run(const VtProbeCalls *calls, char **text);

/* The part of it that takes no time: can the device be opened, and is it KVM's? WORKS, MISSING,
 * FORBIDDEN or REFUSED; `text` as above. In this process, so for a device that has worked before. */
VtProbeVerdict vt_probe_look(const VtProbeCalls *calls, char **text);
