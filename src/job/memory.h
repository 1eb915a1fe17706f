/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/memory.h - what a job takes of its machine: memory and tasks, as a model.
 *
 * Pure. The sum is what a job must fit into before anything starts, and what its cgroup leaf is held
 * to (doc/admin.md). A job over its sum ends, so every term is an upper bound of what was measured,
 * and what the kernel can take back at any time (the page cache) has none.
 *
 * Measured by `bench/memory` (Debian 12, QEMU 7.2, emulated; MiB that can't be reclaimed, at most):
 *
 *   guest              load                                private  RAM   kernel
 *   tiny 256M, 1 vCPU  idle                                     70    81       1
 *   tiny 256M, 1 vCPU  RAM touched, jumped about in             72   230       2
 *   tiny 1G, 2 vCPUs   the same                                 79   825       5
 *   host 2G, 2 vCPUs   the same                                 92  1700       9
 *   tiny 512M, 1 vCPU  file of 600 MiB, 20,000 files            76   511      34
 *   tiny 512M, 1 vCPU  8 files at once                          72   510      27
 *   host 2G, 2 vCPUs   find over everything                    110   158      30
 *   host 1G, 1 vCPU    most programs of /usr/bin               327   506       9
 *
 * Private is QEMU's but for 1 to 4 MiB; when the translation buffer (256 MiB) is full it is that and
 * 71. Kernel is page tables (RAM / 512 for QEMU) and 1.6 KiB for each file that a guest knows. There
 * were 9 to 14 tasks. A script of up to 64 MiB passes through the engine before the guest has used
 * its RAM.
 */
#pragma once

#include "job/job.h"

/* Size of the translation buffer of an emulated guest, in MiB: the part of QEMU's own memory that
 * grows with use. QEMU's default, up to 1 GiB, would not stay inside what a job was given. */
#define VT_TRANSLATION_MIB 256u

/* What decides how much a job takes. */
typedef struct {
    guint vms; /* all else is of each of them */
    guint ram_mib;
    guint vcpus;
    guint servers; /* file servers */
    bool is_emulated;
    guint scratch_mib;   /* limit of a disk in memory; 0: there is none */
    bool is_scratch_ram; /* that limit is as much as the RAM, whatever that becomes */
    bool has_uplink;
} VtMemoryShape;

/* The parts of a job's memory, in MiB, for all its guests together. */
typedef struct {
    guint64 ram;
    guint64 scratch;
    guint tables;      /* page tables: QEMU and each file server map the RAM */
    guint qemu;        /* program, devices, vCPUs */
    guint translation; /* emulation: translated code, and the processors' TLBs */
    guint servers;     /* queues, and the kernel's part of files that the guest knows */
    guint uplinks;     /* passt, and the relay to it */
    guint engine;      /* consoles, streams, script */
    guint64 total;
} VtMemory;

VtMemoryShape vt_memory_shape(const VtJob *job);

VtMemory vt_memory_of(const VtMemoryShape *shape);

/* What a job takes beside its guests' RAM and scratch, in MiB. */
guint64 vt_memory_overhead(const VtMemory *memory);

/* The most RAM for each guest with which the job takes at most `total_mib`; 0: not even VT_RAM_MIB_MIN. */
guint vt_memory_largest_ram(const VtMemoryShape *shape, guint64 total_mib);

/* The most processes and threads that a job has: the engine, a thread for each vCPU, QEMU's main
 * loop, RCU and workers (64 at most, one for each request that waits for a disk), and for each file
 * server its main loop and queues, with the child that builds its tree. */
guint vt_memory_tasks(const VtMemoryShape *shape);
