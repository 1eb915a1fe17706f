/* SPDX-License-Identifier: Apache-2.0 */
/* net/uplink.c - the way out of a job's guest. */
#include "net/uplink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "job/plan.h"

#define PASST_FD 3
#define OPEN_FILES 2048 /* its sockets: so many ports of the machine a guest can take */
#define RESOLV_CONF "/etc/resolv.conf"
#define WORD(text) #text
#define NUMBER(macro) WORD(macro)

/* passt wants an interface of which it could take the address, and does not find it by itself where
 * there is no default route. (transfer full), NULL: there is none. */
static char *find_interface(void)
{
    struct ifaddrs *all = NULL;
    char *found = NULL;
    if (getifaddrs(&all) < 0)
        return NULL;
    for (const struct ifaddrs *one = all; one && !found; one = one->ifa_next)
        if (one->ifa_addr && one->ifa_addr->sa_family == AF_INET && (one->ifa_flags & IFF_UP) &&
            !(one->ifa_flags & IFF_LOOPBACK))
            found = g_strdup(one->ifa_name);
    freeifaddrs(all);
    return found;
}

const char *vt_uplink_missing(void)
{
    g_autofree char *interface = find_interface();
    if (access(VT_UPLINK_PROGRAM, X_OK) < 0)
        return VT_UPLINK_PROGRAM " is not installed";
    return interface ? NULL : "the machine has no network (IPv4)";
}

/* The words of the lines of `file` that begin with `key`. (transfer full) */
static GStrv read_words(const char *file, const char *key)
{
    g_autofree char *text = NULL;
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    g_file_get_contents(file, &text, NULL, NULL);
    g_auto(GStrv) lines = g_strsplit(text ? text : "", "\n", -1);
    for (char **line = lines; *line; line++) {
        g_auto(GStrv) words = g_strsplit_set(*line, " \t\r", -1);
        for (char **word = words; g_strcmp0(words[0], key) == 0 && *word; word++)
            if (word > words && **word)
                g_strv_builder_add(found, *word);
    }
    return g_strv_builder_end(found);
}

static bool is_reached(const char *server)
{
    struct in_addr address;
    guint32 number = inet_pton(AF_INET, server, &address) == 1 ? ntohl(address.s_addr) : 0;
    return number >> 24 != 0 && number >> 24 != 127;
}

GStrv vt_uplink_name_servers(void)
{
    static const char *const files[] = {RESOLV_CONF, "/run/systemd/resolve/resolv.conf"};
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    guint n = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(files) && n == 0; i++) {
        g_auto(GStrv) servers = read_words(files[i], "nameserver");
        for (char **server = servers; *server && n < VT_NAME_SERVERS_MAX; server++)
            if (is_reached(*server))
                g_strv_builder_add(found, *server), n++;
    }
    return g_strv_builder_end(found);
}

GStrv vt_uplink_search_list(void)
{
    return read_words(RESOLV_CONF, "search");
}

/* Without the mapping of the gateway's address a guest does not reach what listens on this machine's
 * loopback alone, but for frames that net/relay.h stops. */
static GStrv passt_command(const char *interface)
{
    static const char *const words[] = {
        VT_UPLINK_PROGRAM, "--foreground", "--quiet",   "--fd",        NUMBER(PASST_FD),
        "--ipv4-only",     "--no-map-gw",  "--no-dhcp", "--no-ra",     "--no-ndp",
        "--no-dhcpv6",     "--tcp-ports",  "none",      "--udp-ports", "none",
    };
    g_autoptr(GStrvBuilder) argv = g_strv_builder_new();
    g_autofree char *address = vt_address_format(VT_UPLINK_ADDRESS);
    g_autofree char *gateway = vt_address_format(VT_UPLINK_GATEWAY);
    g_autofree char *prefix = g_strdup_printf("%u", VT_UPLINK_PREFIX);
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        g_strv_builder_add(argv, words[i]);
    g_strv_builder_add_many(argv, "--interface", interface, "--address", address, "--netmask",
                            prefix, "--gateway", gateway, NULL);
    return g_strv_builder_end(argv);
}

/* Root's is nobody's business: passt becomes nobody by itself then. */
static bool become_owner(const VtOwner *owner)
{
    if (geteuid() != 0 || owner->uid == 0)
        return true;
    return setgroups(0, NULL) == 0 && setresgid(owner->gid, owner->gid, owner->gid) == 0 &&
           setresuid(owner->uid, owner->uid, owner->uid) == 0;
}

static void block_signals(void)
{
    const int blocked[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};
    sigset_t batch;
    sigemptyset(&batch);
    for (gsize i = 0; i < G_N_ELEMENTS(blocked); i++)
        sigaddset(&batch, blocked[i]);
    sigprocmask(SIG_SETMASK, &batch, NULL);
}

/* Until the guest says something. False: it never will. */
static bool wait_for_frame(int fd)
{
    struct pollfd frame = {.fd = fd, .events = POLLIN};
    while (poll(&frame, 1, -1) < 0 && errno == EINTR)
        continue;
    return frame.revents & POLLIN;
}

/* The child. Never returns. */
static void run_passt(const VtOwner *owner, int fd, int log, char *const argv[])
{
    char *const envp[] = {NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int high = fcntl(fd, F_DUPFD_CLOEXEC, 64);
    block_signals();
    if (null >= 0 && high >= 0 && dup2(null, 0) >= 0 && dup2(null, 1) >= 0 && dup2(log, 2) >= 0 &&
        dup2(high, PASST_FD) >= 0 && chdir("/") == 0 && become_owner(owner) &&
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
        prctl(PR_SET_PDEATHSIG, SIGKILL) == 0) {
        syscall(SYS_close_range, PASST_FD + 1, ~0u, 0);
        if (!wait_for_frame(PASST_FD))
            _exit(0);
        setrlimit(RLIMIT_NOFILE, &(struct rlimit){OPEN_FILES, OPEN_FILES});
        execve(argv[0], argv, envp);
    }
    dprintf(STDERR_FILENO, "cannot execute " VT_UPLINK_PROGRAM ": %s\n", g_strerror(errno));
    _exit(VT_EXIT_FAILED);
}

/* Its mounts are its own from its birth on, before the engine changes its root. */
static pid_t fork_passt(const VtOwner *owner, int fd, int log, char *const argv[])
{
    pid_t pid = (pid_t)syscall(SYS_clone, CLONE_NEWNS | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        run_passt(owner, fd, log, argv);
    return pid;
}

bool vt_uplink_start(const VtOwner *owner, VtUplink *uplink, GError **error)
{
    g_autofree char *interface = find_interface();
    int fds[2], logs[2];
    if (!interface)
        return vt_error_set(error, VT_ERROR_HOST, "the machine has no network (IPv4)");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the uplink's socket");
    vt_autofd theirs = fds[1];
    uplink->fd = fds[0];
    if (pipe2(logs, O_CLOEXEC | O_NONBLOCK) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the uplink's log");
    vt_autofd writing = logs[1];
    uplink->log = logs[0];
    g_auto(GStrv) argv = passt_command(interface);
    uplink->pid = fork_passt(owner, theirs, writing, argv);
    return uplink->pid > 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork the uplink");
}
