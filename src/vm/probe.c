/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm/probe.c - a machine of six pages that counts.
 *
 * Theory of operation. Parent and child share a memory map. Its first page is the child's report: the
 * step that it is at, and how that ended. The others are the machine's RAM: page tables, code, and a
 * counter that the code writes at each step, so that the parent can tell a slow machine from a dead
 * one even when KVM_RUN never returns. The child goes through the steps of one table; its timer of
 * CPU time kills it when the work takes too much, the parent when the whole takes too long.
 *
 * The machine starts as a kernel's does after its first instructions: long mode, paging on, the
 * processor's features those that `-cpu host` shows.
 */
#include "vm/probe.h"

#include <asm/kvm.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/kvm.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"

/* The machine's RAM, by physical and virtual address. */
#define PAGE 4096u
#define TABLE_4 (1 * PAGE)
#define TABLE_3 (2 * PAGE)
#define TABLE_2 (3 * PAGE)
#define CODE (4 * PAGE)
#define COUNTER (5 * PAGE)
#define RAM (6 * PAGE)

#define PAGE_PRESENT 1u
#define PAGE_WRITABLE 2u
#define PAGE_LARGE (1u << 7) /* 2 MiB: all of the RAM in one entry */

#define CR0_PE (1u << 0)
#define CR0_ET (1u << 4)
#define CR0_NE (1u << 5)
#define CR0_PG (1u << 31)
#define CR4_PAE (1u << 5)
#define EFER_LME (1u << 8)
#define EFER_LMA (1u << 10)

#define TSS_ADDRESS 0xfffbd000ul /* three pages that Intel's KVM wants, where no RAM is */
#define MSR_ARCH_CAPABILITIES 0x10a
#define CPUID_ENTRIES 256 /* KVM's own limit */

/* With the number of steps in rcx and the counter's address in rdi. */
static const guint8 code[] = {
    0x48, 0xff, 0xc0, /* again: inc rax */
    0x48, 0x89, 0x07, /*        mov [rdi], rax */
    0x48, 0x39, 0xc8, /*        cmp rax, rcx */
    0x75, 0xf5,       /*        jne again */
    0xf4,             /*        hlt */
};

/* What the parent reads. */
typedef struct {
    volatile guint32 step;  /* index into `steps` */
    volatile guint32 done;  /* all steps were gone through */
    volatile gint32 err;    /* errno of the step that failed; 0: its answer is in `answer` */
    volatile gint32 answer; /* what it answered instead */
    volatile guint32 failed;
} Report;

typedef struct {
    const VtProbeCalls *calls;
    int kvm, vm, vcpu;
    struct kvm_run *run;
    guint8 *ram;
    Report *report;
} Machine;

static int call(const Machine *machine, int fd, unsigned long request, void *argument)
{
    return machine->calls->ioctl(fd, request, argument);
}

static bool open_device(Machine *machine)
{
    machine->kvm = machine->calls->open(machine->calls->device, O_RDWR | O_CLOEXEC);
    return machine->kvm >= 0;
}

/* An answer that is none of errno's. */
static bool expect(Machine *machine, int answer, int wanted)
{
    if (answer == wanted)
        return true;
    if (answer >= 0) {
        errno = 0;
        machine->report->answer = answer;
    }
    return false;
}

static bool check_version(Machine *machine)
{
    return expect(machine, call(machine, machine->kvm, KVM_GET_API_VERSION, NULL), KVM_API_VERSION);
}

static bool create_machine(Machine *machine)
{
    machine->vm = call(machine, machine->kvm, KVM_CREATE_VM, NULL);
    return machine->vm >= 0 &&
           call(machine, machine->vm, KVM_SET_TSS_ADDR, (void *)TSS_ADDRESS) >= 0;
}

static bool give_ram(Machine *machine)
{
    struct kvm_userspace_memory_region region = {
        .memory_size = RAM,
        .userspace_addr = (guint64)(guintptr)machine->ram,
    };
    return call(machine, machine->vm, KVM_SET_USER_MEMORY_REGION, &region) >= 0;
}

static bool create_cpu(Machine *machine)
{
    machine->vcpu = call(machine, machine->vm, KVM_CREATE_VCPU, NULL);
    if (machine->vcpu < 0)
        return false;
    int size = call(machine, machine->kvm, KVM_GET_VCPU_MMAP_SIZE, NULL);
    if (size < (int)sizeof *machine->run)
        return expect(machine, size, -1);
    void *run = machine->calls->map(machine->vcpu, (size_t)size);
    machine->run = run;
    return run != MAP_FAILED;
}

/* The features of `-cpu host`: a KVM that can't take back what it offers ends QEMU at once. */
static bool set_features(Machine *machine)
{
    union {
        struct kvm_cpuid2 head;
        char room[sizeof(struct kvm_cpuid2) + CPUID_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
    } cpuid = {.head.nent = CPUID_ENTRIES};
    union {
        struct kvm_msrs head;
        char room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
    } msrs = {.head.nmsrs = 1};
    msrs.head.entries[0].index = MSR_ARCH_CAPABILITIES;
    if (call(machine, machine->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) < 0 ||
        call(machine, machine->vcpu, KVM_SET_CPUID2, &cpuid) < 0)
        return false;
    if (call(machine, machine->kvm, KVM_GET_MSRS, &msrs) != 1)
        return true; /* a processor without it */
    return expect(machine, call(machine, machine->vcpu, KVM_SET_MSRS, &msrs), 1);
}

static void set_segment(struct kvm_segment *segment, guint8 type, bool is_code)
{
    *segment = (struct kvm_segment){
        .limit = 0xffffffff,
        .selector = is_code ? 8 : 16,
        .type = type,
        .present = 1,
        .s = 1,
        .g = 1,
        .l = is_code,
        .db = !is_code,
    };
}

static bool enter_long_mode(Machine *machine)
{
    struct kvm_sregs sregs;
    memset(&sregs, 0, sizeof sregs);
    if (call(machine, machine->vcpu, KVM_GET_SREGS, &sregs) < 0)
        return false;
    set_segment(&sregs.cs, 11, true);
    struct kvm_segment *const data[] = {&sregs.ds, &sregs.es, &sregs.fs, &sregs.gs, &sregs.ss};
    for (gsize i = 0; i < G_N_ELEMENTS(data); i++)
        set_segment(data[i], 3, false);
    sregs.cr3 = TABLE_4;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME | EFER_LMA;
    sregs.cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
    return call(machine, machine->vcpu, KVM_SET_SREGS, &sregs) >= 0;
}

static bool set_registers(Machine *machine)
{
    struct kvm_regs regs = {
        .rip = CODE,
        .rcx = VT_PROBE_STEPS,
        .rdi = COUNTER,
        .rflags = 2,
    };
    return call(machine, machine->vcpu, KVM_SET_REGS, &regs) >= 0;
}

static guint64 count(const guint8 *ram)
{
    return *(const volatile guint64 *)(const void *)(ram + COUNTER);
}

static bool run_machine(Machine *machine)
{
    const struct itimerval budget = {.it_value = {.tv_usec = VT_PROBE_CPU_MS * 1000}};
    setitimer(ITIMER_PROF, &budget, NULL);
    int err;
    while ((err = call(machine, machine->vcpu, KVM_RUN, NULL)) < 0 && errno == EINTR)
        ;
    if (err < 0 || !expect(machine, (int)machine->run->exit_reason, KVM_EXIT_HLT))
        return false;
    errno = EIO; /* of a machine that stopped before its work was done */
    return count(machine->ram) == VT_PROBE_STEPS;
}

/* In order; the first two are what vt_probe_look() does. */
static const struct {
    const char *name;
    bool (*run)(Machine *machine);
} steps[] = {
    {"opening the device", open_device},
    {"KVM_GET_API_VERSION", check_version},
    {"KVM_CREATE_VM", create_machine},
    {"KVM_SET_USER_MEMORY_REGION", give_ram},
    {"KVM_CREATE_VCPU", create_cpu},
    {"setting the processor's features", set_features},
    {"KVM_SET_SREGS", enter_long_mode},
    {"KVM_SET_REGS", set_registers},
    {"KVM_RUN", run_machine},
};
enum { STEP_OPEN = 0, STEPS_LOOK = 2, STEP_RUN = G_N_ELEMENTS(steps) - 1 };

static void go_through(Machine *machine, guint n_steps)
{
    Report *report = machine->report;
    for (guint i = 0; i < n_steps; i++) {
        report->step = i;
        if (!steps[i].run(machine)) {
            report->err = errno;
            report->failed = 1;
            return;
        }
    }
    report->done = 1;
}

static void fill_ram(guint8 *ram)
{
    const struct {
        guint32 at;
        guint32 entry;
    } tables[] = {
        {TABLE_4, TABLE_3 | PAGE_PRESENT | PAGE_WRITABLE},
        {TABLE_3, TABLE_2 | PAGE_PRESENT | PAGE_WRITABLE},
        {TABLE_2, PAGE_PRESENT | PAGE_WRITABLE | PAGE_LARGE},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(tables); i++)
        *(guint64 *)(void *)(ram + tables[i].at) = tables[i].entry;
    memcpy(ram + CODE, code, sizeof code);
}

/* The child. Never returns. */
static void run_child(Machine *machine)
{
    const struct rlimit none = {0, 0};
    sigset_t prof;
    sigemptyset(&prof);
    sigaddset(&prof, SIGPROF);
    signal(SIGPROF, SIG_DFL);
    sigprocmask(SIG_UNBLOCK, &prof, NULL);
    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    go_through(machine, G_N_ELEMENTS(steps));
    _exit(0);
}

/* Mode and group of a device that may not be opened. (transfer full) */
static char *explain_forbidden(const char *device, int err)
{
    struct stat st;
    if (err != EACCES || stat(device, &st) < 0)
        return g_strdup_printf("%s may not be opened here: %s (device rules of a container or "
                               "cgroup)",
                               device, g_strerror(err));
    const struct group *group = getgrgid(st.st_gid);
    g_autofree char *name = group ? g_strdup(group->gr_name) : g_strdup_printf("%u", st.st_gid);
    return g_strdup_printf("%s may not be opened by this user: its mode is %04o, its group '%s'",
                           device, st.st_mode & 07777, name);
}

static VtProbeVerdict explain_open(const char *device, int err, char **text)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
        *text = g_strdup_printf("there is no %s", device);
        return VT_PROBE_MISSING;
    case ENODEV:
    case ENXIO:
        *text = g_strdup_printf("there is no driver behind %s", device);
        return VT_PROBE_MISSING;
    case EACCES:
    case EPERM:
        *text = explain_forbidden(device, err);
        return VT_PROBE_FORBIDDEN;
    default:
        *text = g_strdup_printf("%s cannot be opened: %s", device, g_strerror(err));
        return VT_PROBE_REFUSED;
    }
}

/* A step that came back, and should have come back otherwise. */
static VtProbeVerdict explain_failed(const Machine *machine, char **text)
{
    const Report *report = machine->report;
    const char *device = machine->calls->device;
    if (report->step == STEP_OPEN)
        return explain_open(device, report->err, text);
    const char *name = steps[report->step].name;
    if (report->err != 0)
        *text = g_strdup_printf("%s refuses %s: %s", device, name, g_strerror(report->err));
    else
        *text = g_strdup_printf("%s answers %s with %d", device, name, report->answer);
    return VT_PROBE_REFUSED;
}

/* A child that was killed by signal `number`; 0: by us, at its deadline. */
static VtProbeVerdict explain_killed(const Machine *machine, int number, char **text)
{
    const char *device = machine->calls->device;
    const char *name = steps[machine->report->step].name;
    guint64 n = count(machine->ram);
    if (number != 0 && number != SIGPROF) {
        *text = g_strdup_printf("%s cannot be tried: signal %d at %s", device, number, name);
        return VT_PROBE_REFUSED;
    }
    if (n == 0) {
        *text = g_strdup_printf("%s does not come back from %s", device, name);
        return VT_PROBE_HANGS;
    }
    *text = g_strdup_printf("%s is too slow: %.1f million steps in %d ms%s, %u were due", device,
                            (double)n / 1e6, number ? VT_PROBE_CPU_MS : VT_PROBE_WALL_MS,
                            number ? " of CPU time" : "", VT_PROBE_STEPS / 1000000);
    return VT_PROBE_CRAWLS;
}

/* Waits for the child until its deadline and kills it then. What the kernel does not even kill is
 * left to whoever reaps this process's children. */
static VtProbeVerdict await(const Machine *machine, pid_t pid, char **text)
{
    int status = 0;
    vt_autofd pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    bool ended = pidfd >= 0 && vt_fd_wait(pidfd, VT_PROBE_WALL_MS);
    if (!ended)
        kill(pid, SIGKILL);
    if (ended || pidfd < 0 || vt_fd_wait(pidfd, VT_PROBE_REAP_MS))
        waitpid(pid, &status, 0);
    if (machine->report->done) {
        *text = g_strdup_printf("%s works", machine->calls->device);
        return VT_PROBE_WORKS;
    }
    if (machine->report->failed)
        return explain_failed(machine, text);
    return explain_killed(machine, ended && WIFSIGNALED(status) ? WTERMSIG(status) : 0, text);
}

VtProbeVerdict vt_probe_run(const VtProbeCalls *calls, char **text)
{
    Machine machine = {.calls = calls, .kvm = -1, .vm = -1, .vcpu = -1};
    guint8 *shared =
        mmap(NULL, PAGE + RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) {
        *text = g_strdup_printf("%s cannot be tried: %s", calls->device, g_strerror(errno));
        return VT_PROBE_REFUSED;
    }
    machine.report = (Report *)(void *)shared;
    machine.ram = shared + PAGE;
    fill_ram(machine.ram);
    VtProbeVerdict verdict = VT_PROBE_REFUSED;
    pid_t pid = fork();
    if (pid == 0)
        run_child(&machine);
    if (pid < 0)
        *text = g_strdup_printf("%s cannot be tried: %s", calls->device, g_strerror(errno));
    else
        verdict = await(&machine, pid, text);
    munmap(shared, PAGE + RAM);
    return verdict;
}

VtProbeVerdict vt_probe_look(const VtProbeCalls *calls, char **text)
{
    Report report = {0};
    Machine machine = {.calls = calls, .kvm = -1, .report = &report};
    go_through(&machine, STEPS_LOOK);
    vt_fd_clear(&machine.kvm);
    if (report.failed)
        return explain_failed(&machine, text);
    *text = g_strdup_printf("%s works", calls->device);
    return VT_PROBE_WORKS;
}

static int kernel_open(const char *path, int flags)
{
    return open(path, flags);
}

static int kernel_ioctl(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument);
}

static void *kernel_map(int fd, size_t size)
{
    return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

const VtProbeCalls vt_probe_kernel = {
    .device = VT_KVM_DEVICE,
    .open = kernel_open,
    .ioctl = kernel_ioctl,
    .map = kernel_map,
};
