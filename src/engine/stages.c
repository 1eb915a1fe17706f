/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/stages.c - the engine's five stages, from birth to the first byte of a guest.
 *
 *   1 look     has rights: reads the job, opens what it names, makes its own socket
 *   2 helpers  has rights: the network namespace and the network, the file servers
 *   3 cage     has rights in its namespaces: the minimal root; the child that names other nodes to
 *              WireGuard
 *   4 drop     gives up every right
 *   5 run      has none: QEMU; only from here on is a byte of a guest read
 *
 * Runs as: root or the user (1-3), the slot's id or the user (4-5). Reads from: the job document.
 * Trusts: nothing in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>

#include "base/error.h"
#include "base/fd.h"
#include "cage/cage.h"
#include "engine/engine.h"
#include "image/pool.h"
#include "image/scratch.h"
#include "job/owner.h"
#include "vm/command.h"
#include "vm/probe.h"

/* What QEMU is made of, on Debian and its relatives, and on those with /usr/lib64. */
static const char *const qemu_runtime[] = {
    "/lib",
    "/lib64",
    "/usr/lib64",
    "/usr/lib/x86_64-linux-gnu",
    "/usr/share/qemu",
    "/usr/share/seabios",
    "/etc/ld.so.cache",
};

static bool keeper_lives(const VtEngine *engine)
{
    struct pollfd lifeline = {.fd = engine->keeper, .events = POLLIN};
    return poll(&lifeline, 1, 0) == 0;
}

/* Neither a parent's death signal nor a lifeline alone is enough (engine.md, section 1). */
static bool hang_on_keeper(const VtEngine *engine, GError **error)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || !keeper_lives(engine))
        return vt_error_set(error, VT_ERROR_HOST, "the keeper is gone");
    return true;
}

/* Opens the image's file, before the plan is made of its record. */
static bool open_image(VtEngine *engine, VtPoolImage *image, GError **error)
{
    const VtJob *job = engine->job;
    if (job->image != VT_IMAGE_DISK)
        return true;
    if (!vt_pool_open(job->image_dir, job->image_name, geteuid(), image, error))
        return false;
    for (guint i = 0; i < job->vms; i++) {
        engine->vms[i].disk = fcntl(image->disk, F_DUPFD_CLOEXEC, 3);
        if (engine->vms[i].disk < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot keep the image's file");
    }
    return true;
}

/* With the owner's rights: it is their space. */
static bool make_scratch(VtEngine *engine, VtVm *vm, GError **error)
{
    const VtDisk *disk = engine->plan->disk;
    if (!disk->scratch_dir) {
        vm->scratch = vt_scratch_new_in_memory(disk->scratch_mib, disk->size, error);
    } else if (vt_owner_borrow(&engine->job->owner, error)) {
        vm->scratch = vt_scratch_new(disk->scratch_dir, disk->size, error);
        vt_owner_return();
    }
    return vm->scratch >= 0;
}

static bool make_scratches(VtEngine *engine, GError **error)
{
    bool ok = true;
    for (guint i = 0; engine->plan->disk && i < engine->job->vms && ok; i++)
        ok = make_scratch(engine, &engine->vms[i], error);
    return ok;
}

static bool look(VtEngine *engine, GError **error)
{
    g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
    const int inherited[] = {engine->run, engine->keeper, engine->gate, engine->folder};
    for (gsize i = 0; i < G_N_ELEMENTS(inherited); i++)
        if (inherited[i] >= 0 && fcntl(inherited[i], F_SETFD, FD_CLOEXEC) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "cannot keep the engine's descriptors from its children");
    if (!vt_cage_detach_mounts(error) || !vt_cage_mount_proc(error))
        return false;
    vt_oom_open(&engine->oom, engine->folder);
    return open_image(engine, &image, error) && vt_kernel_open(engine, &image, error) &&
           make_scratches(engine, error) && vt_control_listen(engine, error);
}

static bool start_servers(VtEngine *engine, VtVm *vm, GError **error)
{
    bool ok = true;
    for (int is_root = 0; is_root < 2 && ok; is_root++)
        ok = !vt_plan_has_share(engine->plan, is_root) ||
             vt_server_start(engine->plan, is_root, &engine->job->owner, &vm->servers[is_root],
                             error);
    return ok;
}

static bool start_uplinks(VtEngine *engine, GError **error)
{
    vt_oom_raise(&engine->oom, VT_OOM_SCORE_SERVER);
    bool ok = vt_network_start_uplinks(engine->plan, &engine->job->owner, &engine->network, error);
    vt_oom_restore(&engine->oom);
    return ok;
}

static bool make_tunnel(VtEngine *engine, GError **error)
{
    const VtJob *job = engine->job;
    engine->peers = g_new0(VtTunnelPeer, job->nodes);
    return engine->nodes_part->make_tunnel(engine->tunnel, &engine->peers[job->node], error);
}

static bool start_helpers(VtEngine *engine, GError **error)
{
    if (!start_uplinks(engine, error))
        return false;
    bool is_far = engine->job->transport != VT_TRANSPORT_NONE;
    if (is_far && !(engine->tunnel = engine->nodes_part->open_tunnel(engine->job, error)))
        return false;
    if (unshare(CLONE_NEWNET) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the job's network namespace");
    if (!vt_network_make(engine->plan, &engine->network, error))
        return false;
    if (is_far && engine->network.nics[0].kind != VT_NIC_TAP)
        return vt_error_set(error, VT_ERROR_HOST,
                            "a private network over several nodes needs /dev/net/tun");
    if (is_far && !make_tunnel(engine, error))
        return false;
    bool ok = true;
    vt_oom_raise(&engine->oom, VT_OOM_SCORE_SERVER);
    for (guint i = 0; i < engine->job->vms && ok; i++)
        ok = start_servers(engine, &engine->vms[i], error);
    vt_oom_restore(&engine->oom);
    return ok;
}

static bool enter_cage(VtEngine *engine, GError **error)
{
    g_autoptr(VtCage) cage = vt_cage_new();
    for (gsize i = 0; i < G_N_ELEMENTS(qemu_runtime); i++)
        vt_cage_bind_optional(cage, qemu_runtime[i]);
    vt_cage_bind(cage, VT_QEMU_PROGRAM, VT_QEMU_PROGRAM);
    vt_cage_bind_fd(cage, vt_fd_steal(&engine->kernel), engine->plan->kernel, VT_CAGE_KERNEL);
    vt_cage_bind_fd(cage, vt_fd_steal(&engine->initrd), engine->plan->initrd, VT_CAGE_INITRD);
    vt_cage_device(cage, "/dev/null");
    if (engine->plan->accel == VT_ACCEL_KVM)
        vt_cage_device_for(cage, VT_KVM_DEVICE, engine->plan->cage_uid, engine->plan->cage_gid);
    return vt_cage_enter(cage, error);
}

/* It has one right more than the engine will have, and knows nothing but the cage. */
static bool guard_tunnel(VtEngine *engine, GError **error)
{
    const VtPlan *plan = engine->plan;
    return !engine->tunnel ||
           engine->nodes_part->guard_tunnel(engine->tunnel, plan->cage_uid, plan->cage_gid, error);
}

/* What carries the private network learns of the other nodes before a guest is there to listen. */
static bool connect_tunnel(VtEngine *engine, GError **error)
{
    return !engine->tunnel ||
           engine->nodes_part->connect_tunnel(engine->tunnel, engine->peers, error);
}

static bool drop(VtEngine *engine, GError **error)
{
    return vt_cage_drop(engine->plan->cage_uid, engine->plan->cage_gid, error) &&
           hang_on_keeper(engine, error);
}

/* They have come to their programs while the cage was made. */
static bool wait_for_helpers(VtEngine *engine, GError **error)
{
    bool ok = true;
    for (guint i = 0; i < 2 * engine->job->vms && ok; i++) {
        VtServer *server = &engine->vms[i / 2].servers[i % 2];
        ok = server->report < 0 || vt_server_wait(server, error);
    }
    return ok;
}

static VtNic take_nic(VtNic *nic)
{
    return (VtNic){nic->kind, vt_fd_steal(&nic->fd)};
}

static bool start_machine(VtEngine *engine, VtVm *vm, GError **error)
{
    VtMachineParts parts = {
        .files = vt_fd_steal(&vm->servers[0].socket),
        .root = vt_fd_steal(&vm->servers[1].socket),
        .disk = vt_fd_steal(&vm->disk),
        .scratch = vt_fd_steal(&vm->scratch),
        .nic = take_nic(&engine->network.nics[vm->index]),
        .outer = take_nic(&engine->network.outer_nics[vm->index]),
    };
    return vt_machine_start(engine->plan, vm->index, &parts, &vm->machine, error);
}

static bool start_machines(VtEngine *engine, GError **error)
{
    bool ok = true;
    vt_oom_raise(&engine->oom, VT_OOM_SCORE_MACHINE);
    for (guint i = 0; i < engine->job->vms && ok; i++)
        ok = start_machine(engine, &engine->vms[i], error);
    vt_oom_restore(&engine->oom);
    vt_oom_settle(&engine->oom);
    return ok;
}

bool vt_stages_prepare(VtEngine *engine, GError **error)
{
    if (!hang_on_keeper(engine, error) || !look(engine, error) || !start_helpers(engine, error))
        return false;
    vt_engine_reach(engine, CTL_PHASE_PREPARED);
    if (!enter_cage(engine, error) || !guard_tunnel(engine, error) || !drop(engine, error))
        return false;
    vt_engine_reach(engine, CTL_PHASE_CAGED);
    return true;
}

bool vt_stages_start(VtEngine *engine, GError **error)
{
    if (!connect_tunnel(engine, error) || !wait_for_helpers(engine, error) ||
        !start_machines(engine, error))
        return false;
    vt_engine_reach(engine, CTL_PHASE_STARTING);
    /* Long before a guest has a word to say. */
    return vt_network_start(&engine->network, error);
}
