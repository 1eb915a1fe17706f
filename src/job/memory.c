/* SPDX-License-Identifier: Apache-2.0 */
/* job/memory.c - what a job takes of its machine, as a model. */
#include "job/memory.h"

/* Measured; each is above the greatest value that was seen (bench/memory). */
#define QEMU_MIB 96u   /* seen: 71 beside a full translation buffer */
#define VCPU_MIB 2u    /* stacks and state; seen: less than 1 */
#define SERVER_MIB 64u /* seen: 1 for the program; the rest is the kernel's, for 35,000 files */
#define UPLINK_MIB                                                                                 \
    96u /* seen: 25; 74 is all that passt has room for; the relay; sockets */
#define ENGINE_MIB 16u   /* consoles, streams, frames under way; seen: 1 to 4 */
#define ENGINE_VM_MIB 2u /* for each further guest: consoles and frames */
#define TABLE_SHARE 512u /* 8 bytes for each page of 4096 */
/* An emulated processor's TLB has up to two entries of some 50 bytes for each page in use: 1/64 of
 * what a vCPU jumps about in. */
#define TLB_SHARE 64u

#define TASKS_ENGINE 8u
#define TASKS_QEMU (4u + 64u)
#define TASKS_SERVER (16u + 64u)
#define TASKS_UPLINK 2u /* and one relay for all, which TASKS_ENGINE has room for */

static guint share_of(guint mib, guint share)
{
    return (mib + share - 1) / share;
}

VtMemoryShape vt_memory_shape(const VtJob *job)
{
    return (VtMemoryShape){
        .vms = job->vms,
        .ram_mib = job->ram_mib,
        .vcpus = job->vcpus,
        .servers = job->image == VT_IMAGE_HOST ? 2 : 1,
        .is_emulated = job->accel != VT_ACCEL_KVM,
        .scratch_mib = job->scratch_mib,
        .has_uplink = job->has_uplink,
    };
}

VtMemory vt_memory_of(const VtMemoryShape *shape)
{
    guint scratch_mib = shape->is_scratch_ram ? shape->ram_mib : shape->scratch_mib;
    VtMemory memory = {
        .ram = (guint64)shape->ram_mib * shape->vms,
        .scratch = (guint64)scratch_mib * shape->vms,
        .tables = share_of(shape->ram_mib, TABLE_SHARE) * (1 + shape->servers) * shape->vms,
        .qemu = (QEMU_MIB + VCPU_MIB * shape->vcpus) * shape->vms,
        .servers = SERVER_MIB * shape->servers * shape->vms,
        .uplinks = shape->has_uplink ? UPLINK_MIB * shape->vms : 0,
        .engine = ENGINE_MIB + ENGINE_VM_MIB * (shape->vms - 1),
    };
    if (shape->is_emulated)
        memory.translation =
            (VT_TRANSLATION_MIB + share_of(shape->ram_mib, TLB_SHARE) * shape->vcpus) * shape->vms;
    memory.total = memory.ram + memory.scratch + vt_memory_overhead(&memory);
    return memory;
}

guint64 vt_memory_overhead(const VtMemory *memory)
{
    return (guint64)memory->tables + memory->qemu + memory->translation + memory->servers +
           memory->uplinks + memory->engine;
}

guint vt_memory_largest_ram(const VtMemoryShape *shape, guint64 total_mib)
{
    VtMemoryShape tried = *shape;
    guint low = 0, high = VT_RAM_MIB_MAX + 1; /* `low` fits, `high` does not */
    while (high - low > 1) {
        tried.ram_mib = low + (high - low) / 2;
        if (vt_memory_of(&tried).total <= total_mib)
            low = tried.ram_mib;
        else
            high = tried.ram_mib;
    }
    return low < VT_RAM_MIB_MIN ? 0 : low;
}

guint vt_memory_tasks(const VtMemoryShape *shape)
{
    guint uplink = shape->has_uplink ? TASKS_UPLINK : 0;
    return TASKS_ENGINE +
           (TASKS_QEMU + shape->vcpus + TASKS_SERVER * shape->servers + uplink) * shape->vms;
}
