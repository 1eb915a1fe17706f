/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run/main.c - vtorque-run: stands in a batch job where the script would stand.
 *
 * Theory of operation. envelope -> script; door -> run connection, whose first frame says what the
 * guest is; then all is as for vsub --local, but for what a batch system differs in: its signals come
 * several times, its output files are the engine's to write.
 *
 * Runs as: the job's owner, in the job. Reads from: the envelope, the environment. Trusts: nothing
 * that could give it more than the owner has: who speaks for a job is the daemon's to judge.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "batch/envelope.h"
#include "cli/attach.h"
#include "cli/limit.h"
#include "cli/login.h"
#include "cli/report.h"
#include "conf/choice.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "job/environment.h"
#include "job/guest_plan.h"

#define ENVELOPE_MAX (2 * CTL_SCRIPT_MAX)
#define CONNECT_MS 10000 /* a daemon that is being restarted */
#define RETRY_US 200000
#define ANSWER_MS 20000
#define CANCEL_S 1 /* from a script's end by the batch system's order to its TERM */

typedef struct {
    VtEnvelope envelope;
    GBytes *script;
    VtJob job; /* what the guest's shell depends on */
    GPtrArray *notes;
    VtLogin command;
    GStrv environment;
    GArray *limits;
    VtMachines machines; /* of the job, as its engine says */
} Run;

static GBytes *load(const char *path, int flags, GError **error)
{
    vt_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | flags);
    if (fd < 0) {
        vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot open '%s'", path);
        return NULL;
    }
    return vt_fd_read_all(fd, ENVELOPE_MAX, path, error);
}

static bool load_script(Run *run, const char *path, GError **error)
{
    g_autoptr(GBytes) bytes = load(path, 0, error);
    gsize size = 0;
    const void *data = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (!bytes || !vt_envelope_open(&run->envelope, data, size, error))
        return false;
    if (run->envelope.script)
        run->script = g_bytes_ref(run->envelope.script);
    else
        run->script = load(run->envelope.file, O_NOFOLLOW, error);
    return run->script &&
           (run->envelope.script || vt_envelope_check(&run->envelope, run->script, error));
}

static bool take_job(Run *run, const char *text, GError **error)
{
    char image[16], net[16], vcpus[16], vms[16], all[16], cores[16];
    guint number, net_number;
    if (!ctl_text_find(text, "image=", image, sizeof image) ||
        !ctl_text_find(text, "vcpus=", vcpus, sizeof vcpus) ||
        !ctl_text_find(text, "vms=", vms, sizeof vms) ||
        !ctl_text_find(text, "net=", net, sizeof net) ||
        !ctl_text_find(text, "all_vms=", all, sizeof all) ||
        !ctl_text_find(text, "cores=", cores, sizeof cores) ||
        !vt_choice_find(&vt_image_choice, image, &number) ||
        !vt_choice_find(&vt_net_choice, net, &net_number))
        return vt_error_set(error, VT_ERROR_INTERNAL, "the job's engine does not say what it runs");
    run->job.image = (VtImage)number;
    run->machines = (VtMachines){
        .all = (guint)g_ascii_strtoull(all, NULL, 10),
        .on_node = (guint)g_ascii_strtoull(vms, NULL, 10),
        .cores = (guint)g_ascii_strtoull(cores, NULL, 10),
        .vcpus = (guint)g_ascii_strtoull(vcpus, NULL, 10),
        .net = (VtNet)net_number,
    };
    return true;
}

/* Reads what the engine says of the guest, or why there is none. `is_closed` is set where nobody said
 * anything: the daemon was full, or killed before it looked at us. */
static bool wait_for_job(Run *run, int door, bool *is_closed, GError **error)
{
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX + 1);
    WireHeader header;
    char text[WIRE_STRING_MAX + 1];
    int err = ctl_door_receive(door, &header, payload, ANSWER_MS);
    WireReader reader = wire_reader(payload, err < 0 ? 0 : header.length);
    *is_closed = err == -ECONNRESET;
    if (*is_closed)
        return vt_error_set(error, VT_ERROR_HOST, "vTorque's daemon closed the connection");
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err, "the job's engine does not answer");
    wire_get_string(&reader, text, sizeof text);
    if (header.type == CTL_OUTCOME)
        return vt_error_set(error, VT_ERROR_HOST, "%s", text);
    return take_job(run, header.type == CTL_JOB ? text : "", error);
}

static int ask_daemon(Run *run, const char *id, bool *is_closed, GError **error)
{
    vt_autofd door = ctl_door_connect(CTL_DOOR_USER, CONNECT_MS);
    if (door < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, -door,
                           "cannot reach vTorque's daemon on this node");
        return -1;
    }
    /* Where it fails, the connection's end is what is read next. */
    ctl_door_send_text(door, CTL_DOOR_RUN, 0, id);
    return wait_for_job(run, door, is_closed, error) ? vt_fd_steal(&door) : -1;
}

static int find_engine(Run *run, GError **error)
{
    const char *id = g_getenv("PBS_JOBID");
    gint64 deadline_us = g_get_monotonic_time() + CONNECT_MS * G_GINT64_CONSTANT(1000);
    if (!id || !vt_job_id_is_valid(id)) {
        vt_error_set(error, VT_ERROR_BATCH, "there is no PBS_JOBID: is this a batch job?");
        return -1;
    }
    for (;;) {
        bool is_closed = false;
        g_clear_error(error);
        int door = ask_daemon(run, id, &is_closed, error);
        if (!is_closed || g_get_monotonic_time() >= deadline_us)
            return door;
        g_usleep(RETRY_US);
    }
}

/* As the job has it, less what the guest's shell has for itself, and true for the guest. */
static void load_environment(Run *run)
{
    static const char *const own[] = {"HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_"};
    static const char *const on_node[] = {"/tmp/", "/var/tmp/", "/run/", "/dev/shm/"};
    GStrv all = g_get_environ();
    for (gsize i = 0; i < G_N_ELEMENTS(own); i++)
        all = g_environ_unsetenv(all, own[i]);
    const char *node_file = g_environ_getenv(all, "PBS_NODEFILE");
    g_auto(GStrv) machines =
        vt_environment_of_machines(&run->machines, node_file ? node_file : VT_GUEST_NODEFILE);
    for (char **entry = machines; *entry; entry++) {
        char *equals = strchr(*entry, '=');
        *equals = '\0';
        all = g_environ_setenv(all, *entry, equals + 1, TRUE);
    }
    /* The node's directory of the job: the guest's own is nobody else's either. */
    const char *temporary = g_environ_getenv(all, "TMPDIR");
    bool is_local = false;
    for (gsize i = 0; temporary && i < G_N_ELEMENTS(on_node); i++)
        is_local = is_local || g_str_has_prefix(temporary, on_node[i]);
    if (is_local)
        all = g_environ_setenv(all, "TMPDIR", "/tmp", TRUE);
    run->environment = all;
}

/* The words of the job are arguments here, not a text to be split. */
static bool load_command(Run *run, char *const *words, GError **error)
{
    const VtOptionText shell = {run->envelope.shell, (char *)"-S", VT_PLACE_LINE};
    char *const *terminal = run->envelope.terminal;
    run->job.owner.shell = (char *)g_getenv("SHELL");
    if (!run->job.owner.shell || !vt_job_path_is_valid(run->job.owner.shell))
        run->job.owner.shell = (char *)"/bin/sh";
    if (terminal)
        return vt_login_load_shell(&run->command, &run->job, &shell, *terminal,
                                   *terminal ? terminal + 1 : terminal, run->notes, error);
    return vt_login_load(&run->command, &run->job, &shell, words, "the job's arguments", run->notes,
                         error);
}

/* What the script prints reaches them also when this program is dead, if they are the files that
 * the batch system's prologue has given to the engine. */
static void name_files(int run)
{
    guint8 payload[2 * 2 * sizeof(guint64)], streams = 0;
    WireWriter writer = wire_writer(payload, sizeof payload);
    for (int which = STDOUT_FILENO; which <= STDERR_FILENO; which++) {
        struct stat st;
        if (!vt_fd_is_output_file(which) || fstat(which, &st) < 0)
            continue;
        wire_put_u64(&writer, st.st_dev);
        wire_put_u64(&writer, st.st_ino);
        streams |= 1 << which;
    }
    if (streams)
        ctl_door_send(run, CTL_FILES, streams, payload, writer.used, NULL, 0);
}

/* A job at a terminal has its envelope in a file of its own, and is never run again. */
static void remove_envelope(const Run *run, const char *path)
{
    if (run->envelope.terminal)
        unlink(path);
}

static bool prepare(Run *run, char **argv, int *door, GError **error)
{
    run->notes = g_ptr_array_new_with_free_func(g_free);
    if (!load_script(run, argv[1], error))
        return false;
    remove_envelope(run, argv[1]);
    if (!vt_limits_load(&run->limits, error))
        return false;
    *door = find_engine(run, error);
    if (*door < 0 || !load_command(run, argv + 2, error))
        return false;
    load_environment(run);
    return true;
}

/* The script's file goes with the job that it was for; one that is run again finds it. */
static void remove_file(const Run *run, const VtResult *result)
{
    if (run->envelope.file && result->has_exit && result->reason == CTL_REASON_DONE)
        unlink(run->envelope.file);
}

/* A script that a signal ended: the login shell that waits for this program says so as it does on bare
 * metal, and the batch system counts it so. The number is the guest's word: none that would only stop
 * us. Its core file is the guest's, too. */
static void die_as_script(const VtResult *result)
{
    int number = (int)result->exit_value;
    sigset_t set;
    if (!result->has_exit || result->reason != CTL_REASON_DONE ||
        result->exit_kind != WIRE_EXIT_SIGNAL || number == SIGSTOP || number == SIGTSTP ||
        number == SIGTTIN || number == SIGTTOU)
        return;
    prctl(PR_SET_DUMPABLE, 0);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    signal(number, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    raise(number);
}

/* The batch system's epilogue.precancel ends the guest's script a moment before its TERM comes here:
 * what the script made of it counts, as on bare metal. `vmgr end` is no TERM, and a failure. */
static void take_cancel(VtResult *result)
{
    const struct timespec patience = {.tv_sec = CANCEL_S};
    sigset_t term;
    if (result->reason != CTL_REASON_ENDED || !result->has_exit)
        return;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    if (result->terminated || sigtimedwait(&term, NULL, &patience) == SIGTERM)
        result->reason = CTL_REASON_DONE;
}

static int attach(const Run *run, VtTerminal *terminal, int door)
{
    g_autofree char *cwd = g_get_current_dir();
    mode_t mask = umask(0);
    VtResult result = {.started_us = (guint64)g_get_monotonic_time()};
    umask(mask);
    const VtAttachment attachment = {
        .program_name = "vtorque-run",
        .cwd = cwd,
        .umask_bits = mask,
        .program = run->command.program,
        .argv = (const char *const *)run->command.argv,
        .env = (const char *const *)run->environment,
        .limits = (const VtLimit *)(void *)run->limits->data,
        .n_limits = run->limits->len,
        .script = run->script,
        .terminal = run->envelope.terminal ? terminal : NULL,
        .input = STDIN_FILENO,
        .output = STDOUT_FILENO,
        .errors = STDERR_FILENO,
        .is_batch = true,
    };
    for (guint i = 0; i < run->notes->len; i++)
        g_printerr("vtorque-run: note: %s\n", (char *)run->notes->pdata[i]);
    name_files(door);
    vt_attach(&attachment, door, &result);
    vt_terminal_close(terminal);
    remove_file(run, &result);
    take_cancel(&result);
    vt_report_print_outcome(&result, "vtorque-run");
    die_as_script(&result);
    int status = vt_report_status(&result);
    vt_result_clear(&result);
    return status;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    Run run = {0};
    VtTerminal terminal = VT_TERMINAL_NONE;
    int door = -1;
    if (!vt_fd_fill_standard())
        return VT_EXIT_FAILED;
    /* Sockets of the batch system, which it leaves open in every job. */
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, 0);
    signal(SIGCHLD, SIG_DFL);
    signal(SIGXFSZ, SIG_IGN);
    setlocale(LC_CTYPE, ""); /* of messages; the other categories are files to be read */
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        g_print("vtorque-run (vTorque) " VT_VERSION "\n");
        return 0;
    }
    if (argc < 2) {
        g_printerr("vtorque-run: is started by the script that vsub submits\n");
        return VT_EXIT_USAGE;
    }
    if (prepare(&run, argv, &door, &error) &&
        (!run.envelope.terminal || vt_terminal_open(&terminal, STDIN_FILENO, &error)))
        return attach(&run, &terminal, door);
    g_printerr("vtorque-run: %s\n", error->message);
    return VT_EXIT_FAILED;
}
