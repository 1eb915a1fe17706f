/* SPDX-License-Identifier: Apache-2.0 */
/* node/launch.c - starting a keeper, and making sure of its end. */
#include "node/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/program.h"
#include "base/size.h"
#include "ctl/birth.h"
#include "ctl/folder.h"
#include "ctl/run.h"
#include "job/memory.h"

/* QEMU and the file servers open one for each queue and each file in use. */
#define OPEN_FILES_MIN 256
/* What QEMU maps beside the guest's memory: libraries, translated code, stacks (measured: 620). */
#define ADDRESS_SPACE_MIB 768
#define KEEPER_PATIENCE_MS 2000 /* for a keeper to end by itself, and again after TERM */

static int open_program(const char *name, GError **error)
{
    g_autofree char *path = vt_program_find(name, error);
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (path && fd < 0)
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'", path);
    return fd;
}

/* A low soft limit is the script's, and raised for the programs; a hard one is nobody's to
 * raise. */
static bool check_open_files(struct rlimit *files, GError **error)
{
    if (getrlimit(RLIMIT_NOFILE, files) < 0 || files->rlim_max < OPEN_FILES_MIN)
        return vt_error_set(error, VT_ERROR_HOST,
                            "the hard limit of open files (ulimit -Hn) must be at least %d",
                            OPEN_FILES_MIN);
    files->rlim_cur = files->rlim_max;
    return true;
}

/* Memory files count as files: the guest's RAM is one. */
static bool check_file_size(const VtJob *job, GError **error)
{
    struct rlimit size;
    if (getrlimit(RLIMIT_FSIZE, &size) == 0 && size.rlim_max < (rlim_t)job->ram_mib * VT_MIB)
        return vt_error_set(error, VT_ERROR_HOST,
                            "the hard limit of file sizes (ulimit -Hf) must be at least the RAM "
                            "of the virtual machine, %u MiB",
                            job->ram_mib);
    return true;
}

/* The guest's RAM is mapped, by QEMU and by the file servers. */
static bool check_address_space(const VtJob *job, GError **error)
{
    struct rlimit space;
    guint need_mib = job->ram_mib + ADDRESS_SPACE_MIB;
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_max / VT_MIB < need_mib)
        return vt_error_set(error, VT_ERROR_HOST,
                            "the hard limit of address space (ulimit -Hv) must be at least %u MiB",
                            need_mib);
    return true;
}

/* In the child: there is no keeper, and the owner learns why as from one. Never returns. */
static void fail_child(int run, const char *what)
{
    char text[200];
    g_snprintf(text, sizeof text, "%s: %s", what, g_strerror(errno));
    ctl_run_send_text(run, CTL_OUTCOME, CTL_REASON_HOST, text);
    _exit(VT_EXIT_FAILED);
}

/* The child. Never returns. `fds` are in the order of KEEPER_FD_*. */
static void run_keeper(int program, const int fds[KEEPER_FDS - 3], const struct rlimit *files,
                       const char *const argv[])
{
    int lifted[KEEPER_FDS - 3], run = fds[KEEPER_FD_RUN - 3];
    const char *const envp[] = {NULL};
    setrlimit(RLIMIT_NOFILE, files);
    program = fcntl(program, F_DUPFD_CLOEXEC, 64);
    if (program < 0)
        fail_child(run, "cannot place the keeper's descriptors");
    for (int i = 0; i < KEEPER_FDS - 3; i++) {
        lifted[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, 64);
        if (lifted[i] < 0)
            fail_child(run, "cannot place the keeper's descriptors");
    }
    run = lifted[KEEPER_FD_RUN - 3];
    for (int i = 0; i < KEEPER_FDS - 3; i++)
        if (dup2(lifted[i], 3 + i) < 0)
            fail_child(run, "cannot place the keeper's descriptors");
    syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
    fail_child(run, "cannot execute the keeper");
}

/* Nothing of this process has to be copied for a child that only places descriptors. */
static pid_t fork_keeper(int program, const int fds[KEEPER_FDS - 3], const struct rlimit *files,
                         const char *const argv[])
{
    pid_t pid = vfork();
    if (pid == 0)
        run_keeper(program, fds, files, argv);
    return pid;
}

bool vt_launch_start(const VtLaunchOptions *options, VtLaunch *launch, GError **error)
{
    const VtJob *job = options->job;
    char root[PATH_MAX];
    int pair[2] = {-1, -1};
    struct rlimit files;
    if (!check_open_files(&files, error) || !check_file_size(job, error) ||
        !check_address_space(job, error))
        return false;
    if (ctl_root_path(root, sizeof root) < 0)
        return vt_error_set(error, VT_ERROR_HOST, "the path of the run folder is too long");
    g_autofree char *text = vt_job_save(job);
    vt_autofd document = vt_fd_from_bytes("vtorque-job", text, strlen(text), error);
    vt_autofd keeper = document < 0 ? -1 : open_program("vtorque-keeper", error);
    vt_autofd engine =
        keeper < 0
            ? -1
            : open_program(job->nodes > 1 ? "vtorque-engine-nodes" : "vtorque-engine", error);
    if (engine < 0)
        return false;
    vt_autofd gate = options->gate >= 0 ? fcntl(options->gate, F_DUPFD_CLOEXEC, 16)
                                        : open("/dev/null", O_RDWR | O_CLOEXEC);
    if (gate < 0 ||
        (options->run < 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0))
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make the run connection");
    vt_autofd ours = pair[0], theirs = pair[1];
    const VtMemoryShape shape = vt_memory_shape(job);
    g_autofree char *memory = g_strdup_printf("%" G_GUINT64_FORMAT, vt_memory_of(&shape).total);
    g_autofree char *tasks = g_strdup_printf("%u", vt_memory_tasks(&shape));
    g_autofree char *slots = g_strdup_printf("%u", job->vms);
    g_autofree char *owner = g_strdup_printf("%u", job->owner.uid);
    const char *const argv[] = {"vtorque-keeper",
                                root,
                                job->id,
                                job->name,
                                owner,
                                slots,
                                memory,
                                tasks,
                                options->cgroup ? options->cgroup : "",
                                NULL};
    const int fds[] = {document, options->run < 0 ? theirs : options->run, engine, gate};
    pid_t pid = fork_keeper(keeper, fds, &files, argv);
    if (pid < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot fork the keeper");
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot watch the keeper");
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        return false;
    }
    fcntl(pidfd, F_SETFD, FD_CLOEXEC);
    *launch = (VtLaunch){.keeper = pid, .pidfd = pidfd, .run = vt_fd_steal(&ours)};
    return true;
}

static void sweep(void)
{
    vt_autofd root = ctl_root_find();
    if (root >= 0)
        ctl_root_sweep(root, CTL_SWEEP_MS);
}

int vt_launch_finish(VtLaunch *launch)
{
    int status = 0;
    if (!vt_fd_wait(launch->pidfd, KEEPER_PATIENCE_MS)) {
        kill(launch->keeper, SIGTERM);
        if (!vt_fd_wait(launch->pidfd, KEEPER_PATIENCE_MS))
            kill(launch->keeper, SIGKILL);
    }
    while (waitpid(launch->keeper, &status, 0) < 0 && errno == EINTR)
        ;
    /* Killed, or out of something that it needed for the removal too. */
    if (WIFSIGNALED(status) || WEXITSTATUS(status) != 0)
        sweep();
    vt_fd_clear(&launch->pidfd);
    vt_fd_clear(&launch->run);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
