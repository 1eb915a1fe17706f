/* SPDX-License-Identifier: Apache-2.0 */
/*
 * node/vtorqued.c - the daemon: three doors, and a process for each visitor.
 *
 * Theory of operation. One loop over five descriptors: everybody's door, root's door, that of other
 * nodes (where PEER_PORT is set), what children have found out, signals. It reads no byte of anybody but
 * root's run folders: it looks at the peer, counts, forks (node/verbs.h), reaps. A visitor from another
 * node counts for its address until the child has seen that it is a user, and from then on for that user:
 * it may stay, and a login node is many users. Keepers whose starter has ended become its children; one
 * that was killed is swept up after. Nothing is kept that a restart would miss.
 *
 * Runs as: root. Trusts: the kernel, and root's settings.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"
#include "conf/settings.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/registration.h"
#include "node/peer.h"
#include "node/verbs.h"

#define DOOR_MAX 64 /* visitors of one door at a time */
#define USER_MAX 8  /* of one user, of one node */
/* From here on everybody's door is for those whose jobs live here: a user may be as many as subuid(5)
 * gives them ids. */
#define CROWD_MAX (DOOR_MAX / 2)
#define FOLDER "/run/vtorque"
#define LOCK FOLDER "/daemon.lock"

/* DOOR_CALLER is the peers' too: of users who were let in. */
typedef enum { DOOR_USER, DOOR_HOOK, DOOR_PEER, DOORS, DOOR_CALLER = DOORS, DOOR_CLASSES } Door;

/* What a child tells: whole, or not at all. */
typedef struct {
    pid_t pid;
    uid_t uid;
} Claim;

typedef struct {
    pid_t pid; /* 0: free */
    Door door;
    guint32 who; /* uid; DOOR_PEER: IPv4 address, DOOR_CALLER: uid */
} Entry;

typedef struct {
    int doors[DOORS]; /* -1: there is none */
    int signals;
    int lock;
    int claims[2]; /* pipe: children of DOOR_PEER write */
    Entry entries[DOOR_CLASSES * DOOR_MAX];
    char *settings_file;
    sigset_t handled;
} Daemon;

/* A daemon that was killed leaves its sockets; the new one's take their place at once. */
static int open_door(const char *path, mode_t mode, GError **error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    vt_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    g_snprintf(address.sun_path, sizeof address.sun_path, "%s.new", path);
    unlink(address.sun_path);
    mode_t old = umask(0777 & ~mode);
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
              listen(fd, DOOR_MAX) == 0;
    umask(old);
    if (!ok || rename(address.sun_path, path) < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the socket '%s'", path);
        return -1;
    }
    return vt_fd_steal(&fd);
}

/* Everybody looks up the sockets in it, and nobody but root may change it. */
static bool make_folder(GError **error)
{
    struct stat st;
    if (mkdir(FOLDER, 0755) < 0 && errno != EEXIST)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make '%s'", FOLDER);
    if (lstat(FOLDER, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 || st.st_mode & 022)
        return vt_error_set(error, VT_ERROR_HOST,
                            "'%s' must be root's directory that nobody else can write to", FOLDER);
    if (chmod(FOLDER, 0755) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", FOLDER);
    return true;
}

static bool take_lock(Daemon *daemon, GError **error)
{
    struct flock request = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat st = {0};
    /* One that ended meanwhile has removed the file that we opened. */
    while (st.st_nlink == 0) {
        vt_fd_clear(&daemon->lock);
        daemon->lock = open(LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (daemon->lock < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", LOCK);
        if (fcntl(daemon->lock, F_SETLK, &request) < 0)
            return vt_error_set(error, VT_ERROR_HOST, "another vtorqued runs here");
        if (fstat(daemon->lock, &st) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look at '%s'", LOCK);
    }
    return true;
}

/* While the lock is held: no other daemon has made its own yet. The lock's file is the last. */
static void remove_files(void)
{
    unlink(CTL_DOOR_USER);
    unlink(CTL_DOOR_HOOK);
    unlink(LOCK);
}

static bool watch_signals(Daemon *daemon, GError **error)
{
    sigemptyset(&daemon->handled);
    sigaddset(&daemon->handled, SIGCHLD);
    sigaddset(&daemon->handled, SIGTERM);
    sigaddset(&daemon->handled, SIGINT);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_SETMASK, &daemon->handled, NULL);
    daemon->signals = signalfd(-1, &daemon->handled, SFD_CLOEXEC | SFD_NONBLOCK);
    if (daemon->signals < 0 || pipe2(daemon->claims, O_CLOEXEC | O_NONBLOCK) < 0 ||
        prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot watch processes");
    return true;
}

static Entry *find_entry(Daemon *daemon, pid_t pid)
{
    for (gsize i = 0; i < G_N_ELEMENTS(daemon->entries); i++)
        if (daemon->entries[i].pid == pid)
            return &daemon->entries[i];
    return NULL;
}

static bool is_full(const Daemon *daemon, Door door, guint32 who)
{
    guint all = 0, own = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(daemon->entries); i++) {
        const Entry *entry = &daemon->entries[i];
        if (entry->pid == 0 || entry->door != door)
            continue;
        all++;
        own += entry->who == who;
    }
    bool is_roots = door == DOOR_HOOK || (door == DOOR_USER && who == 0);
    if (all >= DOOR_MAX || is_roots)
        return all >= DOOR_MAX;
    return own >= USER_MAX || (door == DOOR_USER && all >= CROWD_MAX && !vt_visitor_has_job(who));
}

/* In the child: what was the daemon's alone goes. */
static void become_child(Daemon *daemon)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    for (int i = 0; i < DOORS; i++)
        vt_fd_clear(&daemon->doors[i]);
    vt_fd_clear(&daemon->signals);
    vt_fd_clear(&daemon->lock);
    vt_fd_clear(&daemon->claims[0]);
}

/* In the child, which knows how many there were when it was forked; of those that came at the same time the
 * daemon ends what is too much. */
static bool count_user(gpointer data, uid_t uid)
{
    const Daemon *daemon = data;
    const Claim claim = {getpid(), uid};
    return !is_full(daemon, DOOR_CALLER, uid) &&
           write(daemon->claims[1], &claim, sizeof claim) == sizeof claim;
}

static void take_claims(Daemon *daemon)
{
    Claim claim;
    while (read(daemon->claims[0], &claim, sizeof claim) == sizeof claim) {
        Entry *entry = find_entry(daemon, claim.pid);
        if (!entry)
            continue;
        bool is_too_much = is_full(daemon, DOOR_CALLER, claim.uid);
        *entry = (Entry){claim.pid, DOOR_CALLER, claim.uid};
        if (is_too_much)
            kill(claim.pid, SIGKILL);
    }
}

static void serve(Daemon *daemon, int connection, Door door, guint32 who)
{
    Entry *entry = find_entry(daemon, 0);
    pid_t own = getpid();
    pid_t pid = entry ? fork() : -1;
    if (pid < 0)
        return;
    if (pid > 0) {
        *entry = (Entry){.pid = pid, .door = door, .who = who};
        return;
    }
    const VtVisitor visitor = {.fd = connection,
                               .uid = who,
                               .is_hook = door == DOOR_HOOK,
                               .settings_file = daemon->settings_file};
    const VtPeerVisit peer = {connection, daemon->settings_file, own, count_user, daemon};
    become_child(daemon);
    _exit(door == DOOR_PEER ? vt_follow(&peer) : vt_visitor_serve(&visitor));
}

/* Who has come, as the kernel says. False: nobody whom this door is for. */
static bool look_at_peer(Door door, int connection, guint32 *who)
{
    struct ucred peer;
    struct sockaddr_in address = {0};
    socklen_t size = sizeof peer, address_size = sizeof address;
    if (door == DOOR_PEER) {
        struct sockaddr_in own = {0};
        socklen_t own_size = sizeof own;
        bool ok = getpeername(connection, (struct sockaddr *)&address, &address_size) == 0 &&
                  getsockname(connection, (struct sockaddr *)&own, &own_size) == 0;
        *who = address.sin_addr.s_addr;
        /* No other node has an address of this one: whoever has is a user here. */
        return ok && address.sin_family == AF_INET && ntohl(*who) >> 24 != IN_LOOPBACKNET &&
               *who != own.sin_addr.s_addr;
    }
    bool ok = getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    *who = ok ? peer.uid : (guint32)-1;
    return ok && (door == DOOR_USER || peer.uid == 0);
}

static void answer_door(Daemon *daemon, Door door)
{
    guint32 who;
    vt_autofd connection = accept4(daemon->doors[door], NULL, NULL, SOCK_CLOEXEC);
    if (connection >= 0 && look_at_peer(door, connection, &who) && !is_full(daemon, door, who))
        serve(daemon, connection, door, who);
}

/* In a child: an engine may take its time to die. */
static void sweep(Daemon *daemon)
{
    if (fork() != 0)
        return;
    become_child(daemon);
    vt_autofd root = ctl_root_find();
    if (root >= 0)
        ctl_root_sweep(root, CTL_SWEEP_MS);
    ctl_registration_sweep();
    _exit(0);
}

static void reap(Daemon *daemon)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        Entry *entry = find_entry(daemon, pid);
        if (entry)
            *entry = (Entry){0};
        else if (WIFSIGNALED(status)) /* a keeper: nobody tidied up after it */
            sweep(daemon);
    }
}

/* False when the daemon is to end. */
static bool take_signal(Daemon *daemon)
{
    struct signalfd_siginfo info;
    while (read(daemon->signals, &info, sizeof info) == sizeof info)
        if (info.ssi_signo != SIGCHLD)
            return false;
    reap(daemon);
    return true;
}

static void loop(Daemon *daemon)
{
    for (bool goes_on = true; goes_on;) {
        struct pollfd ready[DOORS + 2] = {[DOORS] = {daemon->signals, POLLIN, 0},
                                          {daemon->claims[0], POLLIN, 0}};
        for (int door = 0; door < DOORS; door++)
            ready[door] = (struct pollfd){daemon->doors[door], POLLIN, 0};
        if (poll(ready, G_N_ELEMENTS(ready), -1) < 0)
            continue;
        /* Before the end of who has claimed is seen. */
        if (ready[DOORS + 1].revents)
            take_claims(daemon);
        if (ready[DOORS].revents)
            goes_on = take_signal(daemon);
        for (int door = 0; door < DOORS; door++)
            if (ready[door].revents)
                answer_door(daemon, (Door)door);
    }
}

static bool open_all(Daemon *daemon, GError **error)
{
    /* What a starter left open is nobody's here. */
    syscall(SYS_close_range, 3, ~0u, 0);
    umask(022);
    if (geteuid() != 0)
        return vt_error_set(error, VT_ERROR_USER, "must be run by root");
    g_autoptr(VtSettings) settings = vt_settings_load(daemon->settings_file, error);
    if (!settings || !make_folder(error) || !take_lock(daemon, error) ||
        !watch_signals(daemon, error))
        return false;
    sweep(daemon);
    /* In this order: who finds root's door finds the daemon whole. */
    guint port = (guint)vt_settings_get_number(settings, VT_SETTING_PEER_PORT);
    g_autoptr(GError) problem = NULL;
    daemon->doors[DOOR_PEER] = port == 0 ? -1 : vt_peer_listen(port, &problem);
    /* Jobs of one node need none. */
    if (problem)
        g_printerr("vtorqued: no jobs of several nodes: %s\n", problem->message);
    daemon->doors[DOOR_USER] = open_door(CTL_DOOR_USER, 0666, error);
    daemon->doors[DOOR_HOOK] =
        daemon->doors[DOOR_USER] < 0 ? -1 : open_door(CTL_DOOR_HOOK, 0600, error);
    return daemon->doors[DOOR_HOOK] >= 0;
}

static bool parse(int argc, char **argv, Daemon *daemon, bool *is_version, GError **error)
{
    gboolean version = FALSE;
    g_autofree char *file = NULL;
    const GOptionEntry entries[] = {
        {"config", 0, 0, G_OPTION_ARG_FILENAME, &file, "settings to use in place of the site's",
         "FILE"},
        {"version", 0, 0, G_OPTION_ARG_NONE, &version, "print the version and end", NULL},
        {NULL},
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_option_context_set_summary(
        context, "Starts and finds the virtual machines of batch jobs on this node.");
    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, error))
        return false;
    if (argc > 1)
        return vt_error_set(error, VT_ERROR_USER, "takes no argument '%s'", argv[1]);
    *is_version = version;
    daemon->settings_file =
        file ? g_canonicalize_filename(file, NULL) : vt_settings_find_file(false);
    return true;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Daemon daemon = {.doors = {-1, -1, -1}, .signals = -1, .lock = -1, .claims = {-1, -1}};
    bool is_version = false;
    if (!vt_fd_fill_standard())
        return VT_EXIT_FAILED;
    bool ok = parse(argc, argv, &daemon, &is_version, &error);
    if (ok && is_version) {
        g_print("vtorqued (vTorque) " VT_VERSION "\n");
        return 0;
    }
    if (ok && open_all(&daemon, &error)) {
        g_printerr("vtorqued: ready\n");
        loop(&daemon);
        remove_files();
        return 0;
    }
    g_printerr("vtorqued: %s\n", error->message);
    return error->domain == G_OPTION_ERROR ? VT_EXIT_USAGE : vt_error_exit_status(error);
}
