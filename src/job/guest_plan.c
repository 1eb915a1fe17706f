/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/guest_plan.c - the steps that make a guest of a booted initramfs.
 *
 * Theory of operation: the order is what makes it work.
 *
 *   1 self     randomness before anything that could use it, clock, names, network
 *   2 run      /run is limited in size; our own files go there, where a change of root takes them
 *              along
 *   3 private  the shares, in a directory that only root enters
 *   4 root     the host's root (img=host), read-only, or the disk's becomes the guest's; init=system:
 *              it is that already. From here on links in paths mean what they mean there
 *   5 own      tmpfs where a program must be able to write; a disk has room of its own
 *   6 shares   the owner's directories, at their own paths
 *   7 etc      last, since a share may hold /etc
 */
#include "job/guest_plan.h"

#include <string.h>
#include <sys/mount.h>

#include "job/guest_files.h"

#define NEW_ROOT "/newroot"
#define ETC VT_GUEST_RUN "/etc"
#define NANOSECONDS G_GUINT64_CONSTANT(1000000000)

/* What a system has in /run, and what /etc/resolv.conf points into on hosts with systemd-resolved,
 * NetworkManager, resolvconf, netconfig or ConnMan. */
static const struct {
    const char *path;
    guint mode;
} run_directories[] = {
    {"/run/lock", 01777},      {"/run/systemd/resolve", 0755}, {"/run/NetworkManager", 0755},
    {"/run/resolvconf", 0755}, {"/run/netconfig", 0755},       {"/run/connman", 0755},
};

static const char *const time_directories[] = {"/run/systemd/timesyncd.conf.d", "/run/chrony-dhcp"};

static void step_free(gpointer data)
{
    VtGuestStep *step = data;
    g_bytes_unref(step->payload);
    g_free(step);
}

static void add_bytes(GPtrArray *steps, WireStep kind, const void *data, gsize size)
{
    VtGuestStep *step = g_new(VtGuestStep, 1);

    step->kind = kind;
    step->payload = g_bytes_new(data, size);
    g_ptr_array_add(steps, step);
}

/* Four strings of the wire's longest and some numbers. A string that is longer is our bug:
 * vt_job_load() takes no such path. */
#define BUFFER_SIZE (4 * (WIRE_STRING_MAX + 2) + 16)

static void add_written(GPtrArray *steps, WireStep kind, const WireWriter *writer)
{
    g_assert(writer->ok);
    add_bytes(steps, kind, writer->start, writer->used);
}

static void add_string(GPtrArray *steps, WireStep kind, const char *text)
{
    guint8 buffer[BUFFER_SIZE];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_string(&writer, text);
    add_written(steps, kind, &writer);
}

/* MKDIR or FILE. */
static void add_entry(GPtrArray *steps, WireStep kind, const VtOwner *owner, guint mode,
                      const char *path)
{
    guint8 buffer[BUFFER_SIZE];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_u32(&writer, owner ? owner->uid : 0);
    wire_put_u32(&writer, owner ? owner->gid : 0);
    wire_put_u32(&writer, mode);
    wire_put_string(&writer, path);
    add_written(steps, kind, &writer);
}

static void add_mount(GPtrArray *steps, guint64 flags, const char *type, const char *source,
                      const char *target, const char *data)
{
    guint8 buffer[BUFFER_SIZE];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_u64(&writer, flags);
    wire_put_string(&writer, type);
    wire_put_string(&writer, source);
    wire_put_string(&writer, target);
    wire_put_string(&writer, data);
    add_written(steps, WIRE_STEP_MOUNT, &writer);
}

static void add_bind(GPtrArray *steps, guint64 flags, const char *source, const char *target)
{
    guint8 buffer[BUFFER_SIZE];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_u64(&writer, flags);
    wire_put_string(&writer, source);
    wire_put_string(&writer, target);
    add_written(steps, WIRE_STEP_BIND, &writer);
}

static void add_file_of(GPtrArray *steps, const VtOwner *owner, guint mode, const char *path,
                        const char *text)
{
    gsize left = strlen(text);

    add_entry(steps, WIRE_STEP_FILE, owner, mode, path);
    while (left > 0) {
        gsize size = MIN(left, WIRE_PAYLOAD_MAX);
        add_bytes(steps, WIRE_STEP_APPEND, text, size);
        text += size;
        left -= size;
    }
}

static void add_file(GPtrArray *steps, const char *path, const char *text)
{
    add_file_of(steps, NULL, 0644, path, text);
}

static void add_tmpfs(GPtrArray *steps, const VtJob *job, guint64 flags, const char *target,
                      guint mode)
{
    g_autofree char *data =
        g_strdup_printf("mode=%04o,size=%" G_GUINT64_FORMAT "m", mode, job->tmp_mib);

    add_mount(steps, flags | MS_NOSUID | MS_NODEV, "tmpfs", "tmpfs", target, data);
}

GBytes *vt_guest_clock(guint64 now_ns)
{
    guint8 buffer[12];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_u64(&writer, now_ns / NANOSECONDS);
    wire_put_u32(&writer, (guint32)(now_ns % NANOSECONDS));
    return g_bytes_new(buffer, writer.used);
}

/* The agent has mounted /run without a limit. */
static void add_run(GPtrArray *steps, const VtJob *job, const VtPlan *plan)
{
    g_autofree char *nodefile = vt_guest_nodefile(plan);
    g_autofree char *runtime_dir = g_strdup_printf("/run/user/%u", job->owner.uid);

    add_tmpfs(steps, job, MS_REMOUNT, "/run", 0755);
    for (gsize i = 0; i < G_N_ELEMENTS(run_directories); i++)
        add_entry(steps, WIRE_STEP_MKDIR, NULL, run_directories[i].mode, run_directories[i].path);
    add_entry(steps, WIRE_STEP_MKDIR, &job->owner, 0700, runtime_dir);
    add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, VT_GUEST_RUN);
    add_file(steps, VT_GUEST_NODEFILE, nodefile);
}

static guint64 mac_number(const guint8 mac[VT_MAC_SIZE])
{
    guint64 number = 0;

    for (guint i = 0; i < VT_MAC_SIZE; i++)
        number = number << 8 | mac[i];
    return number;
}

static void add_address(GPtrArray *steps, guint64 mac, guint32 address, guint32 prefix,
                        guint32 gateway)
{
    guint8 buffer[20];
    WireWriter writer = wire_writer(buffer, sizeof buffer);

    wire_put_u64(&writer, mac);
    wire_put_u32(&writer, address);
    wire_put_u32(&writer, prefix);
    wire_put_u32(&writer, gateway);
    add_written(steps, WIRE_STEP_ADDRESS, &writer);
}

static void add_network(GPtrArray *steps, const VtPlan *plan, const VtPlanVm *vm)
{
    if (plan->net == VT_NET_PRIVATE)
        add_address(steps, mac_number(vm->mac), vm->address, VT_PRIVATE_PREFIX, 0);
    if (plan->has_uplink)
        add_address(steps, mac_number(vm->outer_mac), VT_UPLINK_ADDRESS, VT_UPLINK_PREFIX,
                    VT_UPLINK_GATEWAY);
}

/* Where systemd-timesyncd and Debian's chrony look for what DHCP would have brought: they are run by
 * the image's own init. */
static void add_time_servers(GPtrArray *steps, const VtJob *job)
{
    if (job->init != VT_INIT_SYSTEM || !job->time_servers || !job->time_servers[0])
        return;
    g_autofree char *names = vt_guest_time_servers(job, " ", "");
    g_autofree char *timesyncd = g_strdup_printf("[Time]\nNTP=%s\n", names);
    g_autofree char *chrony = vt_guest_time_servers(job, "server ", " iburst\n");
    for (gsize i = 0; i < G_N_ELEMENTS(time_directories); i++)
        add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, time_directories[i]);
    add_file(steps, "/run/systemd/timesyncd.conf.d/vtorque.conf", timesyncd);
    add_file(steps, "/run/chrony-dhcp/vtorque.sources", chrony);
}

/* Below the private directory the shares' flat trees stay out of the owner's sight, but in reach of
 * later steps. */
static void add_private(GPtrArray *steps, const VtPlan *plan)
{
    const char *const tags[] = {VT_FILES_TAG, VT_ROOT_TAG};

    add_entry(steps, WIRE_STEP_MKDIR, NULL, 0700, VT_GUEST_PRIVATE);
    for (guint is_root = 0; is_root < G_N_ELEMENTS(tags); is_root++) {
        g_autofree char *place = g_build_filename(VT_GUEST_PRIVATE, tags[is_root], NULL);

        if (!vt_plan_has_share(plan, is_root))
            continue;
        add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, place);
        add_mount(steps, MS_NOSUID | MS_NODEV | (is_root ? MS_RDONLY : 0), "virtiofs",
                  tags[is_root], place, "");
    }
}

/* Where the guest finds share `index`. (transfer full) */
static char *share_source(const VtShare *share, guint index)
{
    return g_strdup_printf("%s/%s/%u", VT_GUEST_PRIVATE,
                           share->is_root ? VT_ROOT_TAG : VT_FILES_TAG, index);
}

/* True where the guest has a file system of its own, on which a host's directory must be made. */
static bool is_on_tmpfs(const char *path)
{
    static const char *const own[] = {"/tmp/", "/var/tmp/", "/run/", "/var/run/", "/dev/shm/"};

    for (gsize i = 0; i < G_N_ELEMENTS(own); i++)
        if (g_str_has_prefix(path, own[i]))
            return true;
    return false;
}

static void add_shares(GPtrArray *steps, const VtJob *job, const VtPlan *plan)
{
    for (guint i = 0; i < plan->shares->len; i++) {
        const VtShare *share = g_ptr_array_index(plan->shares, i);
        g_autofree char *source = share_source(share, i);

        if (share->is_root)
            continue;
        if (job->image == VT_IMAGE_TINY || is_on_tmpfs(share->path))
            add_entry(steps, WIRE_STEP_MKDIR, &job->owner, 0755, share->path);
        add_bind(steps, MS_NOSUID | MS_NODEV, source, share->path);
    }
}

/* The scratch is the guest's own for one boot: no time of access is worth a write. */
static void add_disk(GPtrArray *steps, const VtPlan *plan)
{
    if (!plan->disk || plan->init != VT_INIT_AGENT)
        return;
    add_mount(steps, MS_NOATIME, plan->disk->filesystem, plan->disk->root, NEW_ROOT, "");
    add_string(steps, WIRE_STEP_ROOT, NEW_ROOT);
}

static void add_root(GPtrArray *steps, const VtPlan *plan)
{
    for (guint i = 0; i < plan->shares->len; i++) {
        const VtShare *share = g_ptr_array_index(plan->shares, i);
        g_autofree char *source = share_source(share, i);

        if (!share->is_root)
            continue;
        add_bind(steps, MS_RDONLY | MS_NOSUID | MS_NODEV, source, NEW_ROOT);
        add_string(steps, WIRE_STEP_ROOT, NEW_ROOT);
    }
}

/* A root of the host or of an image gets the files bound over its own; the initramfs gets them as
 * files. */
static void add_etc(GPtrArray *steps, const VtJob *job, const VtPlan *plan, guint index)
{
    bool is_bound = job->image != VT_IMAGE_TINY;

    if (is_bound)
        add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, ETC);
    for (guint i = 0; i < VT_GUEST_FILES; i++) {
        const VtGuestFile *file = &vt_guest_files[i];
        g_autofree char *text = file->make(job, plan, index);
        g_autofree char *place = g_build_filename("/etc", file->name, NULL);
        g_autofree char *source = g_build_filename(ETC, file->name, NULL);

        add_file(steps, is_bound ? source : place, text);
        if (file->is_merged && job->image == VT_IMAGE_DISK)
            add_string(steps, WIRE_STEP_COPY, place);
        if (is_bound)
            add_bind(steps, MS_RDONLY | MS_NOSUID | MS_NODEV, source, place);
    }
}

/* sshd itself is a session (engine/vm.c). The image's own ssh_config goes on behind ours; where there is
 * no ssh, nothing is bound. */
static void add_ssh(GPtrArray *steps, const VtJob *job, const VtPlan *plan, guint index,
                    const VtSshKeys *keys)
{
    const char *const client = "/etc/ssh/ssh_config";
    g_autofree char *server_config = vt_ssh_server_config(job, plan, index);
    g_autofree char *client_config = vt_ssh_client_config(plan);
    g_autofree char *known_hosts = vt_ssh_known_hosts(plan, keys);
    g_autofree char *authorized = g_strconcat(keys->owner.public_key, "\n", NULL);

    add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, VT_SSH_FOLDER);
    add_entry(steps, WIRE_STEP_MKDIR, NULL, 0755, "/run/sshd");
    add_file_of(steps, NULL, 0600, VT_SSH_FOLDER "/host_key", keys->host.private_key);
    add_file_of(steps, &job->owner, 0400, VT_SSH_FOLDER "/id", keys->owner.private_key);
    add_file(steps, VT_SSH_FOLDER "/authorized_keys", authorized);
    add_file(steps, VT_SSH_FOLDER "/known_hosts", known_hosts);
    add_file(steps, VT_SSH_FOLDER "/sshd_config", server_config);
    add_file(steps, VT_SSH_FOLDER "/ssh_config", client_config);
    add_string(steps, WIRE_STEP_COPY, client);
    add_bind(steps, MS_RDONLY | MS_NOSUID | MS_NODEV, VT_SSH_FOLDER "/ssh_config", client);
}

GPtrArray *vt_guest_plan_new(const VtJob *job, const VtPlan *plan, guint index,
                             const VtSshKeys *keys, guint64 now_ns, const void *random,
                             gsize random_size)
{
    GPtrArray *steps = g_ptr_array_new_with_free_func(step_free);

    if (random_size > 0)
        add_bytes(steps, WIRE_STEP_RANDOM, random, random_size);
    g_autoptr(GBytes) clock = vt_guest_clock(now_ns);
    add_bytes(steps, WIRE_STEP_CLOCK, g_bytes_get_data(clock, NULL), g_bytes_get_size(clock));
    add_string(steps, WIRE_STEP_HOSTNAME, plan->vms[index].name);
    add_string(steps, WIRE_STEP_LINK_UP, "lo");
    add_network(steps, plan, &plan->vms[index]);
    add_run(steps, job, plan);
    add_time_servers(steps, job);
    add_private(steps, plan);
    add_root(steps, plan);
    add_disk(steps, plan);
    if (!plan->disk) {
        add_tmpfs(steps, job, 0, "/tmp", 01777);
        add_tmpfs(steps, job, 0, "/var/tmp", 01777);
    }
    add_shares(steps, job, plan);
    add_etc(steps, job, plan, index);
    if (keys && vt_ssh_is_wanted(job, plan))
        add_ssh(steps, job, plan, index, keys);
    /* Scripts may know it by the place that the batch system gives it. */
    if (job->node_file)
        add_bind(steps, MS_RDONLY | MS_NOSUID | MS_NODEV, VT_GUEST_NODEFILE, job->node_file);
    return steps;
}
