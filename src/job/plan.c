/* SPDX-License-Identifier: Apache-2.0 */
/* job/plan.c - the node plan: names, ids, kernel and shares that follow from a job and its slot. */
#include "job/plan.h"

#include <string.h>

#include "ctl/folder.h"

#define VM_NAME_MAX 63 /* bytes of one label of a host name */

/* quiet: a serial line costs time under emulation; panics still show. panic=-1: a panic becomes a
 * reset at once, which QEMU (-no-reboot) reports and ends with; reboot=t: by triple fault, the
 * quickest way. cryptomgr.notests: 0.2 s of self-tests less, measured under emulation.
 * noreplace-smp: 0.12 s less, with one vCPU, for not patching every lock prefix of the kernel away.
 * 8250.nr_uarts=1: only one is there. tsc=reliable: no watchdog that takes the TSC, the only clock
 * that needs no exit, from a guest whose host is busy. no_timer_check: emulated on a busy host, a
 * tick that comes late is taken for a timer that does not work, and the kernel panics ("IO-APIC +
 * timer doesn't work": 14 of 50 guests started at once on two cores). */
#define KERNEL_ARGS                                                                                \
    "console=ttyS0 quiet panic=-1 reboot=t cryptomgr.notests noreplace-smp 8250.nr_uarts=1 "       \
    "tsc=reliable no_timer_check"

static void share_free(gpointer data)
{
    VtShare *share = data;
    g_free(share->path);
    g_free(share);
}

/* True if `path` is `dir` or lies below it. Both are canonical. */
static bool is_at_or_below(const char *path, const char *dir)
{
    gsize length = strlen(dir);
    if (length == 1)
        return true;
    return strncmp(path, dir, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* True for what the guest has of its own: a host's directory may not take its place. The root is
 * the share that is read-only, or the initramfs; /run holds what the agent and the job's own files
 * need. */
static bool is_guests_own(const char *path)
{
    static const char *const trees[] = {"/proc", "/sys", "/run/vtorque", "/var/run/vtorque"};
    static const char *const places[] = {"/", "/run", "/var/run", "/dev/shm", "/dev/pts"};

    for (gsize i = 0; i < G_N_ELEMENTS(trees); i++)
        if (is_at_or_below(path, trees[i]))
            return true;
    for (gsize i = 0; i < G_N_ELEMENTS(places); i++)
        if (strcmp(path, places[i]) == 0)
            return true;
    return is_at_or_below(path, "/dev") && !is_at_or_below(path, "/dev/shm");
}

/* Without double and trailing slashes. (transfer full) */
static char *canonical(const char *path)
{
    while (path[0] == '/' && path[1] == '/')
        path++;
    return g_canonicalize_filename(path, "/");
}

/* Adds a writable share, unless one of them holds it already; takes out those that lie below it. */
static void add_writable(GPtrArray *shares, const char *wanted)
{
    g_autofree char *path = canonical(wanted);

    if (is_guests_own(path))
        return;
    for (guint i = 0; i < shares->len;) {
        const VtShare *share = g_ptr_array_index(shares, i);
        if (!share->is_root && is_at_or_below(path, share->path))
            return;
        if (!share->is_root && is_at_or_below(share->path, path))
            g_ptr_array_remove_index(shares, i);
        else
            i++;
    }
    VtShare *share = g_new0(VtShare, 1);
    share->path = g_steal_pointer(&path);
    g_ptr_array_add(shares, share);
}

static GPtrArray *plan_shares(const VtJob *job)
{
    GPtrArray *shares = g_ptr_array_new_with_free_func(share_free);

    if (job->image == VT_IMAGE_HOST) {
        VtShare *root = g_new0(VtShare, 1);
        root->path = g_strdup("/");
        root->is_root = true;
        g_ptr_array_add(shares, root);
    }
    add_writable(shares, job->owner.home);
    add_writable(shares, job->submit_dir);
    for (gsize i = 0; job->mounts && job->mounts[i]; i++)
        add_writable(shares, job->mounts[i]);
    return shares;
}

/* "v<host>-<slot>" as a host name's label: the host's first label in lower case, other characters
 * as '-', cut so that the slot stays whole. (transfer full) */
static char *plan_vm_name(const char *host, guint slot)
{
    g_autofree char *suffix = g_strdup_printf("-%u", slot);
    gsize length = MIN(strcspn(host, "."), VM_NAME_MAX - 1 - strlen(suffix));
    g_autofree char *label = g_ascii_strdown(host, (gssize)length);

    g_strcanon(label, G_CSET_a_2_z G_CSET_DIGITS, '-');
    return g_strconcat("v", label, suffix, NULL);
}

static VtDisk *plan_disk(const VtJob *job, const VtRecord *record)
{
    VtDisk *disk = g_new0(VtDisk, 1);

    disk->base = g_build_filename(job->image_dir, record->digest, NULL);
    disk->format = record->format;
    disk->size = record->size;
    disk->scratch_dir = g_strdup(job->scratch_dir);
    disk->scratch_mib = job->scratch_mib;
    disk->root = g_strdup(record->root);
    disk->filesystem = g_strdup(record->filesystem);
    return disk;
}

static void disk_free(VtDisk *disk)
{
    if (!disk)
        return;
    g_free(disk->base);
    g_free(disk->scratch_dir);
    g_free(disk->root);
    g_free(disk->filesystem);
    g_free(disk);
}

/* A kernel comes with the image, or is the site's for all guests. */
static void plan_kernel(VtPlan *plan, const VtJob *job, const char *kernel_file,
                        const VtRecord *record)
{
    const char *initramfs = job->image == VT_IMAGE_TINY ? "initramfs-tiny" : "initramfs";
    bool is_own = record && record->kernel;

    plan->kernel = is_own ? g_build_filename(job->image_dir, record->kernel, NULL)
                          : g_build_filename(job->kernel_dir, kernel_file, NULL);
    plan->initrd = is_own ? g_build_filename(job->image_dir, record->initramfs, NULL)
                          : g_build_filename(job->kernel_dir, initramfs, NULL);
    if (job->init == VT_INIT_SYSTEM)
        plan->kernel_args = g_strdup_printf(KERNEL_ARGS " " VT_SYSTEM_ARG "=%s,%s", record->root,
                                            record->filesystem);
    else
        plan->kernel_args = g_strdup(KERNEL_ARGS);
}

/* The site's prefix, the node of the job, which of the guest's cards it is, and the slot. */
static void plan_mac(guint8 mac[VT_MAC_SIZE], const VtJob *job, guint card, guint slot)
{
    G_STATIC_ASSERT(CTL_SLOTS_MAX <= 256 && VT_NODES_MAX <= 256);
    const guint8 bytes[VT_MAC_SIZE] = {(guint8)(job->mac_prefix >> 16),
                                       (guint8)(job->mac_prefix >> 8),
                                       (guint8)job->mac_prefix,
                                       (guint8)job->node,
                                       (guint8)card,
                                       (guint8)slot};
    memcpy(mac, bytes, sizeof bytes);
}

static void plan_vm(VtPlanVm *vm, const VtJob *job, guint index, guint slot)
{
    vm->slot = slot;
    vm->name = plan_vm_name(job->host, slot);
    plan_mac(vm->mac, job, 0, slot);
    plan_mac(vm->outer_mac, job, 1, slot);
    vm->address = vt_private_address(job->node, index);
}

static void plan_own_names(VtPlan *plan)
{
    plan->n_names = plan->n_vms;
    plan->names = g_new0(VtPlanName, plan->n_names);
    for (guint i = 0; i < plan->n_names; i++)
        plan->names[i] =
            (VtPlanName){g_strdup(plan->vms[i].name), plan->vms[i].address, plan->vcpus};
}

void vt_plan_names_free(VtPlanName *names, guint n)
{
    for (guint i = 0; i < n; i++)
        g_free(names[i].name);
    g_free(names);
}

void vt_plan_take_names(VtPlan *plan, VtPlanName *names, guint n)
{
    vt_plan_names_free(plan->names, plan->n_names);
    plan->names = names;
    plan->n_names = n;
}

VtPlan *vt_plan_new(const VtJob *job, const guint *slots, const char *kernel_file,
                    const VtRecord *record)
{
    VtPlan *plan = g_new0(VtPlan, 1);
    const VtMemoryShape shape = vt_memory_shape(job);

    plan->n_vms = job->vms;
    plan->vms = g_new0(VtPlanVm, job->vms);
    for (guint i = 0; i < job->vms; i++)
        plan_vm(&plan->vms[i], job, i, slots[i]);
    plan->net = job->net;
    plan->has_uplink = job->has_uplink;
    plan->mtu = job->net_mtu;
    plan->cage_uid = VT_UID_BASE + slots[0];
    plan->cage_gid = VT_UID_BASE + slots[0];
    plan->ram_mib = job->ram_mib;
    plan->vcpus = job->vcpus;
    plan->memory = vt_memory_of(&shape);
    plan->tasks = vt_memory_tasks(&shape);
    plan->boot_timeout_s = job->boot_timeout_s;
    plan->kind = VT_GUEST_OWNERS;
    plan->init = job->init;
    plan->accel = job->accel;
    plan->locks = job->locks;
    plan->file_server = job->file_server;
    plan->disk = record ? plan_disk(job, record) : NULL;
    plan_kernel(plan, job, kernel_file, record);
    plan->shares = plan_shares(job);
    plan_own_names(plan);
    return plan;
}

VtGuestKind vt_plan_kind(const VtJob *job, bool is_roots)
{
    bool is_sites = is_roots && job->image == VT_IMAGE_DISK && job->owner.uid != 0;

    return is_sites ? VT_GUEST_SITES : VT_GUEST_OWNERS;
}

char *vt_address_format(guint32 address)
{
    return g_strdup_printf("%u.%u.%u.%u", address >> 24, address >> 16 & 0xff, address >> 8 & 0xff,
                           address & 0xff);
}

bool vt_plan_has_share(const VtPlan *plan, bool is_root)
{
    for (guint i = 0; i < plan->shares->len; i++)
        if (((const VtShare *)g_ptr_array_index(plan->shares, i))->is_root == is_root)
            return true;
    return false;
}

static void explain_disk(GString *out, const VtPlan *plan)
{
    const VtDisk *disk = plan->disk;
    g_autofree char *base = g_strescape(disk->base, NULL);

    g_string_append_printf(out, "disk: %s (%s, %" G_GUINT64_FORMAT " bytes)\nroot: %s (%s)\n", base,
                           vt_choice_word(&vt_format_choice, disk->format), disk->size, disk->root,
                           disk->filesystem);
    if (disk->scratch_dir) {
        g_autofree char *scratch = g_strescape(disk->scratch_dir, NULL);
        g_string_append_printf(out, "scratch: %s\n", scratch);
    } else {
        g_string_append_printf(out, "scratch: in memory, %u MiB\n", disk->scratch_mib);
    }
    g_string_append_printf(out, "init: %s\n", vt_choice_word(&vt_init_choice, plan->init));
}

static void explain_memory(GString *out, const VtPlan *plan)
{
    const VtMemory *memory = &plan->memory;

    g_string_append_printf(out, "memory: %" G_GUINT64_FORMAT " MiB: RAM %" G_GUINT64_FORMAT ", ",
                           memory->total, memory->ram);
    if (memory->scratch > 0)
        g_string_append_printf(out, "disk %" G_GUINT64_FORMAT ", ", memory->scratch);
    g_string_append_printf(out, "QEMU %u, ", memory->qemu);
    if (memory->translation > 0)
        g_string_append_printf(out, "translation %u, ", memory->translation);
    if (memory->uplinks > 0)
        g_string_append_printf(out, "uplinks %u, ", memory->uplinks);
    g_string_append_printf(out, "page tables %u, file servers %u, engine %u\ntasks: %u\n",
                           memory->tables, memory->servers, memory->engine, plan->tasks);
}

static void explain_vm(GString *out, const VtPlan *plan, const VtPlanVm *vm)
{
    g_autofree char *address = vt_address_format(vm->address);

    g_string_append_printf(out, "vm: slot %u, name %s", vm->slot, vm->name);
    if (plan->net == VT_NET_PRIVATE)
        g_string_append_printf(out, ", %02x:%02x:%02x:%02x:%02x:%02x, %s", vm->mac[0], vm->mac[1],
                               vm->mac[2], vm->mac[3], vm->mac[4], vm->mac[5], address);
    g_string_append_c(out, '\n');
}

char *vt_plan_explain(const VtPlan *plan)
{
    GString *out = g_string_new(NULL);
    g_autofree char *kernel = g_strescape(plan->kernel, NULL);
    g_autofree char *initrd = g_strescape(plan->initrd, NULL);

    for (guint i = 0; i < plan->n_vms; i++)
        explain_vm(out, plan, &plan->vms[i]);
    g_string_append_printf(out, "net: %s\nuplink: %s\ncage: %u:%u\n",
                           vt_choice_word(&vt_net_choice, plan->net),
                           plan->has_uplink ? "yes" : "no", plan->cage_uid, plan->cage_gid);
    g_string_append_printf(out, "ram: %u MiB\nvcpus: %u\nboot timeout: %u s\n", plan->ram_mib,
                           plan->vcpus, plan->boot_timeout_s);
    explain_memory(out, plan);
    g_string_append_printf(out, "kernel: %s\ninitramfs: %s\nkernel arguments: %s\n", kernel, initrd,
                           plan->kernel_args);
    g_string_append_printf(out, "accel: %s\nlocks: %s\nfile server: %s\n",
                           vt_choice_word(&vt_accel_choice, plan->accel),
                           vt_choice_word(&vt_locks_choice, plan->locks),
                           vt_choice_word(&vt_file_server_choice, plan->file_server));
    if (plan->disk)
        explain_disk(out, plan);
    for (guint i = 0; i < plan->shares->len; i++) {
        const VtShare *share = g_ptr_array_index(plan->shares, i);
        g_autofree char *path = g_strescape(share->path, NULL);
        g_string_append_printf(out, "share %u: %s (%s)\n", i, path,
                               share->is_root ? "read-only root" : "writable");
    }
    return g_string_free(out, FALSE);
}

void vt_plan_free(VtPlan *plan)
{
    if (!plan)
        return;
    for (guint i = 0; i < plan->n_vms; i++)
        g_free(plan->vms[i].name);
    g_free(plan->vms);
    vt_plan_names_free(plan->names, plan->n_names);
    g_free(plan->kernel);
    g_free(plan->initrd);
    g_free(plan->kernel_args);
    disk_free(plan->disk);
    g_ptr_array_unref(plan->shares);
    g_free(plan);
}
