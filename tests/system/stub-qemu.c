/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/system/stub-qemu.c - stands in QEMU's place in the cage and tries what a QEMU that was taken
 * over would try. Says on the serial line what came of it, then "end", and waits to be killed.
 *
 * argv is QEMU's and is not looked at. Static: it must run where only QEMU's own libraries are.
 */
#include "attempt.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define SERIAL 4 /* src/vm/machine.h */
#define PLANNED 8
#define TEXT(text) ((long)(text))

extern char **environ;

static const struct rlimit low = {10, 10}, unlimited = {RLIM_INFINITY, RLIM_INFINITY};
static const struct timeval year_2000 = {946684800, 0};
static struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
static const struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {~0u, ~0u, ~0u}};
static char byte;
static const struct iovec one = {&byte, 1};

static const struct {
    const char *name;
    long number, arguments[6];
} calls[] = {
    {"a user namespace", SYS_unshare, {CLONE_NEWUSER}},
    {"a mount namespace", SYS_unshare, {CLONE_NEWNS}},
    {"a network namespace", SYS_unshare, {CLONE_NEWNET}},
    {"a cgroup namespace", SYS_unshare, {CLONE_NEWCGROUP}},
    {"setns", SYS_setns, {0, 0}},
    {"clone into a user namespace", SYS_clone, {CLONE_NEWUSER | SIGCHLD}},
    {"clone3", SYS_clone3, {0, 0}},
    {"mount", SYS_mount, {TEXT("x"), TEXT("/lib"), TEXT("tmpfs"), 0, 0}},
    {"umount", SYS_umount2, {TEXT("/"), 2}},
    {"remount writable", SYS_mount, {TEXT("x"), TEXT("/"), 0, 0x1020, 0}},
    {"chroot", SYS_chroot, {TEXT("/")}},
    {"pivot_root", SYS_pivot_root, {TEXT("."), TEXT(".")}},
    {"ptrace the engine", SYS_ptrace, {0x4206, 1}},
    {"ptrace the file server", SYS_ptrace, {0x4206, 2}},
    {"be traced", SYS_ptrace, {0}},
    {"read the engine's memory", SYS_process_vm_readv, {1, TEXT(&one), 1, TEXT(&one), 1, 0}},
    {"write the engine's memory", SYS_process_vm_writev, {1, TEXT(&one), 1, TEXT(&one), 1, 0}},
    {"compare with the engine", SYS_kcmp, {1, 1, 0, 0, 0}},
    {"limits of the engine", SYS_prlimit64, {1, RLIMIT_NOFILE, TEXT(&low), 0}},
    {"core files again", SYS_prlimit64, {0, RLIMIT_CORE, TEXT(&unlimited), 0}},
    {"uid 0", SYS_setuid, {0}},
    {"gid 0", SYS_setgid, {0}},
    {"groups", SYS_setgroups, {0, 0}},
    {"fsuid 0", SYS_setresuid, {0, -1, -1}},
    {"capabilities", SYS_capset, {TEXT(&header), TEXT(all)}},
    {"bpf", SYS_bpf, {0}},
    {"perf_event_open", SYS_perf_event_open, {0}},
    {"add_key", SYS_add_key, {TEXT("user"), TEXT("x"), TEXT("x"), 1, -4}},
    {"keyctl", SYS_keyctl, {0, -3}},
    {"open_by_handle_at", SYS_open_by_handle_at, {AT_FDCWD, 0, 0}},
    {"io_uring", SYS_io_uring_setup, {1, 0}},
    {"userfaultfd", SYS_userfaultfd, {0}},
    {"load a module", SYS_init_module, {0, 0, 0}},
    {"kexec", SYS_kexec_load, {0, 0, 0, 0}},
    {"the kernel's log", SYS_syslog, {3, 0, 0}},
    {"reboot", SYS_reboot, {0xfee1dead, 672274793, 0x01234567, 0}},
    {"the clock", SYS_settimeofday, {TEXT(&year_2000), 0}},
    {"the host name", SYS_sethostname, {TEXT("x"), 1}},
    {"io ports", SYS_iopl, {3}},
    {"socket unix", SYS_socket, {AF_UNIX, SOCK_STREAM}},
    {"socket inet", SYS_socket, {AF_INET, SOCK_STREAM}},
    {"socket inet6", SYS_socket, {AF_INET6, SOCK_STREAM}},
    {"socket netlink", SYS_socket, {AF_NETLINK, SOCK_RAW}},
    {"socket packet", SYS_socket, {AF_PACKET, SOCK_RAW}},
    {"socket vsock", SYS_socket, {AF_VSOCK, SOCK_STREAM}},
    {"/proc", SYS_openat, {AT_FDCWD, TEXT("/proc/self/status"), O_RDONLY}},
    {"the engine's /proc", SYS_openat, {AT_FDCWD, TEXT("/proc/1/mem"), O_RDWR}},
    {"/etc/passwd", SYS_openat, {AT_FDCWD, TEXT("/etc/passwd"), O_RDONLY}},
    {"out by dots", SYS_openat, {AT_FDCWD, TEXT("../../../../../etc/passwd"), O_RDONLY}},
    {"run folders", SYS_openat, {AT_FDCWD, TEXT("/run"), O_RDONLY}},
    {"homes", SYS_openat, {AT_FDCWD, TEXT("/home"), O_RDONLY}},
    {"/tmp", SYS_openat, {AT_FDCWD, TEXT("/tmp"), O_RDONLY}},
    {"/dev/kvm", SYS_openat, {AT_FDCWD, TEXT("/dev/kvm"), O_RDWR}},
    {"/dev/mem", SYS_openat, {AT_FDCWD, TEXT("/dev/mem"), O_RDONLY}},
    {"/dev/net/tun", SYS_openat, {AT_FDCWD, TEXT("/dev/net/tun"), O_RDWR}},
    {"/sys", SYS_openat, {AT_FDCWD, TEXT("/sys"), O_RDONLY}},
    {"a shell", SYS_execve, {TEXT("/bin/sh"), 0, 0}},
    {"a new file", SYS_openat, {AT_FDCWD, TEXT("/x"), O_WRONLY | O_CREAT, 0600}},
    {"a new file in /dev", SYS_openat, {AT_FDCWD, TEXT("/dev/x"), O_WRONLY | O_CREAT, 0600}},
    {"a new file in /boot", SYS_openat, {AT_FDCWD, TEXT("/boot/x"), O_WRONLY | O_CREAT, 0600}},
    {"write the kernel", SYS_openat, {AT_FDCWD, TEXT("/boot/kernel"), O_WRONLY}},
    {"write QEMU", SYS_openat, {AT_FDCWD, TEXT("/usr/bin/qemu-system-x86_64"), O_WRONLY}},
    {"chmod the kernel", SYS_fchmodat, {AT_FDCWD, TEXT("/boot/kernel"), 0777}},
    {"remove the kernel", SYS_unlinkat, {AT_FDCWD, TEXT("/boot/kernel"), 0}},
    {"rename the kernel",
     SYS_renameat,
     {AT_FDCWD, TEXT("/boot/kernel"), AT_FDCWD, TEXT("/boot/x")}},
    {"a device node", SYS_mknodat, {AT_FDCWD, TEXT("/d"), S_IFCHR | 0600, 0x103}},
    {"a link", SYS_symlinkat, {TEXT("/etc/passwd"), AT_FDCWD, TEXT("/l")}},
    {"new rights by exec", SYS_prctl, {PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0}},
};

static void try_calls(void)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        const long *a = calls[i].arguments;
        long self = syscall(SYS_getpid);
        long result = syscall(calls[i].number, a[0], a[1], a[2], a[3], a[4], a[5]);
        if (syscall(SYS_getpid) != self)
            _exit(0);
        attempt_tell(calls[i].name, result);
    }
}

static void try_descriptors(void)
{
    long pidfd = syscall(SYS_pidfd_open, 1, 0);
    attempt_tell("take the engine's descriptors", syscall(SYS_pidfd_getfd, pidfd, 4, 0));
    if (pidfd >= 0)
        close((int)pidfd);
    int more = 0;
    for (int fd = PLANNED; fd < 1024; fd++)
        more += fcntl(fd, F_GETFD) >= 0;
    fprintf(attempt_log, "descriptors above the planned: %d\n", more);
}

static void try_signals(int is_others)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGABRT, SIGSTOP, SIGKILL};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        kill(1, numbers[i]);
    attempt_tell("signals to the engine", 0); /* it must hear of this line */
    if (is_others)
        attempt_tell("kill the file server", kill(2, SIGKILL));
}

static void tell_state(void)
{
    int capabilities = 0, words = 0, death = 0;
    for (int cap = 0; cap < 64; cap++)
        capabilities += prctl(PR_CAPBSET_READ, cap, 0, 0, 0) > 0;
    while (environ[words])
        words++;
    prctl(PR_GET_PDEATHSIG, &death);
    fprintf(attempt_log, "capabilities: %d\nvariables: %d\ndeath signal: %d\nno new privs: %d\n",
            capabilities, words, death, prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    fprintf(attempt_log, "groups: %d\n", getgroups(0, NULL));
}

int main(void)
{
    static char buffer[65536];
    attempt_log = fdopen(SERIAL, "w");
    if (!attempt_log)
        return 1;
    setvbuf(attempt_log, buffer, _IOFBF, sizeof buffer);
    try_calls();
    try_descriptors();
    tell_state();
    try_signals(getuid() >= 1900000000);
    fprintf(attempt_log, "end\n");
    fflush(attempt_log);
    for (;;)
        pause();
}
