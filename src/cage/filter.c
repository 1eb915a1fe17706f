/* SPDX-License-Identifier: Apache-2.0 */
/* cage/filter.c - system call filters. */
#include "cage/filter.h"

#include <errno.h>
#include <sched.h>
#include <seccomp.h>

#include "base/error.h"

#define NAMESPACE_FLAGS                                                                            \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID |  \
     CLONE_NEWNET)

static const int forbidden[] = {
    SCMP_SYS(unshare),
    SCMP_SYS(setns),
    SCMP_SYS(mount),
    SCMP_SYS(umount2),
    SCMP_SYS(pivot_root),
    SCMP_SYS(chroot),
    SCMP_SYS(open_tree),
    SCMP_SYS(move_mount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fsmount),
    SCMP_SYS(fspick),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(kcmp),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(bpf),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(add_key),
    SCMP_SYS(request_key),
    SCMP_SYS(keyctl),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(kexec_load),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(delete_module),
    SCMP_SYS(socket),
    SCMP_SYS(ioprio_set),
    SCMP_SYS(syslog),
    SCMP_SYS(modify_ldt),
};

static void filter_clear(scmp_filter_ctx *filter)
{
    if (*filter)
        seccomp_release(*filter);
}
#define autofilter __attribute__((cleanup(filter_clear))) scmp_filter_ctx

static bool load(scmp_filter_ctx filter, int err, GError **error)
{
    if (err == 0)
        err = seccomp_load(filter);
    return err == 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, -err, "cannot load the system call filter");
}

/* What a file server needs of it: workers with a working directory of their own (unshare with
 * CLONE_FS alone), its own change of root, and the handles of its files. */
static const int server_needs[] = {
    SCMP_SYS(unshare),
    SCMP_SYS(chroot),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(open_by_handle_at),
};

static bool is_needed(int number)
{
    for (gsize i = 0; i < G_N_ELEMENTS(server_needs); i++)
        if (server_needs[i] == number)
            return true;
    return false;
}

/* No new namespaces by a call whose first argument is flags. */
static int add_flags(scmp_filter_ctx filter, int number)
{
    int err = 0;
    for (int bit = 0; bit < 32 && err == 0; bit++)
        if (NAMESPACE_FLAGS & (1u << bit))
            err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), number, 1,
                                   SCMP_A0(SCMP_CMP_MASKED_EQ, 1u << bit, 1u << bit));
    return err;
}

/* What nobody may. */
static int add_forbidden(scmp_filter_ctx filter, bool is_server)
{
    int err = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(forbidden) && err == 0; i++)
        if (!is_server || !is_needed(forbidden[i]))
            err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), forbidden[i], 0);
    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    return err == 0 ? add_flags(filter, SCMP_SYS(clone)) : err;
}

bool vt_filter_load_cage(GError **error)
{
    autofilter filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return vt_error_set(error, VT_ERROR_INTERNAL, "cannot make a system call filter");
    int err = add_forbidden(filter, false);
    /* The engine has QEMU's id: its limits are not QEMU's to change. */
    if (err == 0)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prlimit64), 1,
                               SCMP_A0(SCMP_CMP_NE, 0));
    return load(filter, err, error);
}

bool vt_filter_load_server(bool has_fixed_groups, GError **error)
{
    autofilter filter = seccomp_init(SCMP_ACT_ALLOW);
    if (!filter)
        return vt_error_set(error, VT_ERROR_INTERNAL, "cannot make a system call filter");
    int err = add_forbidden(filter, true);
    if (err == 0)
        err = add_flags(filter, SCMP_SYS(unshare));
    if (err == 0 && has_fixed_groups)
        err = seccomp_rule_add(filter, SCMP_ACT_ERRNO(0), SCMP_SYS(setgroups), 0);
    return load(filter, err, error);
}
