/* SPDX-License-Identifier: Apache-2.0 */
/* cli/vsub.c - vsub: submits a job script that runs in virtual machines; --local runs it here, at
 * this terminal. */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "cli/attach.h"
#include "cli/report.h"
#include "cli/submission.h"
#include "cli/submit.h"
#include "ctl/birth.h"
#include "job/guest_plan.h"
#include "node/launch.h"
#include "vm/machine.h"

static void print_lines(const char *what, const GPtrArray *lines)
{
    for (guint i = 0; i < lines->len; i++)
        g_printerr("vsub: %s: %s\n", what, (const char *)g_ptr_array_index(lines, i));
}

/* Shows all that would be done, for the first of the machines; the slots are the first that a node
 * has. */
static void dry_run(const VtSubmission *submission)
{
    const VtMachineFds fds = VT_MACHINE_FDS;
    guint slots[VT_VMS_MAX];
    for (guint i = 0; i < VT_VMS_MAX; i++)
        slots[i] = i;
    g_autoptr(VtPlan) plan =
        vt_plan_new(submission->decided.job, slots, submission->decided.kernel_file,
                    submission->decided.record);
    char secret[] = "(a key of the job's)\n", public[] = "ssh-ed25519 ...";
    const VtSshKeys keys = {{secret, public}, {secret, public}};
    g_autoptr(GPtrArray) steps =
        vt_guest_plan_new(submission->decided.job, plan, 0, &keys, 0, NULL, 0);
    g_auto(GStrv) argv = vt_command_new(
        plan, 0, plan->net == VT_NET_PRIVATE ? VT_NIC_TAP : VT_NIC_NONE, VT_QEMU_PROGRAM, &fds);
    g_autofree char *request = vt_submission_explain(submission);
    g_autofree char *shown_plan = vt_plan_explain(plan);
    g_autofree char *command = vt_command_explain(argv);
    g_autofree char *guest = vt_guest_plan_explain(steps);
    g_print("# request\n%s\n# plan\n%s\n# QEMU\n%s", request, shown_plan, command);
    g_print("\n# guest plan\n%s", guest);
}

static int open_output(const char *path, int standard, GError **error)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666)
                  : fcntl(standard, F_DUPFD_CLOEXEC, 3);
    if (fd < 0)
        vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot write '%s'",
                           path                        ? path
                           : standard == STDOUT_FILENO ? "stdout"
                                                       : "stderr");
    return fd;
}

/* An engine that could not tell the outcome tells at least that. */
static void take_keeper_status(VtResult *result, int status)
{
    if (result->has_outcome || status != ENGINE_EXIT_UNREAD)
        return;
    result->has_outcome = true;
    result->reason = CTL_REASON_ENDED;
    result->message = g_strdup("vsub took nothing of the job's output for too long after the "
                               "script's end (was it stopped?): the rest is lost");
}

static bool open_outputs(const VtSubmission *submission, int *output, int *errors, GError **error)
{
    vt_autofd out = open_output(submission->output_path, STDOUT_FILENO, error);
    vt_autofd err = out < 0 ? -1 : open_output(submission->error_path, STDERR_FILENO, error);
    if (out < 0 || err < 0)
        return false;
    if (submission->join == VT_JOIN_OUTPUT)
        dup3(out, err, O_CLOEXEC);
    else if (submission->join == VT_JOIN_ERROR)
        dup3(err, out, O_CLOEXEC);
    *output = vt_fd_steal(&out);
    *errors = vt_fd_steal(&err);
    return true;
}

/* The gate of a test (ctl/gate.h), or -1. */
static int find_gate(void)
{
    const char *text = g_getenv("VTORQUE_GATE_FD");
    guint64 fd;
    struct stat st;
    if (text && g_ascii_string_to_unsigned(text, 10, 3, 1023, &fd, NULL) &&
        fstat((int)fd, &st) == 0 && S_ISSOCK(st.st_mode))
        return (int)fd;
    return -1;
}

static bool open_terminal(VtTerminal *terminal, GError **error)
{
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return vt_error_set(error, VT_ERROR_USER,
                            "-I: standard input and output must be a terminal");
    return vt_terminal_open(terminal, STDIN_FILENO, error);
}

static int run(const VtSubmission *submission, guint64 started_us, GError **error)
{
    vt_autofd output = -1, errors = -1;
    const VtLaunchOptions options = {
        .job = submission->decided.job, .gate = find_gate(), .run = -1};
    VtLaunch launch;
    VtResult result = {.started_us = started_us};
    VtTerminal terminal = VT_TERMINAL_NONE;
    if (!open_outputs(submission, &output, &errors, error) ||
        (submission->is_interactive && !open_terminal(&terminal, error)))
        return -1;
    if (!vt_launch_start(&options, &launch, error)) {
        vt_terminal_close(&terminal);
        return -1;
    }
    const VtAttachment attachment = {
        .program_name = "vsub",
        .cwd = submission->cwd,
        .umask_bits = submission->umask,
        .program = submission->command.program,
        .argv = (const char *const *)submission->command.argv,
        .env = (const char *const *)submission->environment,
        .limits = (const VtLimit *)(void *)submission->limits->data,
        .n_limits = submission->limits->len,
        .script = submission->script,
        .terminal = submission->is_interactive ? &terminal : NULL,
        .input = submission->is_stdin_script ? -1 : STDIN_FILENO,
        .output = output,
        .errors = errors,
        .verbose = submission->is_verbose,
        .progress = isatty(STDERR_FILENO),
    };
    vt_attach(&attachment, vt_fd_steal(&launch.run), &result);
    vt_terminal_close(&terminal);
    take_keeper_status(&result, vt_launch_finish(&launch));
    vt_report_print_outcome(&result, "vsub");
    if (submission->is_verbose) {
        g_printerr("vsub: %-9s %s\n", "accel",
                   vt_choice_word(&vt_accel_choice, submission->decided.job->accel));
        vt_report_print_phases(&result);
    }
    int status = vt_report_status(&result);
    if (submission->report_path &&
        !vt_report_write(submission->report_path, submission->decided.job, &result, error))
        status = -1;
    vt_result_clear(&result);
    return status;
}

static int run_here(int argc, char **argv, GError **error)
{
    guint64 started_us = (guint64)g_get_monotonic_time();
    VtLimit stack;
    if (!vt_limit_raise_stack(&stack, error))
        return -1;
    g_autoptr(VtOptions) options = vt_options_parse(argc, argv, error);
    if (!options)
        return -1;
    if (options->is_help) {
        g_autofree char *help = vt_options_help();
        g_print("%s", help);
        return 0;
    }
    if (options->is_version) {
        g_print("vsub (vTorque) " VT_VERSION "\n");
        return 0;
    }
    g_autofree char *file = vt_settings_find_file(options->is_local);
    g_autoptr(VtSettings) settings = vt_settings_load(file, error);
    g_autoptr(VtSubmission) submission =
        settings ? vt_submission_new(options, settings, STDIN_FILENO, error) : NULL;
    if (!submission)
        return -1;
    g_array_index(submission->limits, VtLimit, RLIMIT_STACK) = stack;
    print_lines("warning", submission->decided.warnings);
    print_lines("note", submission->decided.notes);
    if (submission->is_dry_run) {
        dry_run(submission);
        return 0;
    }
    return run(submission, started_us, error);
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    bool is_local;
    if (!vt_fd_fill_standard())
        return VT_EXIT_FAILED;
    /* First: what follows would be handed on to qsub too. */
    int status = vt_submit(argc, argv, &is_local, &error);
    if (is_local) {
        /* A starter that ignores its children would have ours reaped before we know their end. */
        signal(SIGCHLD, SIG_DFL);
        /* A limit of file sizes is an error like any other. */
        signal(SIGXFSZ, SIG_IGN);
        setlocale(LC_ALL, "");
        status = run_here(argc, argv, &error);
    }
    if (status >= 0)
        return status;
    g_printerr("vsub: %s\n", error->message);
    return vt_error_exit_status(error);
}
