/* SPDX-License-Identifier: Apache-2.0 */
/* vm/command.c - QEMU's command line, part by part. Written for QEMU 7.2 and later. */
#include "vm/command.h"

#include <string.h>

/* What the guest has no use for stays out; under emulation each device costs some time at boot. */
#define MACHINE                                                                                    \
    "q35,memory-backend=ram,dump-guest-core=off,sata=off,smbus=off,usb=off,vmport=off,"            \
    "i8042=off"

/* Everything that emulation can do, since programs of the host may need it, without
 *   la57  page tables of five levels: a level more to walk at each miss
 *   erms, fsrm  with them kernel and libc copy by "rep movsb", which is emulated byte by byte
 *   svm   machines inside the guest
 * Measured: as quick to boot as qemu64; the first two cost 0.1 s. */
#define EMULATED_CPU "max,-la57,-erms,-fsrm,-svm"
/* The machine's own, as far as a saved guest can be loaded elsewhere (which is QEMU's default),
 * without machines inside the guest: the more of the host's kernel it can reach. */
#define KVM_CPU "host,migratable=on,-vmx,-svm"

static void add(GStrvBuilder *argv, const char *option, const char *value)
{
    g_strv_builder_add(argv, option);
    if (value)
        g_strv_builder_add(argv, value);
}

/* The option with a value made by printf(); nothing in the plan that comes here can hold a comma.
 */
static void addf(GStrvBuilder *argv, const char *option, const char *format, ...)
    G_GNUC_PRINTF(3, 4);

static void addf(GStrvBuilder *argv, const char *option, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *value = g_strdup_vprintf(format, args);
    va_end(args);
    add(argv, option, value);
}

/* Never "-accel kvm:tcg": what the plan says is what the user was told. */
static void add_processor(GStrvBuilder *argv, const VtPlan *plan)
{
    if (plan->accel == VT_ACCEL_KVM) {
        add(argv, "-accel", "kvm");
        add(argv, "-cpu", KVM_CPU);
    } else {
        addf(argv, "-accel", "tcg,thread=multi,tb-size=%u", VT_TRANSLATION_MIB);
        add(argv, "-cpu", EMULATED_CPU);
    }
}

static void add_machine(GStrvBuilder *argv, const VtPlan *plan, const VtPlanVm *vm)
{
    add(argv, "-nodefaults", NULL);
    add(argv, "-no-user-config", NULL);
    addf(argv, "-name", "guest=%s,debug-threads=on", vm->name);
    add(argv, "-machine", MACHINE);
    add_processor(argv, plan);
    addf(argv, "-smp", "%u", plan->vcpus);
    addf(argv, "-m", "%uM", plan->ram_mib);
    /* Shared: the file server maps it. */
    addf(argv, "-object", "memory-backend-memfd,id=ram,size=%uM,share=on", plan->ram_mib);
    add(argv, "-display", "none");
    add(argv, "-vga", "none");
    add(argv, "-rtc", "base=utc");
    add(argv, "-no-reboot", NULL);
    add(argv, "-msg", "timestamp=off");
    add(argv, "-sandbox",
        "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_kernel(GStrvBuilder *argv, const VtPlan *plan)
{
    add(argv, "-kernel", VT_CAGE_KERNEL);
    add(argv, "-initrd", VT_CAGE_INITRD);
    add(argv, "-append", plan->kernel_args);
}

/* rng-builtin asks the host's kernel by a system call: no device node in the cage. */
static void add_devices(GStrvBuilder *argv, const VtMachineFds *fds)
{
    addf(argv, "-chardev", "socket,id=qmp,fd=%d", fds->qmp);
    add(argv, "-mon", "chardev=qmp,mode=control");
    addf(argv, "-chardev", "socket,id=serial,fd=%d", fds->serial);
    add(argv, "-device", "isa-serial,chardev=serial");
    add(argv, "-object", "rng-builtin,id=rng");
    add(argv, "-device", "virtio-rng-pci,rng=rng,disable-legacy=on");
    add(argv, "-device", "virtio-serial-pci,max_ports=2,disable-legacy=on");
    addf(argv, "-chardev", "socket,id=agent,fd=%d", fds->agent);
    add(argv, "-device", "virtserialport,chardev=agent,name=" VT_AGENT_PORT);
}

static void add_share(GStrvBuilder *argv, const char *id, int fd, const char *tag)
{
    addf(argv, "-chardev", "socket,id=%s,fd=%d", id, fd);
    addf(argv, "-device", "vhost-user-fs-pci,chardev=%s,tag=%s", id, tag);
}

/* The pool's file is only read and has no lock to take: it never changes. What is written goes with
 * the job, so that a flush need not reach a store. A full store stops the guest, and the engine
 * says so; other errors are the guest's to see. */
static void add_disk(GStrvBuilder *argv, const VtDisk *disk, const VtMachineFds *fds)
{
    addf(argv, "-add-fd", "fd=%d,set=1", fds->disk);
    addf(argv, "-add-fd", "fd=%d,set=2", fds->scratch);
    add(argv, "-blockdev",
        "{\"driver\":\"file\",\"node-name\":\"image-file\",\"filename\":\"/dev/fdset/1\","
        "\"read-only\":true,\"locking\":\"off\"}");
    addf(argv, "-blockdev",
         "{\"driver\":\"%s\",\"node-name\":\"image\",\"file\":\"image-file\",\"read-only\":true%s}",
         vt_choice_word(&vt_format_choice, disk->format),
         disk->format == VT_FORMAT_QCOW2 ? ",\"backing\":null" : "");
    add(argv, "-blockdev",
        "{\"driver\":\"file\",\"node-name\":\"scratch-file\",\"filename\":\"/dev/fdset/2\","
        "\"locking\":\"off\",\"discard\":\"unmap\",\"cache\":{\"direct\":false,\"no-flush\":true}"
        "}");
    add(argv, "-blockdev",
        "{\"driver\":\"qcow2\",\"node-name\":\"scratch\",\"file\":\"scratch-file\","
        "\"backing\":\"image\",\"discard\":\"unmap\",\"cache\":{\"direct\":false,\"no-flush\":true}"
        "}");
    add(argv, "-device",
        "virtio-blk-pci,drive=scratch,disable-legacy=on,werror=enospc,rerror=report");
}

/* No boot from it, so no firmware for that. */
static void add_nic(GStrvBuilder *argv, const char *id, const guint8 *mac, VtNicKind nic,
                    guint tap_mtu, int fd)
{
    guint mtu = nic == VT_NIC_TAP     ? tap_mtu
                : nic == VT_NIC_OUTER ? VT_NIC_OUTER_MTU
                                      : VT_NIC_SOCKET_MTU;

    if (nic == VT_NIC_TAP)
        addf(argv, "-netdev", "tap,id=%s,fd=%d,vhost=off", id, fd);
    else
        addf(argv, "-netdev", "dgram,id=%s,local.type=fd,local.str=%d", id, fd);
    addf(argv, "-device",
         "virtio-net-pci,netdev=%s,mac=%02x:%02x:%02x:%02x:%02x:%02x,host_mtu=%u,romfile=,"
         "disable-legacy=on",
         id, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], mtu);
}

GStrv vt_command_new(const VtPlan *plan, guint index, VtNicKind nic, const char *qemu,
                     const VtMachineFds *fds)
{
    g_autoptr(GStrvBuilder) argv = g_strv_builder_new();

    g_strv_builder_add(argv, qemu);
    add_machine(argv, plan, &plan->vms[index]);
    add_kernel(argv, plan);
    add_devices(argv, fds);
    if (plan->disk)
        add_disk(argv, plan->disk, fds);
    if (vt_plan_has_share(plan, true))
        add_share(argv, "root", fds->root, VT_ROOT_TAG);
    if (vt_plan_has_share(plan, false))
        add_share(argv, "files", fds->files, VT_FILES_TAG);
    if (nic != VT_NIC_NONE)
        add_nic(argv, "net", plan->vms[index].mac, nic, plan->mtu ? plan->mtu : VT_NIC_TAP_MTU,
                fds->net);
    if (plan->has_uplink)
        add_nic(argv, "outer", plan->vms[index].outer_mac, VT_NIC_OUTER, 0, fds->outer);
    return g_strv_builder_end(argv);
}

/* A word in quotes only where a shell needs them. (transfer full) */
static char *quoted(const char *word)
{
    static const char plain[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_=,.:/+@%";

    if (word[0] && strspn(word, plain) == strlen(word))
        return g_strdup(word);
    return g_shell_quote(word);
}

char *vt_command_explain(char *const *argv)
{
    GString *out = g_string_new(NULL);

    for (gsize i = 0; argv[i]; i++) {
        g_autofree char *word = quoted(argv[i]);
        if (i > 0)
            g_string_append(out, argv[i][0] == '-' ? " \\\n  " : " ");
        g_string_append(out, word);
    }
    g_string_append_c(out, '\n');
    return g_string_free(out, FALSE);
}
