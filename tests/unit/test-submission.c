/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-submission.c - vsub until a job can start: options, directives, settings and
 * checks together.
 *
 * Each test works in a folder of its own, which must hold afterwards what it held before.
 */
#include "cli/submission.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/run.h"

#define ARGS_MAX 16

static char *top;  /* the folder; also the submit directory */
static char *conf; /* settings that find the guest's kernel in it */

static void write_file(const char *name, const char *text, int mode)
{
    g_autofree char *path = g_build_filename(top, name, NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    g_assert_cmpint(chmod(path, (mode_t)mode), ==, 0);
}

static void make_folder(const char *name)
{
    g_autofree char *path = g_build_filename(top, name, NULL);
    g_assert_cmpint(g_mkdir_with_parents(path, 0755), ==, 0);
}

static void set_up(void)
{
    top = g_dir_make_tmp("vtorque-test-XXXXXX", NULL);
    g_assert_nonnull(top);
    g_assert_cmpint(chdir(top), ==, 0);
    make_folder("guest");
    make_folder("tiny-only");
    make_folder("out");
    make_folder("a b");
    write_file("guest/vmlinux", "k", 0644);
    write_file("guest/initramfs", "i", 0644);
    write_file("guest/initramfs-tiny", "i", 0644);
    write_file("tiny-only/vmlinuz", "k", 0644);
    write_file("tiny-only/initramfs-tiny", "i", 0644);
    write_file("job.sh", "#!/bin/sh\necho\n", 0644);
    write_file("empty", "", 0644);
    write_file("file", "x", 0644);
    g_assert_true(g_file_set_contents("nul", "#!/bin/sh\ne\0x", 13, NULL));
    conf = g_strdup_printf("GUEST_KERNEL=%s/guest\n", top);
}

static int compare_names(gconstpointer a, gconstpointer b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All paths below the folder, with their sizes, as one text. */
static void list_into(GString *text, const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const char *name;
    while (dir && (name = g_dir_read_name(dir)))
        g_ptr_array_add(names, g_build_filename(folder, name, NULL));
    g_ptr_array_sort(names, compare_names);
    for (guint i = 0; i < names->len; i++) {
        struct stat st;
        g_assert_cmpint(lstat(names->pdata[i], &st), ==, 0);
        g_string_append_printf(text, "%s %o %ld\n", (char *)names->pdata[i], st.st_mode,
                               S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
        if (S_ISDIR(st.st_mode))
            list_into(text, names->pdata[i]);
    }
}

static char *list(void)
{
    GString *text = g_string_new(NULL);
    list_into(text, top);
    return g_string_free(text, FALSE);
}

static void remove_folder(const char *folder)
{
    g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
    const char *name;
    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(folder, name, NULL);
        if (g_file_test(path, G_FILE_TEST_IS_DIR))
            remove_folder(path);
        else
            g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_assert_cmpint(g_rmdir(folder), ==, 0);
}

static void tear_down(void)
{
    g_assert_cmpint(chdir("/"), ==, 0);
    remove_folder(top);
    g_clear_pointer(&top, g_free);
    g_clear_pointer(&conf, g_free);
}

/* What vsub does with these arguments, this text on standard input and these settings. */
static VtSubmission *submit(const char *const *args, const char *input, const char *settings_text,
                            GError **error)
{
    char *argv[ARGS_MAX + 2] = {(char *)"vsub"};
    int argc = 1;
    for (; *args && argc <= ARGS_MAX; args++)
        argv[argc++] = (char *)*args;
    const char *more = settings_text ? settings_text : "";
    /* Not this machine's KVM: test-accel has that. */
    const char *accel = strstr(more, "ACCEL=") ? "" : "\nACCEL=tcg\n";
    g_autofree char *text = g_strconcat(conf, more, accel, NULL);
    vt_autofd fd = vt_fd_from_bytes("input", input ? input : "", input ? strlen(input) : 0, NULL);
    g_autoptr(VtSettings) settings = vt_settings_parse(text, strlen(text), "x.conf", error);
    g_autoptr(VtOptions) options = settings ? vt_options_parse(argc, argv, error) : NULL;
    return options ? vt_submission_new(options, settings, fd, error) : NULL;
}

static VtSubmission *submit_good(const char *const *args, const char *input)
{
    GError *error = NULL;
    VtSubmission *submission = submit(args, input, NULL, &error);
    g_assert_no_error(error);
    return submission;
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

typedef struct {
    const char *args[ARGS_MAX]; /* behind --local */
    const char *input;          /* NULL: there is a script file */
    const char *settings;
    const char *message;
} Wrong;

static const Wrong wrong[] = {
    /* the request */
    {{"-vm", "ram=12Q", "job.sh"},
     NULL,
     NULL,
     "command line: -vm ram '12Q': must be 96M to 16T in K, M, G or T, or a plain number of MiB"},
    {{"-vm", "ram=99999T", "job.sh"}, NULL, NULL, "command line: -vm ram '99999T': must be *"},
    {{"-vm", "ram=15T", "job.sh"},
     NULL,
     NULL,
     "command line: -vm ram '15728640M': with *M for QEMU and file servers the job takes *M, and "
     "*"},
    {{"-vm=vcpus=0", "job.sh"},
     NULL,
     NULL,
     "command line: -vm vcpus '0': must be a number from 1 to 255"},
    {{"-vm", "boot_timeout=soon", "job.sh"},
     NULL,
     NULL,
     "command line: -vm boot_timeout 'soon': must be *"},
    {{"-vm", "img=/opt/debian.qcow2", "job.sh"},
     NULL,
     NULL,
     "command line: -vm img '/opt/debian.qcow2': must be host, tiny, or the name of an image*"},
    {{"-vm", "fs_type=ramdisk", "job.sh"},
     NULL,
     NULL,
     "command line: -vm fs_type 'ramdisk' goes *"},
    {{"-vm", "disk=4G", "job.sh"}, NULL, NULL, "command line: -vm key 'disk' is not built yet; *"},
    {{"-vm", "memory=4G", "job.sh"}, NULL, NULL, "command line: unknown -vm key 'memory'; *"},
    {{"-vm", "ram", "job.sh"}, NULL, NULL, "command line: -vm 'ram': must be key=value*"},
    {{"job.sh", "-vm"}, NULL, NULL, "command line: option '-vm' needs a value: KEY=VALUE*"},
    {{"-vm", "ram=600M", "-l", "mem=512mb", "job.sh"},
     NULL,
     NULL,
     "command line: -vm ram '600M': with *M for QEMU and file servers the job takes *M, and -l "
     "mem= "
     "allows 512M"},
    /* options */
    {{"-q", "batch", "job.sh"},
     NULL,
     NULL,
     "command line: option '-q' has no meaning for a local job"},
    {{"-x", "ls"}, NULL, NULL, "command line: option '-x' goes with -I and a command"},
    {{"-I", "-x"}, NULL, NULL, "command line: option '-x' goes with -I and a command"},
    {{"-Q", "job.sh"}, NULL, NULL, "command line: unknown option '-Q' (vsub --help lists all)"},
    {{"--vm", "ram=1G", "job.sh"}, NULL, NULL, "command line: unknown option '--vm' *"},
    {{"--dry-run=yes", "job.sh"}, NULL, NULL, "command line: option '--dry-run' takes no value"},
    {{"-l", "walltime=1h", "job.sh"},
     NULL,
     NULL,
     "command line: -l walltime '1h': must be [[HH:]MM:]SS, at least 1 second"},
    {{"-lwalltime=0", "job.sh"}, NULL, NULL, "command line: -l walltime '0': must be *"},
    {{"-l", "mem=1", "job.sh"}, NULL, NULL, "command line: -l mem '1': must be *at least 96mb"},
    {{"-l", "nodes=2", "job.sh"},
     NULL,
     NULL,
     "command line: -l nodes '2': must be 1*not built yet"},
    {{"-l", "nodes=1:ppn=0", "job.sh"}, NULL, NULL, "command line: -l nodes '1:ppn=0': must be *"},
    {{"-l", "ncpus=2", "job.sh"},
     NULL,
     NULL,
     "command line: -l 'ncpus=2': must be walltime=, cput=, mem= or nodes=1:ppn=*"},
    {{"-l", "", "job.sh"}, NULL, NULL, "command line: -l '': must be *"},
    {{"-N", "my job", "job.sh"},
     NULL,
     NULL,
     "command line: -N 'my job': must be 1 to 255 characters without blanks"},
    {{"-j", "both", "job.sh"}, NULL, NULL, "command line: -j 'both': must be oe, eo or n"},
    {{"-v", "1A=2", "job.sh"}, NULL, NULL, "-v: variable '1A': must be a name*"},
    {{"-v", "A='2", "job.sh"},
     NULL,
     NULL,
     "command line: -v 'A='2': has a quote that is not closed"},
    {{"-F", "a 'b", "job.sh"},
     NULL,
     NULL,
     "command line: -F 'a 'b': has a quote that is not closed"},
    {{"-d", "nowhere", "job.sh"},
     NULL,
     NULL,
     "command line: -d 'nowhere': must be a directory that exists*"},
    {{"-w", "file", "job.sh"},
     NULL,
     NULL,
     "command line: -d 'file': must be a directory that exists*"},
    {{"-d", "/proc", "job.sh"}, NULL, NULL, "command line: -d '/proc': must be *"},
    {{"-S", "bash", "job.sh"},
     NULL,
     NULL,
     "command line: -S 'bash': must be the absolute path of a program"},
    {{"-S", "/nonexistent", "job.sh"},
     NULL,
     NULL,
     "command line: -S '/nonexistent': must be the absolute path of a program"},
    {{"-S", "/bin/bash", "-vm", "img=tiny", "job.sh"},
     NULL,
     NULL,
     "command line: -S '/bin/bash': must be /bin/sh with img=tiny*"},
    {{"-o", "none/out", "job.sh"},
     NULL,
     NULL,
     "command line: -o 'none/out': must be a file that can be written*"},
    {{"-e", "elsewhere:/tmp/x", "job.sh"},
     NULL,
     NULL,
     "command line: -e 'elsewhere:/tmp/x': must be a path on this machine"},
    {{"--report", "out", "job.sh"},
     NULL,
     NULL,
     "command line: --report 'out': must be a file that can be written*"},
    /* the script */
    {{"none.sh"}, NULL, NULL, "cannot read script 'none.sh': No such file or directory"},
    {{"out"}, NULL, NULL, "script 'out' is not a regular file"},
    {{"empty"}, NULL, NULL, "script 'empty' is empty"},
    {{NULL}, "", NULL, "script on standard input is empty"},
    {{"nul"}, NULL, NULL, "script 'nul' is no text: byte 12 of it is NUL"},
    {{"job.sh", "argument"},
     NULL,
     NULL,
     "command line: argument 'argument': must be one script; its arguments go into -F *"},
    {{NULL}, "#!/bin/sh\n\n#PBS -vm ram=x\n", NULL, "script line 3: -vm ram 'x': must be *"},
    {{NULL}, "#PBS -q batch\n", NULL, "script line 1: option '-q' has no meaning for a local job"},
    {{NULL}, "#PBS -l \\\n walltime=x\n", NULL, "script line 1: -l walltime 'x': must be *"},
    {{NULL},
     "#PBS --dry-run\n",
     NULL,
     "script line 1: option '--dry-run' is for the command line alone"},
    {{NULL}, "#PBS -N 'a\n", NULL, "script line 1: quote ' is not closed"},
    {{NULL}, "#PBS -N\n", NULL, "script line 1: option '-N' needs a value: NAME"},
    /* the settings */
    {{"job.sh"}, NULL, "VCPUS=1\n", "x.conf:2: unknown parameter 'VCPUS'*"},
    {{"job.sh"}, NULL, "TIMEOUT=never\n", "x.conf:2: TIMEOUT 'never': must be *"},
    {{"job.sh"}, NULL, "VM_IMG_DIR=images\n", "x.conf:2: VM_IMG_DIR 'images': must be an abs*"},
    {{"job.sh"},
     NULL,
     "VM_MOUNTS=( /nonexistent )\n",
     "x.conf:2: VM_MOUNTS '/nonexistent': must be directories that exist*"},
    {{"job.sh"}, NULL, "VM_MOUNTS=/\n", "x.conf:2: VM_MOUNTS '/': must be *"},
};

static void check_wrong(const Wrong *row)
{
    const char *args[ARGS_MAX + 1] = {"--local"};
    g_autoptr(GError) error = NULL;
    g_autofree char *before = list();
    memcpy(args + 1, row->args, (ARGS_MAX - 1) * sizeof *args);
    g_assert_null(submit(args, row->input, row->settings, &error));
    g_assert_nonnull(error);
    g_test_message("%s", error->message);
    if (!g_pattern_match_simple(row->message, error->message))
        g_error("'%s' is not '%s'", error->message, row->message);
    g_assert_null(strchr(error->message, '\n'));
    g_assert_cmpint(vt_error_exit_status(error), ==, VT_EXIT_USAGE);
    g_autofree char *after = list();
    g_assert_cmpstr(before, ==, after);
}

static void test_wrong(void)
{
    set_up();
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++)
        check_wrong(&wrong[i]);
    tear_down();
}

/* What this machine lacks or forbids is not the user's mistake: another status. */
static void check_host(const char *settings, const char *message)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *saved = g_steal_pointer(&conf);
    conf = g_strdup("");
    g_assert_null(submit(ARGS("--local", "job.sh"), NULL, settings, &error));
    g_free(conf);
    conf = g_steal_pointer(&saved);
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    g_assert_cmpint(vt_error_exit_status(error), ==, VT_EXIT_FAILED);
    if (!g_pattern_match_simple(message, error->message))
        g_error("'%s' is not '%s'", error->message, message);
}

static void test_host(void)
{
    set_up();
    g_autofree char *tiny = g_strdup_printf("GUEST_KERNEL=%s/tiny-only\n", top);
    check_host("GUEST_KERNEL=/nonexistent\n",
               "no guest kernel in '/nonexistent': run 'make run' *");
    check_host(tiny, "no guest kernel in '*/tiny-only': *");
    check_host("DISABLED_HOSTS_LIST='*'\n",
               "virtual machines are disabled on '*' (x.conf:1: DISABLED_HOSTS_LIST)");
    tear_down();
}

static void test_plain(void)
{
    set_up();
    g_autofree char *before = list();
    g_autoptr(VtSubmission) submission = submit_good(ARGS("--local", "job.sh"), NULL);
    g_autofree char *real = g_file_read_link("/proc/self/cwd", NULL);
    const VtJob *job = submission->decided.job;
    g_assert_cmpstr(job->name, ==, "job.sh");
    g_assert_true(vt_job_id_is_valid(job->id));
    g_assert_true(g_str_has_suffix(job->id, job->host));
    g_assert_cmpstr(job->submit_dir, ==, real);
    g_assert_cmpstr(submission->cwd, ==, real);
    g_assert_cmpstr(submission->decided.kernel_file, ==, "vmlinux");
    g_assert_cmpint(job->image, ==, VT_IMAGE_HOST);
    g_assert_cmpuint(job->boot_timeout_s, ==, 120);
    g_assert_cmpuint(job->kill_grace_s, ==, 10);
    g_assert_cmpuint(job->walltime_s, ==, 0);
    g_assert_cmpuint(job->tmp_mib, ==, job->ram_mib / 2);
    g_assert_false(submission->is_stdin_script);
    g_assert_null(submission->output_path);
    g_assert_cmpint(submission->join, ==, VT_JOIN_NONE);
    g_assert_cmpuint(g_bytes_get_size(submission->script), ==, strlen("#!/bin/sh\necho\n"));
    g_assert_cmpstr(g_environ_getenv(submission->environment, "PBS_JOBID"), ==, job->id);
    g_assert_cmpstr(g_environ_getenv(submission->environment, "PBS_O_WORKDIR"), ==, real);
    g_assert_cmpuint(submission->limits->len, ==, 16);
    g_autofree char *explained = vt_submission_explain(submission);
    g_assert_nonnull(strstr(explained, job->id));
    g_assert_nonnull(strstr(explained, "accel         tcg (x.conf:"));
    g_assert_cmpint(job->accel, ==, VT_ACCEL_TCG);
    g_assert_cmpuint(submission->decided.warnings->len, ==, 0);
    g_autofree char *after = list();
    g_assert_cmpstr(before, ==, after);
    tear_down();
}

static void test_options(void)
{
    static const char script[] =
        "#!/bin/sh\n"
        "#PBS -N fromscript -l walltime=1:00,nodes=1:ppn=2 -j oe -S /bin/sh\n"
        "#PBS -vm img=tiny,ram=128M -v A=script,B=script\n"
        "#PBS -o out ignored\n"
        "echo\n#PBS -N late\n";
    set_up();
    g_autoptr(VtSubmission) submission =
        submit_good(ARGS("-Vlwalltime=30", "-NNAME", "-vm", "ram=256M", "-v", "B=line,C='1,2'",
                         "-d", "a b", "--report=r.json", "--verbose", "--dry-run", "--local"),
                    script);
    const VtJob *job = submission->decided.job;
    g_autofree char *cwd = g_build_filename(job->submit_dir, "a b", NULL);
    g_assert_cmpstr(job->name, ==, "NAME");
    g_assert_cmpuint(job->walltime_s, ==, 30);
    g_assert_cmpint(job->image, ==, VT_IMAGE_TINY);
    g_assert_cmpuint(job->ram_mib, ==, 256);
    g_assert_cmpint(submission->join, ==, VT_JOIN_OUTPUT);
    g_assert_cmpstr(submission->cwd, ==, cwd);
    g_assert_null(job->mounts[0]);
    g_assert_true(submission->is_stdin_script);
    g_assert_true(submission->is_dry_run);
    g_assert_true(submission->is_verbose);
    g_assert_cmpstr(g_environ_getenv(submission->environment, "A"), ==, "script");
    g_assert_cmpstr(g_environ_getenv(submission->environment, "B"), ==, "line");
    g_assert_cmpstr(g_environ_getenv(submission->environment, "C"), ==, "1,2");
    g_assert_true(g_str_has_suffix(submission->report_path, "/r.json"));
    /* -o is a directory: the file is named as qsub names it. */
    g_autofree char *number = g_strndup(job->id, strcspn(job->id, "."));
    g_autofree char *output = g_strdup_printf("%s/out/NAME.o%s", job->submit_dir, number);
    g_assert_cmpstr(submission->output_path, ==, output);
    g_assert_cmpstr(submission->decided.shape.origins[VT_REQUEST_IMG], ==, "script line 3");
    g_assert_cmpstr(submission->decided.shape.origins[VT_REQUEST_RAM], ==, "command line");
    tear_down();
}

static void test_interactive(void)
{
    set_up();
    g_autoptr(VtSubmission) shell =
        submit_good(ARGS("--local", "-vm", "img=tiny", "-I", "-o", "out", "job.sh"), NULL);
    g_assert_true(shell->is_interactive);
    g_assert_false(shell->is_stdin_script);
    g_assert_cmpuint(g_bytes_get_size(shell->script), ==, 0);
    g_assert_null(shell->output_path);
    g_assert_cmpuint(shell->decided.notes->len, ==, 1);
    g_assert_cmpstr(shell->command.program, ==, "/bin/sh");
    g_assert_cmpstr(shell->command.argv[0], ==, "-sh");
    g_assert_null(shell->command.argv[1]);
    g_assert_cmpstr(g_environ_getenv(shell->environment, "PBS_ENVIRONMENT"), ==, "PBS_INTERACTIVE");
    /* No script is read: the terminal is no script, and a command need not be one. */
    g_autoptr(VtSubmission) command = submit_good(
        ARGS("--local", "-vm", "img=tiny", "-I", "-x", "no such", "-F", "a 'b c'"), NULL);
    g_assert_cmpuint(g_strv_length(command->command.argv), ==, 6);
    g_assert_cmpstr(command->command.argv[3], ==, "no such");
    g_assert_cmpstr(command->command.argv[5], ==, "b c");
    g_autoptr(VtSubmission) directive =
        submit_good(ARGS("--local", "-"), "#PBS -I -N named\necho\n");
    g_assert_true(directive->is_interactive);
    g_assert_cmpstr(directive->decided.job->name, ==, "named");
    tear_down();
}

static void test_outputs(void)
{
    set_up();
    g_autoptr(VtSubmission) same =
        submit_good(ARGS("--local", "-o", "localhost:x", "-e", "x", "job.sh"), NULL);
    g_assert_cmpint(same->join, ==, VT_JOIN_OUTPUT);
    g_autoptr(VtSubmission) named = submit_good(
        ARGS("--local", "-o", "/dev/null", "-e", "out/${PBS_JOBNAME}.$PBS_JOBID", "job.sh"), NULL);
    g_autofree char *expected =
        g_strdup_printf("%s/out/job.sh.%s", named->decided.job->submit_dir, named->decided.job->id);
    g_assert_cmpstr(named->output_path, ==, "/dev/null");
    g_assert_cmpstr(named->error_path, ==, expected);
    tear_down();
}

static void test_work_dir(void)
{
    set_up();
    g_autoptr(VtSubmission) inside = submit_good(ARGS("--local", "-w", "out", "job.sh"), NULL);
    g_assert_null(inside->decided.job->mounts[0]);
    g_autoptr(VtSubmission) outside = submit_good(ARGS("--local", "-d", "/usr", "job.sh"), NULL);
    g_assert_cmpstr(outside->decided.job->mounts[0], ==, "/usr");
    g_assert_null(outside->decided.job->mounts[1]);
    g_assert_cmpstr(g_environ_getenv(outside->environment, "PBS_O_WORKDIR"), ==, "/usr");
    g_autoptr(VtSubmission) root = submit_good(ARGS("--local", "-d", "/", "job.sh"), NULL);
    g_assert_null(root->decided.job->mounts[0]);
    tear_down();
}

static char *join_argv(const VtSubmission *submission)
{
    return g_strjoinv("|", submission->command.argv);
}

static void test_commands(void)
{
    set_up();
    g_autoptr(VtSubmission) plain =
        submit_good(ARGS("--local", "-vm", "img=tiny", "-F", "a 'b  c' \"d\"", "job.sh"), NULL);
    g_autofree char *plain_argv = join_argv(plain);
    g_assert_cmpstr(plain->command.program, ==, "/bin/sh");
    g_assert_cmpstr(plain_argv, ==, "-sh|-c|exec \"$0\" \"$@\"|" CTL_SCRIPT_PATH "|a|b  c|d");

    g_autoptr(VtSubmission) shell = submit_good(ARGS("--local", "-S", "/bin/bash", "job.sh"), NULL);
    g_autofree char *shell_argv = join_argv(shell);
    g_assert_cmpstr(shell->command.program, ==, "/bin/bash");
    g_assert_cmpstr(shell_argv, ==, "-bash|" CTL_SCRIPT_PATH);

    g_autoptr(VtSubmission) other =
        submit_good(ARGS("--local", "-S", "/usr/bin/env", "-F", "x", "job.sh"), NULL);
    g_autofree char *other_argv = join_argv(other);
    g_assert_true(g_str_has_suffix(other_argv, "|/usr/bin/env|" CTL_SCRIPT_PATH "|x"));
    tear_down();
}

static void test_line_ends(void)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"#!/bin/sh\r\necho\r\n", "#!/bin/sh\necho\n"},
        {"echo a\r\necho b\necho '\r'", "echo a\necho b\necho '\r'"},
        {"#!/bin/sh\nprintf '\r\n'\r\n", "#!/bin/sh\nprintf '\r\n'\r\n"},
        {"echo", "echo"},
        {"\n", "\n"},
        {"\r\n", "\n"},
        {"\r", "\r"},
    };
    set_up();
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(VtSubmission) submission = submit_good(ARGS("--local"), rows[i].text);
        gsize size;
        const char *data = g_bytes_get_data(submission->script, &size);
        g_assert_cmpmem(data, size, rows[i].expected, strlen(rows[i].expected));
        g_assert_cmpuint(submission->decided.notes->len, ==,
                         strcmp(rows[i].text, rows[i].expected) != 0);
    }
    tear_down();
}

static void test_help(void)
{
    g_autofree char *help = vt_options_help();
    char *argv[] = {(char *)"vsub", (char *)"--help", (char *)"--version", NULL};
    g_autoptr(VtOptions) options = vt_options_parse(3, argv, NULL);
    g_assert_true(options->is_help);
    g_assert_true(options->is_version);
    g_assert_nonnull(strstr(help, "--dry-run"));
    g_assert_null(strstr(help, "not built"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/submission/wrong", test_wrong);
    g_test_add_func("/submission/host", test_host);
    g_test_add_func("/submission/plain", test_plain);
    g_test_add_func("/submission/options", test_options);
    g_test_add_func("/submission/interactive", test_interactive);
    g_test_add_func("/submission/outputs", test_outputs);
    g_test_add_func("/submission/work-dir", test_work_dir);
    g_test_add_func("/submission/commands", test_commands);
    g_test_add_func("/submission/line-ends", test_line_ends);
    g_test_add_func("/submission/help", test_help);
    return g_test_run();
}
