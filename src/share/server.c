/* SPDX-License-Identifier: Apache-2.0 */
/* share/server.c - starting virtiofsd with the owner's rights. */
#include "share/server.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "base/error.h"
#include "base/fd.h"
#include "cage/cage.h"
#include "cage/filter.h"
#include "cage/lookup.h"
#include "share/command.h"
#include "share/ids.h"
#include "share/preload.h"
#include "share/program.h"
#include "share/tree.h"

#define ERROR_TEXT_MAX 1024
#define EXEC_MS 30000 /* from the fork to the program: 10 ms, and a hung file system's time */
#define OPEN_FILES ((rlim_t)1024 * 1024) /* the kernel's fs.nr_open, unless it was changed */

/* What virtiofsd needs inside its user namespace to act for the owner: without SETPCAP it dies by
 * SIGSYS. */
static const int kept_capabilities[] = {CAP_CHOWN,  CAP_DAC_OVERRIDE, CAP_FOWNER,  CAP_FSETID,
                                        CAP_SETGID, CAP_SETUID,       CAP_SETPCAP, CAP_SYS_CHROOT,
                                        CAP_MKNOD,  CAP_SETFCAP};

/* What parent and child hold while the server is made. */
typedef struct {
    int listener;
    int log;
    int report[2]; /* the text of an error, if any; its end: the program runs */
    int ids[2];    /* socket pair: "mounts and namespace made" one way, "ids mapped" the other */
} Start;

#define START_NONE ((Start){.listener = -1, .log = -1, .report = {-1, -1}, .ids = {-1, -1}})

static void start_clear(Start *start)
{
    vt_fd_clear(&start->listener);
    vt_fd_clear(&start->log);
    for (int i = 0; i < 2; i++) {
        vt_fd_clear(&start->report[i]);
        vt_fd_clear(&start->ids[i]);
    }
}

/* Root serves another: ids have to change, in a user namespace of root's making. */
static bool is_for_another(const VtOwner *owner)
{
    return geteuid() == 0 && owner->uid != 0;
}

/* As many descriptors as the hard limit allows, or root may have. Returns their number. */
static guint64 raise_open_files(void)
{
    struct rlimit limit = {0};
    getrlimit(RLIMIT_NOFILE, &limit);
    const struct rlimit hard = {limit.rlim_max, limit.rlim_max};
    const struct rlimit many = {MAX(limit.rlim_max, OPEN_FILES), MAX(limit.rlim_max, OPEN_FILES)};
    if (setrlimit(RLIMIT_NOFILE, &many) < 0)
        setrlimit(RLIMIT_NOFILE, &hard);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

/* What the owner named is looked up as the owner would. */
static GArray *open_sources(const VtPlan *plan, bool is_root, const VtOwner *owner, GError **error)
{
    bool is_changed;
    GArray *sources =
        vt_lookup_start(owner, &is_changed, error) ? vt_tree_open(plan, is_root, error) : NULL;
    if (vt_lookup_stop(&is_changed, sources ? error : NULL))
        return sources;
    g_clear_pointer(&sources, g_array_unref);
    return NULL;
}

/* The groups stay in force, whether the namespace knows them or not, and cannot be changed in it. */
static bool take_groups(const VtOwner *owner, GError **error)
{
    return setgroups(owner->n_groups, owner->groups) == 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot take the owner's groups");
}

/* Everything outside the list goes; what stays survives exec, whatever the uid. */
static bool keep_capabilities(GError **error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    for (gsize i = 0; i < G_N_ELEMENTS(kept_capabilities); i++)
        data[kept_capabilities[i] / 32].permitted |= 1u << (kept_capabilities[i] % 32);
    for (int i = 0; i < 2; i++)
        data[i].effective = data[i].inheritable = data[i].permitted;
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (!(data[cap / 32].permitted & (1u << (cap % 32))))
            prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &header, data) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot set the file server's capabilities");
    for (gsize i = 0; i < G_N_ELEMENTS(kept_capabilities); i++)
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, kept_capabilities[i], 0, 0) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "cannot keep the file server's capabilities");
    return true;
}

/* The child's half of meet_child(). */
static bool meet_parent(int ids, GError **error)
{
    char byte;
    return (write(ids, "", 1) == 1 && read(ids, &byte, 1) == 1) ||
           vt_error_set(error, VT_ERROR_HOST, "cannot map the owner's ids");
}

/* The child's half of becoming the owner. The order decides (engine.md, section 3): made as root,
 * the namespace is root's, and the owner can neither enter it nor trace what runs in it. */
static bool become_owner(const VtOwner *owner, int ids, GError **error)
{
    if (unshare(CLONE_NEWUSER) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the file server's user namespace");
    if (!meet_parent(ids, error))
        return false;
    if (prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0 ||
        setresgid(owner->gid, owner->gid, owner->gid) < 0 ||
        setresuid(owner->uid, owner->uid, owner->uid) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot take the owner's ids");
    return true;
}

/* The parent's half. */
static bool map_ids(pid_t pid, const VtOwner *owner, guint *left_out, GError **error)
{
    g_autofree char *self = g_file_read_link("/proc/self", NULL);
    /* In another PID namespace's /proc the number is somebody else's. */
    if (!self || atoi(self) != getpid())
        return vt_error_set(error, VT_ERROR_HOST,
                            "cannot map the owner's ids: /proc is another PID namespace's");
    g_autofree char *gids = vt_gid_map(owner, left_out);
    g_autofree char *uids = g_strdup_printf("%u %u 1\n", owner->uid, owner->uid);
    const char *const writes[][2] = {{"setgroups", "deny"}, {"gid_map", gids}, {"uid_map", uids}};
    for (gsize i = 0; i < G_N_ELEMENTS(writes); i++) {
        g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, writes[i][0]);
        vt_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
        gssize size = (gssize)strlen(writes[i][1]);
        if (fd < 0 || write(fd, writes[i][1], (gsize)size) != size)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                      "cannot write '%s' of the file server", writes[i][0]);
    }
    return true;
}

/* At its own number, without close-on-exec. */
static bool place_preload(GError **error)
{
    vt_autofd object =
        vt_fd_from_bytes("vtorque-preload", vt_preload_bytes, vt_preload_size, error);
    if (object < 0)
        return false;
    vt_autofd high = fcntl(object, F_DUPFD_CLOEXEC, 64);
    if (high < 0 || dup2(high, VT_PRELOAD_FD) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot place the file server's descriptors");
    /* If it was made at that very number, that is not its to close any more. */
    if (object == VT_PRELOAD_FD)
        vt_fd_steal(&object);
    return true;
}

static bool place_descriptors(const VtServerKind *kind, const Start *start, GError **error)
{
    vt_autofd null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(start->log, 2) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot place the file server's descriptors");
    /* The error report and the listener move up, all else below goes at exec. */
    int listener = fcntl(start->listener, F_DUPFD_CLOEXEC, 64);
    if (listener < 0 || dup2(listener, VT_SERVER_FD) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot place the file server's descriptors");
    return !kind->has_preload || place_preload(error);
}

static bool exec_server(const VtPlan *plan, bool is_root, const VtOwner *owner, const Start *start,
                        GError **error)
{
    const VtServerKind *kind = vt_server_kind(plan->file_server);
    const char *program = vt_server_find(kind);
    guint64 files = raise_open_files();
    if (!program)
        return vt_server_check(plan->file_server, plan->locks, error);
    if (unshare(CLONE_NEWNS) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the file server's mounts");
    /* virtiofsd keeps /proc/self/fd open: it shall lead to no setting of the kernel. */
    if (!vt_cage_mount_read_only("/proc", error))
        return false;
    g_autoptr(GArray) sources = open_sources(plan, is_root, owner, error);
    if (!sources || !vt_tree_build(plan, sources, error))
        return false;
    if (is_for_another(owner) ? !vt_program_hide(program, error) || !take_groups(owner, error) ||
                                    !become_owner(owner, start->ids[1], error)
                              : !meet_parent(start->ids[1], error))
        return false;
    if (!keep_capabilities(error) || !place_descriptors(kind, start, error))
        return false;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot give up rights");
    if (!vt_filter_load_server(owner->uid != 0, error))
        return false;
    g_autofree const char **argv = vt_server_command(plan, is_root, files);
    execve(program, (char *const *)argv, (char *const *)kind->environment);
    return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot execute '%s'", program);
}

/* The child. Never returns. */
static void run_server(const VtPlan *plan, bool is_root, const VtOwner *owner, Start *start)
{
    g_autoptr(GError) error = NULL;
    sigset_t batch;
    sigemptyset(&batch);
    sigprocmask(SIG_SETMASK, &batch, NULL);
    /* Batch systems signal whole cgroups: the server outlives that. */
    const int ignored[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGPIPE};
    for (gsize i = 0; i < G_N_ELEMENTS(ignored); i++)
        signal(ignored[i], SIG_IGN);
    int report = fcntl(start->report[1], F_DUPFD_CLOEXEC, 80);
    exec_server(plan, is_root, owner, start, &error);
    (void)!write(report, error->message, MIN(strlen(error->message), ERROR_TEXT_MAX));
    _exit(VT_EXIT_FAILED);
}

/* Waits until the child's mounts are its own: what is mounted here from now on is not the server's.
 * A child that failed before has reported. */
static bool meet_child(pid_t pid, const VtOwner *owner, Start *start, guint *left_out,
                       GError **error)
{
    char byte;
    vt_fd_clear(&start->report[1]);
    vt_fd_clear(&start->ids[1]);
    if (!vt_fd_wait(start->ids[0], EXEC_MS) || read(start->ids[0], &byte, 1) != 1)
        return true;
    if (is_for_another(owner) && !map_ids(pid, owner, left_out, error))
        return false;
    return write(start->ids[0], "", 1) == 1 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot answer the file server");
}

bool vt_server_wait(VtServer *server, GError **error)
{
    char text[ERROR_TEXT_MAX + 1];
    /* The owner may stop it as soon as it has the owner's ids. */
    if (!vt_fd_wait(server->report, EXEC_MS))
        return vt_error_set(error, VT_ERROR_HOST, "the file server did not start within %d s",
                            EXEC_MS / 1000);
    ssize_t n = read(server->report, text, sizeof text - 1);
    vt_fd_clear(&server->report);
    if (n == 0)
        return true;
    text[n > 0 ? n : 0] = '\0';
    return vt_error_set(error, VT_ERROR_HOST, "cannot start the file server: %s", text);
}

/* A listening socket with an abstract name of the kernel's choice, and a connection to it. */
static bool connect_pair(int *listener, int *connection, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);
    vt_autofd listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    vt_autofd connecting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = listening >= 0 && connecting >= 0 &&
              bind(listening, (struct sockaddr *)&address, size) == 0 && listen(listening, 1) == 0;
    size = sizeof address;
    ok = ok && getsockname(listening, (struct sockaddr *)&address, &size) == 0 &&
         connect(connecting, (struct sockaddr *)&address, size) == 0;
    if (!ok)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the file server's socket");
    *listener = vt_fd_steal(&listening);
    *connection = vt_fd_steal(&connecting);
    return true;
}

bool vt_server_start(const VtPlan *plan, bool is_root, const VtOwner *owner, VtServer *server,
                     GError **error)
{
    __attribute__((cleanup(start_clear))) Start start = START_NONE;
    vt_autofd connection = -1, log = -1;
    int log_pipe[2];
    if (!connect_pair(&start.listener, &connection, error))
        return false;
    if (pipe2(log_pipe, O_CLOEXEC) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the file server's pipes");
    log = log_pipe[0], start.log = log_pipe[1];
    if (pipe2(start.report, O_CLOEXEC) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, start.ids) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno,
                                  "cannot make the file server's pipes");
    pid_t pid = fork();
    if (pid < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork the file server");
    if (pid == 0)
        run_server(plan, is_root, owner, &start);
    /* A child that failed is reaped with all others, by the engine's end. */
    guint left_out = 0;
    if (!meet_child(pid, owner, &start, &left_out, error))
        return false;
    *server = (VtServer){.pid = pid,
                         .socket = vt_fd_steal(&connection),
                         .log = vt_fd_steal(&log),
                         .report = vt_fd_steal(&start.report[0]),
                         .left_out = left_out};
    return true;
}
