/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-probe.c - the probe of KVM over kernels that are not there, then over the one that
 * is.
 *
 * A fake runs in the probe's child. Its state is set before the probe is.
 */
#include "vm/probe.h"

#include <asm/kvm.h>
#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

enum { KVM_FD = 1000, VM_FD, VCPU_FD };
#define COUNTER 0x5000 /* where the payload counts */

typedef enum {
    RUN_WORKS,
    RUN_INTERRUPTED, /* works, after signals */
    RUN_SLEEPS,
    RUN_SPINS,       /* no step, but all of the CPU */
    RUN_CRAWLS,      /* steps, with all of the CPU */
    RUN_CRAWLS_IDLE, /* steps, and then sleep */
    RUN_SHUTDOWN,    /* a triple fault */
    RUN_SHORT,       /* says that it has done all, and has not */
    RUN_FAILS,
    RUN_KILLED, /* the child gets a signal that is not ours */
} Run;

/* One kernel. */
typedef struct {
    const char *name;
    int open_err;          /* 0: opens */
    unsigned long failing; /* request that is answered by `answer`, and errno where that is -1 */
    int answer;
    int err;
    unsigned long sleeping; /* request that never comes back */
    Run run;
    bool has_no_msr; /* no MSR 0x10a to read */
    VtProbeVerdict verdict;
    const char *text; /* pattern */
} Kernel;

static const Kernel *kernel;
static guint8 *ram;
static struct kvm_run kvm_run_page;

G_GNUC_NORETURN static void sleep_for_ever(void)
{
    for (;;)
        pause();
}

static int fake_open(const char *path, int flags)
{
    g_assert_nonnull(path);
    g_assert_cmpint(flags & O_ACCMODE, ==, O_RDWR);
    errno = kernel->open_err;
    return kernel->open_err ? -1 : KVM_FD;
}

static void count(guint64 n)
{
    *(volatile guint64 *)(void *)(ram + COUNTER) = n;
}

static int stop(guint32 reason, guint64 n)
{
    count(n);
    kvm_run_page.exit_reason = reason;
    return 0;
}

static int fake_run(void)
{
    static int interrupts;
    struct itimerval budget;
    /* Nothing runs without a limit of its CPU time. */
    if (getitimer(ITIMER_PROF, &budget) < 0 || budget.it_value.tv_usec == 0) {
        errno = ETIME;
        return -1;
    }
    switch (kernel->run) {
    case RUN_WORKS:
        return stop(KVM_EXIT_HLT, VT_PROBE_STEPS);
    case RUN_INTERRUPTED:
        errno = EINTR;
        return interrupts++ < 3 ? -1 : stop(KVM_EXIT_HLT, VT_PROBE_STEPS);
    case RUN_SLEEPS:
        sleep_for_ever();
    case RUN_SPINS:
        for (volatile int i = 0;; i = 1 - i)
            ;
    case RUN_CRAWLS:
        for (volatile guint64 i = 0;; i++)
            count(1 + i / 1000000);
    case RUN_CRAWLS_IDLE:
        count(1000000);
        sleep_for_ever();
    case RUN_SHUTDOWN:
        return stop(KVM_EXIT_SHUTDOWN, 0);
    case RUN_SHORT:
        return stop(KVM_EXIT_HLT, VT_PROBE_STEPS - 1);
    case RUN_FAILS:
        errno = EIO;
        return -1;
    case RUN_KILLED:
        raise(SIGTERM);
        sleep_for_ever();
    }
    return -1;
}

static int fake_ioctl(int fd, unsigned long request, void *argument)
{
    if (kernel->sleeping && request == kernel->sleeping)
        sleep_for_ever();
    if (kernel->failing && request == kernel->failing) {
        errno = kernel->err;
        return kernel->answer;
    }
    switch (request) {
    case KVM_GET_API_VERSION:
        return fd == KVM_FD ? KVM_API_VERSION : -1;
    case KVM_CREATE_VM:
        return fd == KVM_FD ? VM_FD : -1;
    case KVM_SET_USER_MEMORY_REGION: {
        const struct kvm_userspace_memory_region *region = argument;
        ram = (guint8 *)(guintptr)region->userspace_addr;
        return 0;
    }
    case KVM_CREATE_VCPU:
        return fd == VM_FD ? VCPU_FD : -1;
    case KVM_GET_VCPU_MMAP_SIZE:
        return sizeof kvm_run_page;
    case KVM_GET_MSRS:
        return kernel->has_no_msr ? 0 : 1;
    case KVM_SET_MSRS:
        return kernel->has_no_msr ? 0 : 1;
    case KVM_RUN:
        return fd == VCPU_FD ? fake_run() : -1;
    default:
        return 0;
    }
}

static void *fake_map(int fd, size_t size)
{
    g_assert_cmpint(fd, ==, VCPU_FD);
    g_assert_cmpuint(size, ==, sizeof kvm_run_page);
    return &kvm_run_page;
}

static const Kernel kernels[] = {
    {"works", .verdict = VT_PROBE_WORKS, .text = "DEVICE works"},
    {"interrupted", .run = RUN_INTERRUPTED, .verdict = VT_PROBE_WORKS, .text = "DEVICE works"},
    {"no-msr", .has_no_msr = true, .verdict = VT_PROBE_WORKS, .text = "DEVICE works"},
    {"missing", .open_err = ENOENT, .verdict = VT_PROBE_MISSING, .text = "there is no DEVICE"},
    {"no-driver", .open_err = ENODEV, .verdict = VT_PROBE_MISSING,
     .text = "there is no driver behind DEVICE"},
    {"forbidden", .open_err = EACCES, .verdict = VT_PROBE_FORBIDDEN,
     .text = "DEVICE may not be opened by this user: its mode is 0640, its group '*'"},
    {"forbidden-by-cgroup", .open_err = EPERM, .verdict = VT_PROBE_FORBIDDEN,
     .text = "DEVICE may not be opened here: Operation not permitted (device rules of a container "
             "or cgroup)"},
    {"cannot-open", .open_err = EMFILE, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE cannot be opened: Too many open files"},
    {"other-version", .failing = KVM_GET_API_VERSION, .answer = 11, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE answers KVM_GET_API_VERSION with 11"},
    {"no-kvm", .failing = KVM_GET_API_VERSION, .answer = -1, .err = ENOTTY,
     .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE refuses KVM_GET_API_VERSION: Inappropriate ioctl for device"},
    {"no-machine", .failing = KVM_CREATE_VM, .answer = -1, .err = EBUSY,
     .verdict = VT_PROBE_REFUSED, .text = "DEVICE refuses KVM_CREATE_VM: Device or resource busy"},
    {"no-ram", .failing = KVM_SET_USER_MEMORY_REGION, .answer = -1, .err = ENOMEM,
     .verdict = VT_PROBE_REFUSED, .text = "DEVICE refuses KVM_SET_USER_MEMORY_REGION: *"},
    {"no-cpu", .failing = KVM_CREATE_VCPU, .answer = -1, .err = EINVAL, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE refuses KVM_CREATE_VCPU: Invalid argument"},
    {"small-run-page", .failing = KVM_GET_VCPU_MMAP_SIZE, .answer = 16, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE answers KVM_CREATE_VCPU with 16"},
    {"msr-not-taken", .failing = KVM_SET_MSRS, .answer = 0, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE answers setting the processor's features with 0"},
    {"no-long-mode", .failing = KVM_SET_SREGS, .answer = -1, .err = EINVAL,
     .verdict = VT_PROBE_REFUSED, .text = "DEVICE refuses KVM_SET_SREGS: Invalid argument"},
    {"run-fails", .run = RUN_FAILS, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE refuses KVM_RUN: Input/output error"},
    {"shutdown", .run = RUN_SHUTDOWN, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE answers KVM_RUN with 8"},
    {"short", .run = RUN_SHORT, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE refuses KVM_RUN: Input/output error"},
    {"killed", .run = RUN_KILLED, .verdict = VT_PROBE_REFUSED,
     .text = "DEVICE cannot be tried: signal 15 at KVM_RUN"},
    {"hangs", .run = RUN_SLEEPS, .verdict = VT_PROBE_HANGS,
     .text = "DEVICE does not come back from KVM_RUN"},
    {"hangs-spinning", .run = RUN_SPINS, .verdict = VT_PROBE_HANGS,
     .text = "DEVICE does not come back from KVM_RUN"},
    {"hangs-early", .sleeping = KVM_CREATE_VM, .verdict = VT_PROBE_HANGS,
     .text = "DEVICE does not come back from KVM_CREATE_VM"},
    {"crawls", .run = RUN_CRAWLS, .verdict = VT_PROBE_CRAWLS,
     .text = "DEVICE is too slow: * million steps in *, 20 were due"},
    {"crawls-asleep", .run = RUN_CRAWLS_IDLE, .verdict = VT_PROBE_CRAWLS,
     .text = "DEVICE is too slow: 1.0 million steps in 800 ms, 20 were due"},
};

/* A file stands for the device where its mode is looked at. (transfer full) */
static char *make_device(void)
{
    char *path = NULL;
    int fd = g_file_open_tmp("vtorque-kvm-XXXXXX", &path, NULL);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fchmod(fd, 0640), ==, 0);
    close(fd);
    return path;
}

static void check_text(const char *text, const char *pattern, const char *device)
{
    g_autoptr(GString) wanted = g_string_new(pattern);
    g_string_replace(wanted, "DEVICE", device, 0);
    if (!g_pattern_match_simple(wanted->str, text))
        g_error("'%s' is not '%s'", text, wanted->str);
}

static guint open_descriptors(void)
{
    guint n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void test_fake(gconstpointer data)
{
    g_autofree char *device = make_device();
    g_autofree char *text = NULL;
    guint descriptors = open_descriptors();
    kernel = data;
    const VtProbeCalls calls = {device, fake_open, fake_ioctl, fake_map};
    g_assert_cmpint(vt_probe_run(&calls, &text), ==, kernel->verdict);
    check_text(text, kernel->text, device);
    g_assert_cmpuint(open_descriptors(), ==, descriptors);
    /* No child is left, but for one that was killed and that a busy machine has not yet ended. */
    int status;
    if (waitpid(-1, &status, 0) >= 0)
        g_assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    g_unlink(device);
}

/* The first look sees as much as it can see. */
static void test_look(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(kernels); i++) {
        g_autofree char *device = make_device();
        g_autofree char *text = NULL;
        kernel = &kernels[i];
        bool is_seen = kernel->open_err || kernel->failing == KVM_GET_API_VERSION;
        const VtProbeCalls calls = {device, fake_open, fake_ioctl, fake_map};
        g_assert_cmpint(vt_probe_look(&calls, &text), ==,
                        is_seen ? kernel->verdict : VT_PROBE_WORKS);
        check_text(text, is_seen ? kernel->text : "DEVICE works", device);
        g_unlink(device);
    }
}

/* Paths that are no KVM, by the kernel's own calls. */
static void test_no_device(void)
{
    const struct {
        const char *path;
        VtProbeVerdict verdict;
        const char *text;
    } rows[] = {
        {"/nonexistent/kvm", VT_PROBE_MISSING, "there is no DEVICE"},
        {"/dev/null/kvm", VT_PROBE_MISSING, "there is no DEVICE"},
        {"/dev/null", VT_PROBE_REFUSED, "DEVICE refuses KVM_GET_API_VERSION: *"},
        {"/", VT_PROBE_REFUSED, "DEVICE cannot be opened: Is a directory"},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtProbeCalls calls = vt_probe_kernel;
        g_autofree char *text = NULL;
        calls.device = rows[i].path;
        g_assert_cmpint(vt_probe_run(&calls, &text), ==, rows[i].verdict);
        check_text(text, rows[i].text, rows[i].path);
    }
}

/* What this machine has, whatever it is: a result, and always the same. */
static void test_real_device(void)
{
    g_autofree char *text = NULL, *again = NULL;
    VtProbeVerdict verdict = vt_probe_run(&vt_probe_kernel, &text);
    g_test_message("verdict %d: %s", (int)verdict, text);
    g_assert_cmpint(verdict, <=, VT_PROBE_CRAWLS);
    g_assert_nonnull(strstr(text, VT_KVM_DEVICE));
    g_assert_null(strchr(text, '\n'));
    if (access(VT_KVM_DEVICE, F_OK) < 0)
        g_assert_cmpint(verdict, ==, VT_PROBE_MISSING);
    VtProbeVerdict look = vt_probe_look(&vt_probe_kernel, &again);
    if (verdict <= VT_PROBE_FORBIDDEN)
        g_assert_cmpint(look, ==, verdict);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(kernels); i++) {
        g_autofree char *path = g_strconcat("/probe/fake/", kernels[i].name, NULL);
        g_test_add_data_func(path, &kernels[i], test_fake);
    }
    g_test_add_func("/probe/look", test_look);
    g_test_add_func("/probe/no-device", test_no_device);
    g_test_add_func("/probe/real-device", test_real_device);
    return g_test_run();
}
