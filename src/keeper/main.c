/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper/main.c - the keeper: lock, birth, wait, removal.
 *
 * Theory of operation. reset -> lock (run folder taken) -> leaf made -> engine cloned, its pid
 * written, released -> wait -> leaf and folder removed. Whatever fails before the engine lives is
 * told over the run connection as CTL_OUTCOME. After the release the keeper holds the lock, the
 * lifeline's write end and the two descriptors of the folder, nothing else.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/birth.h"
#include "ctl/folder.h"
#include "ctl/gate.h"
#include "ctl/run.h"
#include "keeper/birth.h"

#define EXIT_FAILED 125
/* Root's keeper holds the job's lock and its end: it goes after nearly everything else. */
#define OOM_SCORE_ROOT "-500"

/* What the starter's arguments say (ctl/birth.h). */
typedef struct {
    const char *root, *id, *name, *owner;
    int slots;
    LeafWish wish;
} Order;

/* What the keeper holds: a folder for each slot; the first is the job's run folder, in the others is
 * only what tells whose they are. */
typedef struct {
    CtlFolder folders[KEEPER_SLOTS_MAX];
    int count;
} Slots;

/* A gate is a socket; /dev/null in its place is none. */
static int gate_fd(void)
{
    struct stat st;
    return fstat(KEEPER_FD_GATE, &st) == 0 && S_ISSOCK(st.st_mode) ? KEEPER_FD_GATE : -1;
}

static void tell_phase(unsigned phase)
{
    struct timespec now;
    uint8_t frame[WIRE_HEADER_SIZE + 8];
    WireHeader header = {.length = 8, .type = CTL_PHASE, .aux = (uint8_t)phase};
    WireWriter writer = wire_writer(frame + WIRE_HEADER_SIZE, 8);
    clock_gettime(CLOCK_MONOTONIC, &now);
    wire_put_u64(&writer, (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000);
    wire_header_format(&header, frame);
    (void)!send(KEEPER_FD_RUN, frame, sizeof frame, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Tells the owner why there is no job. Returns the exit status. */
static int fail(int err, const char *what, const char *object)
{
    char text[512];
    snprintf(text, sizeof text, "%s%s%s%s: %s", what, object ? " '" : "", object ? object : "",
             object ? "'" : "", strerror(-err));
    ctl_run_send_text(KEEPER_FD_RUN, CTL_OUTCOME, CTL_REASON_HOST, text);
    return EXIT_FAILED;
}

/* The starter's soft limits are the script's, who gets them in the guest; the programs need what
 * the hard ones leave. */
static void raise_limits(void)
{
    static const int raised[] = {RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_DATA,
                                 RLIMIT_FSIZE,  RLIMIT_NPROC,   RLIMIT_CPU};
    struct rlimit limit;
    for (size_t i = 0; i < sizeof raised / sizeof *raised; i++)
        if (getrlimit(raised[i], &limit) == 0) {
            limit.rlim_cur = limit.rlim_max;
            setrlimit(raised[i], &limit);
        }
    /* 1 and not 0: neither holds a core file, and the kernel does not even start the program that a
     * core_pattern with a pipe names, which would be handed all of a guest's memory (core(5)). */
    setrlimit(RLIMIT_CORE, &(struct rlimit){1, 1});
}

/* Leaves nothing of the starter's behind: not its session, signals, limits or descriptors. Its
 * niceness and its affinity stay: they are part of what the job was given. */
static int reset(void)
{
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigset_t waited;
    setsid();
    for (int signal_number = 1; signal_number < NSIG; signal_number++)
        sigaction(signal_number, &standard, NULL);
    sigfillset(&waited);
    sigprocmask(SIG_SETMASK, &waited, NULL);
    umask(022);
    raise_limits();
    if (chdir("/") < 0)
        return -errno;
    int null = open("/dev/null", O_RDWR);
    if (null < 0)
        return -errno;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(null, fd) < 0)
            return -errno;
    /* The engine's program goes out of the way of the descriptors that the engine is born with. */
    if (dup2(KEEPER_FD_ENGINE, KEEPER_FDS + 1) < 0 ||
        syscall(SYS_close_range, KEEPER_FDS + 2, ~0u, 0) < 0)
        return -errno;
    for (int fd = KEEPER_FD_ENGINE; fd <= KEEPER_FDS; fd++)
        if (fd != KEEPER_FD_GATE)
            close(fd);
    return fcntl(KEEPER_FDS + 1, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

/* Moves a descriptor above every number that an engine is born with. */
static int lift(int *fd)
{
    int lifted = fcntl(*fd, F_DUPFD_CLOEXEC, 32);
    if (lifted < 0)
        return -errno;
    close(*fd);
    *fd = lifted;
    return 0;
}

/* Lowering is root's alone; who may not has what its starter has. */
static void lower_oom_score(void)
{
    ctl_autofd fd = geteuid() == 0 ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0)
        (void)!write(fd, OOM_SCORE_ROOT, strlen(OOM_SCORE_ROOT));
}

static int describe(const CtlFolder *folder, const Order *order, const Leaf *leaf)
{
    char text[CTL_FILE_MAX];
    size_t used = 0;
    snprintf(text, sizeof text, "version=1\nid=%s\nowner=%s\nname=%s\nkeeper=%d\nstarted=%lld\n",
             order->id, order->owner, order->name, getpid(), (long long)time(NULL));
    int err = ctl_file_write(folder->dir, "job", text);
    text[0] = '\0';
    for (int i = 0; i < leaf->count && used < sizeof text; i++)
        if (leaf->places[i].is_made)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", leaf->places[i].path);
    return err < 0 ? err : ctl_file_write(folder->dir, "leaf", text);
}

/* What really holds the job, for the engine and for whoever looks. */
static int describe_limits(const CtlFolder *folder, const LeafWish *wish, const Leaf *leaf)
{
    char text[CTL_FILE_MAX];
    snprintf(text, sizeof text, "memory_mib=%llu\ntasks=%lu\nevents=%s\n",
             leaf->memory < 0 ? 0 : wish->memory >> 20, leaf->tasks < 0 ? 0 : wish->tasks,
             leaf->events);
    return ctl_file_write(folder->dir, "limits", text);
}

static void tell_limits(const LeafWish *wish, const Leaf *leaf)
{
    char text[1000];
    leaf_explain(leaf, wish, text, sizeof text);
    ctl_run_send_text(KEEPER_FD_RUN, CTL_NOTE, CTL_NOTE_VERBOSE, text);
}

/* Waits for the engine's end: every process of the job on this node is dead then. */
static int wait_for_engine(pid_t pid)
{
    sigset_t waited;
    int status;
    sigfillset(&waited);
    for (;;) {
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid)
            return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILED;
        if (done < 0 && errno != EINTR)
            return EXIT_FAILED;
        if (sigwaitinfo(&waited, NULL) == SIGTERM)
            kill(pid, SIGKILL);
    }
}

/* No slot is free before the engine is dead, whatever becomes of the keeper. */
static int describe_engine(const Slots *slots, pid_t pid)
{
    char text[128];
    int err = 0;
    snprintf(text, sizeof text, "pid=%d\nstart=%llu\n", pid, ctl_process_start_time(pid));
    for (int i = 0; i < slots->count && err == 0; i++)
        err = ctl_file_write(slots->folders[i].dir, "engine", text);
    return err;
}

static int run_engine(const Slots *slots, const LeafWish *wish, Leaf *leaf, int gate)
{
    Birth birth;
    const char *what;
    char numbers[KEEPER_SLOTS_MAX * 4];
    const CtlFolder *folder = &slots->folders[0];
    for (int i = 0, used = 0; i < slots->count; i++)
        used += snprintf(numbers + used, sizeof numbers - (size_t)used, "%s%d", i ? "," : "",
                         slots->folders[i].slot);
    int err = birth_clone(leaf, folder->dir, numbers, &birth, &what);
    if (err < 0)
        return fail(err, what, NULL);
    err = describe_engine(slots, birth.pid);
    if (err == 0)
        err = describe_limits(folder, wish, leaf);
    tell_limits(wish, leaf);
    tell_phase(CTL_PHASE_BORN);
    ctl_gate_pass(gate, CTL_PHASE_BORN);
    if (err < 0) {
        fail(err, "cannot write the run folder", NULL);
        kill(birth.pid, SIGKILL);
    }
    int released = birth_release(&birth);
    if (err == 0 && released < 0)
        fail(released, "cannot release the job's engine", NULL);
    close(KEEPER_FD_JOB);
    close(KEEPER_FD_RUN);
    close(KEEPER_FD_GATE);
    close(KEEPER_FDS + 1);
    return wait_for_engine(birth.pid);
}

static int run_job(const Slots *slots, const Order *order, Leaf *leaf, int gate)
{
    const CtlFolder *folder = &slots->folders[0];
    int err = leaf_make(folder->root, folder->slot, &order->wish, leaf);
    if (err < 0)
        return fail(err, "cannot make the job's leaf below the cgroup", order->wish.cgroup);
    err = describe(folder, order, leaf);
    if (err < 0)
        return fail(err, "cannot write the run folder", NULL);
    return run_engine(slots, &order->wish, leaf, gate);
}

/* False if they are none that a starter of ours gives. */
static bool read_order(int argc, char **argv, Order *order)
{
    unsigned long long mib;
    if (argc != 9 || sscanf(argv[5], "%d", &order->slots) != 1 || order->slots < 1 ||
        order->slots > KEEPER_SLOTS_MAX || sscanf(argv[6], "%llu", &mib) != 1 ||
        sscanf(argv[7], "%lu", &order->wish.tasks) != 1)
        return false;
    order->root = argv[1];
    order->id = argv[2];
    order->name = argv[3];
    order->owner = argv[4];
    order->wish.memory = mib << 20;
    order->wish.cgroup = argv[8][0] ? argv[8] : NULL;
    return true;
}

/* The last one first: the job is gone when its run folder is. */
static void free_slots(Slots *slots)
{
    while (slots->count > 0)
        ctl_folder_remove(&slots->folders[--slots->count]);
}

/* All or none. */
static int take_slots(int root, int count, Slots *slots)
{
    int err = 0;
    while (slots->count < count && err == 0) {
        CtlFolder *folder = &slots->folders[slots->count];
        /* A lock does not keep its own process out. */
        err = ctl_folder_take(root, slots->count ? folder[-1].slot + 1 : 0, folder);
        if (err < 0)
            break;
        slots->count++;
        /* The lock stays where it is: to close any descriptor of it would let it go. */
        err = lift(&folder->dir);
    }
    if (err < 0)
        free_slots(slots);
    return err;
}

int main(int argc, char **argv)
{
    Slots slots = {.count = 0};
    Leaf leaf;
    Order order;
    if (!read_order(argc, argv, &order)) {
        fprintf(stderr, "vtorque-keeper: started by vsub and vtorqued only\n");
        return 2;
    }
    int err = reset();
    if (err < 0)
        return fail(err, "cannot start the keeper", NULL);
    lower_oom_score();
    int root = ctl_root_open(order.root, true);
    if (root < 0)
        return fail(root,
                    "cannot use the folder of run folders (which must be yours alone, and no link)",
                    order.root);
    err = lift(&root);
    if (err == 0)
        err = take_slots(root, order.slots, &slots);
    if (err < 0)
        return fail(err, "cannot take a slot in", order.root);
    int gate = gate_fd();
    tell_phase(CTL_PHASE_LOCKED);
    ctl_gate_pass(gate, CTL_PHASE_LOCKED);
    int status = run_job(&slots, &order, &leaf, gate);
    leaf_remove(&leaf);
    free_slots(&slots);
    return status;
}
