/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/submission.c - everything about a local job before it starts.
 *
 * Theory of operation: vt_submission_new() goes through the steps of one table, each of which
 * reads, decides or checks one thing and may use what those before it left. The first that fails
 * ends it.
 *
 * Runs as: the user. Trusts: the site's settings.
 */
#include "cli/submission.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/local.h"
#include "cli/output.h"
#include "cli/script.h"
#include "job/environment.h"
#include "job/owner.h"
#include "job/words.h"

#define EPOCH_2025 1735689600 /* s since 1970: numbers of jobs start small */

/* What the steps hand on. */
typedef struct {
    VtSubmission *submission; /* being filled */
    VtJob *job;               /* its job */
    VtOptions *options;
    const VtSettings *settings;
    int stdin_fd;
    VtGiven given;
} Draft;

static bool load_script(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    const VtOptions *options = draft->options;
    if (options->is_interactive && (!options->script || options->is_command)) {
        submission->script = g_bytes_new(NULL, 0);
        return true;
    }
    submission->is_stdin_script = draft->options->script == NULL;
    submission->script =
        vt_script_load(draft->options->script, draft->stdin_fd, submission->decided.notes, error);
    return submission->script != NULL;
}

static bool load_directives(Draft *draft, GError **error)
{
    gsize size;
    const void *script = g_bytes_get_data(draft->submission->script, &size);
    g_autoptr(GPtrArray) directives = vt_directives_parse(script, size, VT_DIRECTIVE_PREFIX, error);
    return directives && vt_options_add_directives(draft->options, directives,
                                                   draft->submission->decided.notes, error);
}

/* Of a script that comes with -I qsub takes the directives alone. */
static bool choose_terminal(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    const VtOptions *options = draft->options;
    submission->is_interactive = options->is_interactive;
    if (!submission->is_interactive)
        return true;
    if (options->output.text || options->error.text || options->join.text)
        g_ptr_array_add(
            submission->decided.notes,
            g_strdup("with -I the output is the terminal's: -o, -e and -j are ignored"));
    g_bytes_unref(submission->script);
    submission->script = g_bytes_new(NULL, 0);
    return true;
}

static bool check_host(Draft *draft, GError **error)
{
    return vt_decision_check_host(&draft->submission->decided, &draft->given, error);
}

static bool load_owner(Draft *draft, GError **error)
{
    VtOwner *owner = &draft->job->owner;
    if (!vt_owner_load(owner, error))
        return false;
    if (vt_job_path_is_valid(owner->home) && g_file_test(owner->home, G_FILE_TEST_IS_DIR))
        return true;
    g_ptr_array_add(draft->submission->decided.notes,
                    g_strdup_printf("home directory '%s' does not exist: / is used", owner->home));
    g_free(owner->home);
    owner->home = g_strdup("/");
    return true;
}

/* A job's name from its script's: blanks and controls would end it for qsub's own tools. */
static char *name_from_script(const char *script)
{
    char *name = script ? g_path_get_basename(script) : g_strdup("STDIN");
    for (char *at = name; *at; at++)
        if ((guchar)*at <= ' ' || *at == 0x7f)
            *at = '_';
    return name;
}

static bool name_job(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    /* No two of one machine: a pid is not given twice in a second. */
    draft->job->id = g_strdup_printf("%" G_GINT64_FORMAT "%05d.%s", (gint64)time(NULL) - EPOCH_2025,
                                     (int)getpid(), draft->job->host);
    draft->job->name =
        options->name.text ? g_strdup(options->name.text) : name_from_script(options->script);
    return true;
}

static bool resolve_request(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    VtDecision *decided = &draft->submission->decided;
    VtLocalRequest asked = {(guint)options->ppn.number, options->memory.number / VT_MIB};
    VtHost host;
    if (!vt_host_load(&host, error))
        return false;
    draft->given.allocation = vt_local_allocate(&host, &asked, draft->settings, decided->notes);
    draft->job->walltime_s = (guint)options->walltime_s.number;
    draft->job->cput_s = (guint)options->cput_s.number;
    return vt_decision_resolve(decided, &draft->given, error);
}

static bool load_mounts(Draft *draft, GError **error)
{
    return vt_decision_load_mounts(&draft->submission->decided, &draft->given, error);
}

static bool find_image(Draft *draft, GError **error)
{
    return vt_decision_find_image(&draft->submission->decided, &draft->given, error);
}

static bool find_kernel(Draft *draft, GError **error)
{
    return vt_decision_find_kernel(&draft->submission->decided, &draft->given, error);
}

/* Last: it takes time. */
static bool finish(Draft *draft, GError **error)
{
    return vt_decision_finish(&draft->submission->decided, &draft->given, error);
}

static bool load_submit_dir(Draft *draft, GError **error)
{
    char *real = realpath(".", NULL);
    if (!real || !vt_job_path_is_valid(real)) {
        free(real);
        return vt_error_set(error, VT_ERROR_USER, "the submit directory does not exist any more");
    }
    draft->job->submit_dir = g_strdup(real);
    free(real);
    if (!vt_decision_is_shareable(draft->job->submit_dir))
        return vt_error_set(error, VT_ERROR_USER,
                            "the submit directory '%s' cannot be shared with a guest: /proc, /sys "
                            "and /dev are its own",
                            draft->job->submit_dir);
    return true;
}

static bool is_shared(const VtJob *job, const char *path)
{
    /* A home or submit directory of / is in the guest without being shared. */
    bool shared =
        vt_decision_is_below(path, job->submit_dir) || vt_decision_is_below(path, job->owner.home);
    for (char **mount = job->mounts; !shared && *mount; mount++)
        shared = vt_decision_is_below(path, *mount);
    return shared;
}

static void add_mount(VtJob *job, const char *path)
{
    guint n = g_strv_length(job->mounts);
    job->mounts = g_renew(char *, job->mounts, n + 2);
    job->mounts[n] = g_strdup(path);
    job->mounts[n + 1] = NULL;
}

static bool load_work_dir(Draft *draft, GError **error)
{
    const VtOptionText *option = &draft->options->directory;
    if (!option->text) {
        draft->submission->cwd = g_strdup(draft->job->submit_dir);
        return true;
    }
    char *real = realpath(option->text, NULL);
    bool ok = real && g_file_test(real, G_FILE_TEST_IS_DIR) && access(real, X_OK) == 0 &&
              vt_decision_is_shareable(real);
    draft->submission->cwd = g_strdup(real);
    free(real);
    if (!ok)
        return vt_error_set_value(error, VT_ERROR_USER, option->origin, "-d", option->text,
                                  "must be a directory that exists, not in /proc, /sys or /dev");
    if (strcmp(draft->submission->cwd, "/") != 0 && !is_shared(draft->job, draft->submission->cwd))
        add_mount(draft->job, draft->submission->cwd);
    return true;
}

static bool load_command(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    g_auto(GStrv) words = NULL;
    if (options->arguments.text) {
        words = vt_words_split(options->arguments.text, false, error);
        if (!words)
            return false;
    }
    if (options->is_interactive)
        return vt_login_load_shell(&draft->submission->command, draft->job, &options->shell,
                                   options->is_command ? options->script : NULL, words,
                                   draft->submission->decided.notes, error);
    return vt_login_load(&draft->submission->command, draft->job, &options->shell, words,
                         options->arguments.origin, draft->submission->decided.notes, error);
}

static bool load_environment(Draft *draft, GError **error)
{
    g_autoptr(GStrvBuilder) variables = g_strv_builder_new();
    if (draft->options->is_interactive && g_getenv("TERM"))
        g_strv_builder_add(variables, "TERM");
    for (guint place = 0; place < VT_PLACES; place++) {
        const GPtrArray *list = draft->options->variables[place];
        for (guint i = 0; i < list->len; i++)
            g_strv_builder_add(variables, list->pdata[i]);
    }
    g_auto(GStrv) all = g_strv_builder_end(variables);
    g_auto(GStrv) own = g_get_environ();
    VtEnvironmentSource source = {
        .job = draft->job,
        .submit_environment = own,
        .work_dir = draft->submission->cwd,
        .is_all_exported = draft->options->is_all_exported,
        .is_interactive = draft->options->is_interactive,
        .variables = all,
    };
    draft->submission->environment =
        vt_environment_new(&source, draft->submission->decided.notes, error);
    return draft->submission->environment != NULL;
}

static bool load_limits(Draft *draft, GError **error)
{
    VtSubmission *submission = draft->submission;
    submission->umask = umask(0);
    umask(submission->umask);
    return vt_limits_load(&submission->limits, error);
}

static VtJoin find_join(const VtOptionText *option)
{
    if (!option->text || strcmp(option->text, "n") == 0)
        return VT_JOIN_NONE;
    return strcmp(option->text, "oe") == 0 ? VT_JOIN_OUTPUT : VT_JOIN_ERROR;
}

static bool find_outputs(Draft *draft, GError **error)
{
    const VtOptions *options = draft->options;
    VtSubmission *submission = draft->submission;
    GError *problem = NULL;
    bool is_to_terminal = options->is_interactive;
    submission->join = find_join(&options->join);
    if (!is_to_terminal)
        submission->output_path = vt_output_find("-o", &options->output, draft->job->submit_dir,
                                                 draft->job, 'o', &problem);
    if (!problem && !is_to_terminal)
        submission->error_path = vt_output_find("-e", &options->error, draft->job->submit_dir,
                                                draft->job, 'e', &problem);
    if (!problem && options->report)
        submission->report_path = vt_output_check("--report", "command line", options->report,
                                                  draft->job->submit_dir, &problem);
    if (problem) {
        g_propagate_error(error, problem);
        return false;
    }
    /* Two writers of one file would overwrite each other. */
    if (submission->join == VT_JOIN_NONE && submission->output_path &&
        g_strcmp0(submission->output_path, submission->error_path) == 0)
        submission->join = VT_JOIN_OUTPUT;
    return true;
}

typedef bool (*Step)(Draft *draft, GError **error);

static const Step steps[] = {
    load_script,     load_directives,  choose_terminal, check_host,    load_owner, name_job,
    resolve_request, load_submit_dir,  load_mounts,     load_work_dir, find_image, find_kernel,
    load_command,    load_environment, load_limits,     find_outputs,  finish,
};

VtSubmission *vt_submission_new(VtOptions *options, const VtSettings *settings, int stdin_fd,
                                GError **error)
{
    g_autoptr(VtSubmission) submission = g_new0(VtSubmission, 1);
    vt_decision_init(&submission->decided, settings);
    submission->is_dry_run = options->is_dry_run;
    submission->is_verbose = options->is_verbose;
    Draft draft = {.submission = submission,
                   .job = submission->decided.job,
                   .options = options,
                   .settings = settings,
                   .stdin_fd = stdin_fd,
                   .given = {.settings = settings,
                             .option = &options->requests[VT_PLACE_LINE],
                             .directive = &options->requests[VT_PLACE_SCRIPT]}};
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!steps[i](&draft, error))
            return NULL;
    return g_steal_pointer(&submission);
}

void vt_submission_free(VtSubmission *submission)
{
    if (!submission)
        return;
    vt_decision_clear(&submission->decided);
    g_free(submission->cwd);
    vt_login_clear(&submission->command);
    g_strfreev(submission->environment);
    g_clear_pointer(&submission->limits, g_array_unref);
    g_clear_pointer(&submission->script, g_bytes_unref);
    g_free(submission->output_path);
    g_free(submission->error_path);
    g_free(submission->report_path);
    g_free(submission);
}
