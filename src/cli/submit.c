/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/submit.c - vsub where there is a batch system.
 *
 * Runs as: the user. Trusts: the site's settings.
 */
#include "cli/submit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/program.h"
#include "batch/batch.h"
#include "batch/envelope.h"
#include "batch/local.h"
#include "batch/torque.h"
#include "ctl/run.h"
#include "job/words.h"

#define SCRIPT_DAYS_MAX 30   /* what jobs that never ran have left */
#define SCRIPT_NAME "XXXXXX" /* of a file, as for mkstemp */

/* What the steps hand on. */
typedef struct {
    VtQsub *qsub;
    VtSettings *settings;
    char *command;  /* Torque's qsub */
    GBytes *script; /* NULL: not read */
    int input;      /* a memory file with what standard input had, or -1: it is as it was */
} Submit;

static void submit_clear(Submit *submit)
{
    vt_qsub_free(submit->qsub);
    vt_settings_free(submit->settings);
    g_free(submit->command);
    g_clear_pointer(&submit->script, g_bytes_unref);
    vt_fd_clear(&submit->input);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Submit, submit_clear)

/* Settings that cannot be read are no reason to keep jobs without a virtual machine from a batch
 * system that works. */
static bool load_settings(Submit *submit, GError **error)
{
    g_autofree char *file = vt_settings_find_file(false);
    g_autoptr(GError) problem = NULL;
    submit->settings = vt_settings_load(file, &problem);
    if (submit->settings)
        return true;
    if (submit->qsub->has_request) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return false;
    }
    g_printerr("vsub: warning: %s: jobs without -vm go on to qsub\n", problem->message);
    submit->settings = vt_settings_parse("", 0, "", NULL);
    return true;
}

static GBytes *read_file(const char *path, GError **error)
{
    struct stat st;
    vt_autofd fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) < 0) {
        vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read script '%s'", path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode)) {
        vt_error_set(error, VT_ERROR_USER, "script '%s' is not a regular file", path);
        return NULL;
    }
    g_autofree char *what = g_strdup_printf("script '%s'", path);
    return vt_fd_read_all(fd, CTL_SCRIPT_MAX, what, error);
}

/* The script of standard input, which is put back for qsub: a file is wound back, and what came
 * through a pipe is kept in memory. */
static GBytes *read_stdin(Submit *submit, GError **error)
{
    off_t start = lseek(STDIN_FILENO, 0, SEEK_CUR);
    g_autoptr(GBytes) script =
        vt_fd_read_all(STDIN_FILENO, CTL_SCRIPT_MAX, "script on standard input", error);
    if (!script)
        return NULL;
    if (start < 0 || lseek(STDIN_FILENO, start, SEEK_SET) < 0) {
        gsize size;
        const void *data = g_bytes_get_data(script, &size);
        submit->input = vt_fd_from_bytes("script", data, size, error);
        if (submit->input < 0)
            return NULL;
    }
    return g_steal_pointer(&script);
}

/* Reads script and directives. What is wrong with them is the job's only if it is one with a virtual
 * machine, and a directive that cannot be read might have said so. */
static bool load_script(Submit *submit, GError **error)
{
    VtQsub *qsub = submit->qsub;
    if (qsub->is_without_script)
        return true;
    g_autoptr(GError) problem = NULL;
    submit->script = qsub->script ? read_file(qsub->script, &problem) : read_stdin(submit, error);
    if (!submit->script && problem && !qsub->problem)
        qsub->problem = g_steal_pointer(&problem);
    if (!submit->script)
        return qsub->script != NULL;
    gsize size;
    const char *data = g_bytes_get_data(submit->script, &size);
    g_autoptr(GPtrArray) directives = vt_directives_parse(data, size, qsub->prefix, &problem);
    if (directives) {
        vt_qsub_add_directives(qsub, directives);
        return true;
    }
    qsub->has_request = qsub->has_request || memmem(data, size, "-vm", 3);
    if (!qsub->problem)
        qsub->problem = g_steal_pointer(&problem);
    return true;
}

/* What this vsub's envelopes cannot carry, in qsub's words where qsub refuses it too. A script on
 * standard input loses its CR as qsub would have it; one of a job at a terminal had directives
 * alone. */
static bool check_script(Submit *submit, GError **error)
{
    gsize size, kept = 0;
    if (submit->qsub->is_interactive) {
        g_clear_pointer(&submit->script, g_bytes_unref);
        submit->script = g_bytes_new(NULL, 0);
        return true;
    }
    const char *data = submit->script ? g_bytes_get_data(submit->script, &size) : NULL;
    const char *nul = data ? memchr(data, '\0', size) : NULL;
    if (!data || size == 0)
        return vt_error_set(error, VT_ERROR_USER, "the script is empty");
    if (nul)
        return vt_error_set(error, VT_ERROR_USER,
                            "the script is no text: byte %" G_GSIZE_FORMAT " of it is NUL",
                            (gsize)(nul - data) + 1);
    if (!memmem(data, size, "\r\n", 2))
        return true;
    if (submit->qsub->script)
        return vt_error_set(error, VT_ERROR_USER, "script is written in DOS/Windows text format");
    char *text = g_malloc(size);
    for (gsize i = 0; i < size; i++)
        if (data[i] != '\r' || i + 1 == size || data[i + 1] != '\n')
            text[kept++] = data[i];
    g_bytes_unref(submit->script);
    submit->script = g_bytes_new_take(text, kept);
    return true;
}

/* vtorque-run's path, which must be the same on the nodes. (transfer full) */
static char *find_run(GError **error)
{
    g_autofree char *path = vt_program_find("vtorque-run", error);
    char *real = path ? realpath(path, NULL) : NULL;
    char *found = g_strdup(real);
    if (path && !real)
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot find '%s'", path);
    free(real);
    return found;
}

/* Scripts that lie in files and whose jobs never came to remove them. */
static void sweep_scripts(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        struct stat st;
        if (strlen(name) == strlen(SCRIPT_NAME) && lstat(path, &st) == 0 && S_ISREG(st.st_mode) &&
            st.st_mtime < time(NULL) - SCRIPT_DAYS_MAX * 86400)
            unlink(path);
    }
}

/* HOME may be another's (sudo): who can exchange a file there would have us run it. */
static bool make_own_folder(const char *folder, GError **error)
{
    struct stat st;
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make directory '%s'",
                                  folder);
    if (lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
        !(st.st_mode & (S_IWGRP | S_IWOTH)))
        return true;
    return vt_error_set(error, VT_ERROR_HOST,
                        "'%s' must be a directory of your own that nobody else may write to",
                        folder);
}

/* The user's folder for scripts in files. (transfer full), NULL: it is not theirs alone. */
static char *make_folder(GError **error)
{
    const char *home = g_get_home_dir();
    g_autofree char *own = g_build_filename(home, ".vtorque", NULL);
    g_autofree char *folder = g_build_filename(own, "scripts", NULL);
    struct stat st;
    if (stat(home, &st) < 0 || (st.st_uid != geteuid() && st.st_uid != 0)) {
        vt_error_set(error, VT_ERROR_HOST, "the home directory '%s' is another's", home);
        return NULL;
    }
    bool ok = make_own_folder(own, error) && make_own_folder(folder, error);
    return ok ? g_steal_pointer(&folder) : NULL;
}

/* Puts `script` into a file of the user's. Its path. (transfer full) */
static char *keep_script(GBytes *script, int mode, GError **error)
{
    g_autofree char *folder = make_folder(error);
    gsize size;
    const void *data = g_bytes_get_data(script, &size);
    if (!folder)
        return NULL;
    g_autofree char *path = g_build_filename(folder, SCRIPT_NAME, NULL);
    sweep_scripts(folder);
    vt_autofd fd = g_mkstemp_full(path, O_WRONLY | O_CLOEXEC, mode);
    if (fd < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make a file in '%s'", folder);
        return NULL;
    }
    if (!vt_fd_write_all(fd, data, size, error) || fsync(fd) < 0) {
        if (error && !*error)
            vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot write");
        g_prefix_error(error, "the job's script, '%s': ", path);
        unlink(path);
        return NULL;
    }
    return g_steal_pointer(&path);
}

/* A dry run keeps nothing. */
static char *keep(const Submit *submit, GBytes *script, int mode, GError **error)
{
    if (submit->qsub->is_dry_run)
        return g_build_filename(g_get_home_dir(), ".vtorque", "scripts", SCRIPT_NAME, NULL);
    return keep_script(script, mode, error);
}

/* What is executed at the terminal. (transfer full) */
static bool find_words(const VtQsub *qsub, GStrv *words, GError **error)
{
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    g_auto(GStrv) arguments = NULL;
    if (qsub->is_command) {
        g_strv_builder_add(found, qsub->script);
        arguments = vt_words_split(qsub->arguments.text ? qsub->arguments.text : "", false, error);
        if (!arguments) {
            g_prefix_error(error, "%s: -F: ", qsub->arguments.origin);
            return false;
        }
        g_strv_builder_addv(found, (const char **)arguments);
    }
    *words = g_strv_builder_end(found);
    return true;
}

/* The envelope, and the file that it speaks of where the script does not fit. */
static GBytes *make_envelope(const Submit *submit, char **file, GError **error)
{
    g_autofree char *run = find_run(error);
    g_auto(GStrv) words = NULL;
    if (submit->qsub->is_interactive && !find_words(submit->qsub, &words, error))
        return NULL;
    VtEnvelopeParts parts = {
        .script = submit->script,
        .lines = submit->qsub->lines,
        .run = run,
        .shell = submit->qsub->shell.text,
        .terminal = words,
    };
    g_autoptr(GBytes) envelope = run ? vt_envelope_new(&parts, error) : NULL;
    if (!envelope || g_bytes_get_size(envelope) <= VT_ENVELOPE_MAX)
        return g_steal_pointer(&envelope);
    *file = keep(submit, submit->script, 0600, error);
    parts.file = *file;
    GBytes *short_one = *file ? vt_envelope_new(&parts, error) : NULL;
    if (!short_one && *file && !submit->qsub->is_dry_run)
        unlink(*file);
    return short_one;
}

static void print_argv(const char *command, char *const *argv)
{
    g_print("# qsub\n%s\n", command);
    for (char *const *word = argv + 1; *word; word++) {
        g_autofree char *quoted = g_shell_quote(*word);
        g_print("  %s\n", quoted);
    }
}

/* `input` becomes standard input; -1: it stays. Returns only if that failed. */
static int run_qsub(const char *command, char *const *argv, int input, GError **error)
{
    if (input >= 0 && dup2(input, STDIN_FILENO) < 0)
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot hand the script to qsub");
    else {
        execve(command, argv, environ);
        vt_error_set_errno(error, VT_ERROR_BATCH, errno, "cannot run '%s'", command);
    }
    return -1;
}

/* A job without a virtual machine: qsub's alone. */
static int submit_plain(const Submit *submit, int argc, char **argv, GError **error)
{
    g_autoptr(GPtrArray) words = g_ptr_array_new();
    g_ptr_array_add(words, (char *)"qsub");
    for (int i = 1; i < argc; i++)
        if (!submit->qsub->is_dry_run || strcmp(argv[i], "--dry-run") != 0)
            g_ptr_array_add(words, argv[i]);
    g_ptr_array_add(words, NULL);
    if (!submit->qsub->is_dry_run)
        return run_qsub(submit->command, (char *const *)words->pdata, submit->input, error);
    g_print("# no virtual machine is asked for\n");
    print_argv(submit->command, (char *const *)words->pdata);
    return 0;
}

/* With a command qsub does without. */
static bool check_terminal(const VtQsub *qsub, GError **error)
{
    if (!qsub->is_interactive || qsub->is_command || qsub->is_dry_run ||
        (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)))
        return true;
    return vt_error_set(error, VT_ERROR_USER, "-I: standard input and output must be a terminal");
}

/* qsub reads the envelope from its standard input; or, for a job at a terminal, from a file, which
 * is what the node executes. vtorque-run removes that. */
static int hand_over(Submit *submit, VtTorque *torque, GBytes *envelope, GError **error)
{
    gsize size;
    const char *data = g_bytes_get_data(envelope, &size);
    g_autofree char *file = NULL;
    if (submit->qsub->is_interactive) {
        file = keep(submit, envelope, 0700, error);
        if (!file)
            return -1;
        g_ptr_array_insert(torque->argv, (gint)torque->argv->len - 1, g_strdup(file));
    }
    char *const *argv = (char *const *)torque->argv->pdata;
    if (submit->qsub->is_dry_run) {
        g_autofree char *pairs = vt_request_format(&submit->qsub->option, &submit->qsub->directive);
        g_print("# request\n%s\n%s\n", pairs, torque->word);
        print_argv(submit->command, argv);
        g_print("# envelope\n%.*s\n", (int)size, data);
        return 0;
    }
    vt_autofd input = file ? -1 : vt_fd_from_bytes("envelope", data, size, error);
    int status = file || input >= 0 ? run_qsub(submit->command, argv, input, error) : -1;
    if (file)
        unlink(file);
    return status;
}

static int submit_vm(Submit *submit, const char *host, GError **error)
{
    g_autofree char *file = NULL;
    g_autoptr(VtTorque) torque = vt_settings_check_host(submit->settings, host, error)
                                     ? vt_torque_new(submit->qsub, submit->settings, error)
                                     : NULL;
    if (!torque || !check_terminal(submit->qsub, error) || !check_script(submit, error))
        return -1;
    g_autoptr(GBytes) envelope = make_envelope(submit, &file, error);
    if (!envelope)
        return -1;
    for (guint i = 0; i < torque->notes->len; i++)
        g_printerr("vsub: note: %s\n", (const char *)torque->notes->pdata[i]);
    int status = hand_over(submit, torque, envelope, error);
    if (file && !submit->qsub->is_dry_run)
        unlink(file);
    return status;
}

int vt_submit(int argc, char **argv, bool *is_local, GError **error)
{
    g_auto(Submit) submit = {.qsub = vt_qsub_new(argc, argv), .input = -1};
    VtQsub *qsub = submit.qsub;
    g_autofree char *host = vt_host_name();
    VtBatch batch;
    *is_local = qsub->is_local || qsub->is_help || qsub->is_version;
    if (*is_local)
        return 0;
    if (!load_settings(&submit, error) ||
        !vt_batch_choose(submit.settings, host, vt_settings_has_site(), &batch, &submit.command,
                         error))
        return -1;
    *is_local = batch == VT_BATCH_LOCAL;
    if (*is_local)
        return 0;
    if (!load_script(&submit, error))
        return -1;
    bool is_default = vt_settings_get_number(submit.settings, VT_SETTING_VM_BY_DEFAULT);
    if (qsub->is_about || (!qsub->has_request && !is_default))
        return submit_plain(&submit, argc, argv, error);
    return submit_vm(&submit, host, error);
}
