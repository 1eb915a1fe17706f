/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-envelope.c - envelopes: what is put in comes out, whatever a filter adds; each
 * shell becomes vtorque-run, and none reads the script. */
#include "batch/envelope.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base64.h"
#include "base/error.h"
#include "job/words.h"

#define TEXT(text) text, sizeof text - 1

static const struct {
    const char *script;
    gsize size;
} scripts[] = {
    {TEXT("#!/bin/bash\n#PBS -N x\necho \"$@\"\n")},
    {TEXT("echo no final newline")},
    {TEXT("x")},
    {TEXT("\n\n\n")},
    {TEXT("#!/usr/bin/python3\nprint('\xff\xfe\xe4')\n")},
    {TEXT("echo\n#vtorque-envelope 1 sha256=x bytes=1\nfalse\n")},
    {TEXT("#vtorque-envelope 1 "
          "sha256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 "
          "bytes=0\n")},
    {TEXT("lone \r returns\r\r")},
};

static GPtrArray *no_lines(void)
{
    return g_ptr_array_new_with_free_func(g_free);
}

static GBytes *make(GBytes *script, const GPtrArray *lines, const char *shell, const char *file)
{
    const VtEnvelopeParts parts = {script, lines, "/opt/vt/libexec/vtorque-run", shell, file};
    GError *error = NULL;
    GBytes *envelope = vt_envelope_new(&parts, &error);
    g_assert_no_error(error);
    return envelope;
}

/* As a submit filter might leave it. */
static GBytes *filter(GBytes *envelope, const char *before, const char *behind)
{
    gsize size;
    const char *data = g_bytes_get_data(envelope, &size);
    GString *text = g_string_new(before);
    g_string_append_len(text, data, (gssize)size);
    g_string_append(text, behind);
    return g_string_free_to_bytes(text);
}

static void check_found(GBytes *stored, GBytes *script, const char *shell)
{
    VtEnvelope found;
    GError *error = NULL;
    gsize size;
    const void *data = g_bytes_get_data(stored, &size);
    g_assert_true(vt_envelope_open(&found, data, size, &error));
    g_assert_no_error(error);
    g_assert_true(g_bytes_equal(found.script, script));
    g_assert_cmpuint(found.bytes, ==, g_bytes_get_size(script));
    g_assert_cmpstr(found.shell, ==, shell);
    g_assert_null(found.file);
    g_assert_null(found.terminal);
    g_assert_true(vt_envelope_check(&found, script, NULL));
    vt_envelope_clear(&found);
}

static void test_there_and_back(void)
{
    static const struct {
        const char *before, *behind;
    } filters[] = {
        {"", ""},
        {"#PBS -A project\n", ""},
        {"echo first\n\n", "\n#PBS -q late\necho last"},
        {"", "tail without a line feed before it"},
        {"#vtorque-envelope 1 \n#vtorque-envelope 2 sha256=x bytes=1\n#vtorque-envelope\n", ""},
    };
    g_autoptr(GPtrArray) lines = no_lines();
    g_ptr_array_add(lines, g_strdup("#PBS -N x"));
    for (gsize i = 0; i < G_N_ELEMENTS(scripts); i++)
        for (gsize k = 0; k < G_N_ELEMENTS(filters); k++) {
            const char *shell = k % 2 ? "/opt/my shells/\xff" : NULL;
            g_autoptr(GBytes) script = g_bytes_new_static(scripts[i].script, scripts[i].size);
            g_autoptr(GBytes) envelope = make(script, lines, shell, NULL);
            g_autoptr(GBytes) stored = filter(envelope, filters[k].before, filters[k].behind);
            check_found(stored, script, shell);
        }
}

/* The text is what other programs rely on. */
static void test_text(void)
{
    g_autoptr(GPtrArray) lines = no_lines();
    g_ptr_array_add(lines, g_strdup("#PBS -N x"));
    g_ptr_array_add(lines, g_strdup("#PBS -j oe"));
    g_autoptr(GBytes) script = g_bytes_new_static("true", 4);
    g_autoptr(GBytes) envelope = make(script, lines, "/bin/ksh", NULL);
    gsize size;
    const char *data = g_bytes_get_data(envelope, &size);
    g_autofree char *text = g_strndup(data, size);
    g_assert_cmpstr(
        text, ==,
        "#!/bin/sh\n#PBS -N x\n#PBS -j oe\n"
        "eval '(exit $?0)' && eval 'exec /opt/vt/libexec/vtorque-run \"$0\" ${1+\"$@\"}'\n"
        "eval 'exec /opt/vt/libexec/vtorque-run \"$0\" $argv:q'\n"
        "exit 127\n"
        "#vtorque-envelope 1 "
        "sha256=b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b bytes=4 "
        "shell=L2Jpbi9rc2g\ntrue");
}

/* A job at a terminal: no words, words, an empty one. */
static void test_terminal(void)
{
    char *const none[] = {NULL};
    char *const some[] = {(char *)"sh", (char *)"", (char *)"two  words\n\xff", NULL};
    char *const *rows[] = {none, some};
    g_autoptr(GPtrArray) lines = no_lines();
    g_autoptr(GBytes) script = g_bytes_new_static("", 0);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const VtEnvelopeParts parts = {
            .script = script, .lines = lines, .run = "/run", .terminal = rows[i]};
        g_autoptr(GBytes) envelope = vt_envelope_new(&parts, NULL);
        gsize size;
        const void *data = g_bytes_get_data(envelope, &size);
        VtEnvelope found;
        g_assert_true(vt_envelope_open(&found, data, size, NULL));
        g_assert_cmpuint(found.bytes, ==, 0);
        g_assert_true(g_strv_equal((const char *const *)found.terminal,
                                   (const char *const *)(void *)rows[i]));
        vt_envelope_clear(&found);
    }
}

/* What would not fit lies in a file; the envelope is complete without it. */
static void test_file(void)
{
    g_autoptr(GPtrArray) lines = no_lines();
    g_autofree char *fill = g_strnfill(VT_ENVELOPE_MAX, 'x');
    g_autoptr(GBytes) script = g_bytes_new_static(fill, VT_ENVELOPE_MAX);
    g_autoptr(GBytes) whole = make(script, lines, NULL, NULL);
    g_assert_cmpuint(g_bytes_get_size(whole), >, VT_ENVELOPE_MAX);
    g_autoptr(GBytes) envelope = make(script, lines, NULL, "/home/u/.vtorque/scripts/a b");
    g_assert_cmpuint(g_bytes_get_size(envelope), <, 1024);
    VtEnvelope found;
    gsize size;
    const void *data = g_bytes_get_data(envelope, &size);
    g_assert_true(vt_envelope_open(&found, data, size, NULL));
    g_assert_null(found.script);
    g_assert_cmpstr(found.file, ==, "/home/u/.vtorque/scripts/a b");
    g_assert_true(vt_envelope_check(&found, script, NULL));
    fill[7] = 'y';
    g_autoptr(GError) error = NULL;
    g_assert_false(vt_envelope_check(&found, script, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    vt_envelope_clear(&found);

    /* Directives alone that would be cut, and a path that a shell would cut. */
    g_ptr_array_add(lines, g_strdup_printf("#PBS %s", fill));
    const VtEnvelopeParts longer = {script, lines, "/vtorque-run", NULL, "/x"};
    g_autoptr(GError) too_long = NULL, blank = NULL;
    g_assert_null(vt_envelope_new(&longer, &too_long));
    g_assert_error(too_long, VT_ERROR, VT_ERROR_USER);
    const VtEnvelopeParts blanks = {script, lines, "/my files/vtorque-run", NULL, "/x"};
    g_assert_null(vt_envelope_new(&blanks, &blank));
    g_assert_error(blank, VT_ERROR, VT_ERROR_CONFIG);
}

#define DIGEST "b5bea41b6c623f7c09f1bf24dcae58ebab3c0cdd90ad966bc43a45b44867e12b" /* of "true" */

static void test_wrong(void)
{
    static const char *const none[] = {
        "",
        "\n",
        "true\n",
        "#vtorque-envelope 1 ",
        "#vtorque-envelope 2 x\n",
        " #vtorque-envelope 1 sha256=" DIGEST " bytes=4\ntrue",
    };
    static const char *const broken[] = {
        "#vtorque-envelope 1 \ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4\ntruE",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4\ntru",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4\n\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=5\ntrue\n",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=-4\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=18446744073709551615\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=99999999999999999999\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 \ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 x=1\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 shell=\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 shell=a3No\ntrue",  /* ksh */
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 file=L3gAeQ\ntrue", /* NUL */
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 file=L3g shell=L3g\ntrue",
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 terminal=YQ\ntrue", /* no NUL */
        "#vtorque-envelope 1 sha256=" DIGEST " bytes=4 terminal=? \ntrue",
        "#vtorque-envelope 1 sha256=b5 bytes=4\ntrue",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(none) + G_N_ELEMENTS(broken); i++) {
        bool is_none = i < G_N_ELEMENTS(none);
        const char *text = is_none ? none[i] : broken[i - G_N_ELEMENTS(none)];
        VtEnvelope found, zero = {0};
        g_autoptr(GError) error = NULL;
        g_test_message("'%s'", text);
        g_assert_false(vt_envelope_open(&found, text, strlen(text), &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_USER);
        g_assert_true(is_none == (strstr(error->message, "none of vsub's") != NULL));
        g_assert_cmpmem(&found, sizeof found, &zero, sizeof zero);
    }
}

/* Many that only look like one cost no more than a few. */
static void test_tries(void)
{
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 0; i < 100000; i++)
        g_string_append(text, "#vtorque-envelope 1 sha256=" DIGEST " bytes=1000000\n");
    g_string_append(text, "#vtorque-envelope 1 sha256=" DIGEST " bytes=4\ntrue");
    VtEnvelope found;
    g_assert_false(vt_envelope_open(&found, text->str, text->len, NULL));
}

/* Words become a line that gives the same words again. */
static void test_line(void)
{
    static const char *const rows[][5] = {
        {"-N", "x", NULL},
        {"-l", "nodes=1:ppn=2,mem=1gb", NULL},
        {"-v", "A=a b,B='x',C=\"y\",D=\\z", NULL},
        {"-F", "one 'two three' \"four\"", "", NULL},
        {"-W", "x=''''", "#", "a#b", NULL},
        {"-A", "\xff\xe4$`!*?<>|&;(){}[]~", "\t", NULL},
        {"-M", "''", "'", "\"", NULL},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *line = vt_envelope_line("#VM", (char *const *)rows[i]);
        g_assert_true(g_str_has_prefix(line, "#VM "));
        g_assert_false(g_str_has_prefix(line, "#VM  "));
        g_auto(GStrv) words = vt_words_split(line + strlen("#VM"), false, NULL);
        g_assert_true(g_strv_equal((const char *const *)words, rows[i]));
    }
    char *const none[] = {NULL};
    g_autofree char *empty = vt_envelope_line("#PBS", none);
    g_assert_cmpstr(empty, ==, "");
}

/* Shells. The stub in vtorque-run's place writes what it was started with to a file. */

static char *folder;

static char *write_file(const char *name, const void *data, gsize size)
{
    char *path = g_build_filename(folder, name, NULL);
    g_assert_true(g_file_set_contents(path, data, (gssize)size, NULL));
    g_assert_cmpint(g_chmod(path, 0755), ==, 0);
    return path;
}

/* Runs SHELL ENVELOPE ARGUMENTS (no shell: the envelope itself); its exit status. */
static int run_shell(const char *shell, const char *envelope, const char *const *arguments)
{
    g_autoptr(GPtrArray) argv = g_ptr_array_new();
    if (shell)
        g_ptr_array_add(argv, (char *)shell);
    g_ptr_array_add(argv, (char *)envelope);
    for (; *arguments; arguments++)
        g_ptr_array_add(argv, (char *)*arguments);
    g_ptr_array_add(argv, NULL);
    int status = -1;
    g_autoptr(GError) error = NULL;
    g_spawn_sync(folder, (char **)argv->pdata, NULL,
                 G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status,
                 &error);
    g_assert_no_error(error);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 256;
}

static void check_shell(const char *shell, const char *envelope, bool drops_empty)
{
    static const char *const arguments[] = {"plain",         "a b", "it's",     "\"quoted\"",
                                            "$HOME `id` \\", "",    "!* ? [x]", "two\nlines",
                                            "\xff",          NULL};
    g_autofree char *out = g_build_filename(folder, "out", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken", NULL);
    g_autoptr(GString) wanted = g_string_new(NULL);
    g_string_append_printf(wanted, "<%s>", envelope);
    for (gsize i = 0; arguments[i]; i++)
        if (*arguments[i] || !drops_empty)
            g_string_append_printf(wanted, "<%s>", arguments[i]);
    g_test_message("%s %s", shell ? shell : "itself", envelope);
    g_remove(out);
    g_assert_cmpint(run_shell(shell, envelope, arguments), ==, 7);
    g_autofree char *got = NULL;
    g_assert_true(g_file_get_contents(out, &got, NULL, NULL));
    g_assert_cmpstr(got, ==, wanted->str);
    g_assert_false(g_file_test(broken, G_FILE_TEST_EXISTS));
}

/* Without vtorque-run there is a status and nothing else. */
static void check_without(const char *shell, const char *envelope)
{
    static const char *const none[] = {NULL};
    g_autofree char *out = g_build_filename(folder, "out", NULL);
    g_autofree char *broken = g_build_filename(folder, "broken", NULL);
    g_remove(out);
    int status = run_shell(shell, envelope, none);
    g_assert_true(status == 126 || status == 127 || (status == 1 && strstr(shell, "csh")));
    g_assert_false(g_file_test(out, G_FILE_TEST_EXISTS));
    g_assert_false(g_file_test(broken, G_FILE_TEST_EXISTS));
}

/* A script that would be noticed if any line of it ran. */
#define LOUD "touch broken\n>broken\n`touch broken`\nif ( ' \" \\\n"

static void test_shells(void)
{
    static const char *const shells[] = {"sh", "bash", "dash", "zsh", "ksh", "csh", "tcsh"};
    g_autoptr(GError) error = NULL;
    folder = g_dir_make_tmp("vt-envelope-XXXXXX", &error);
    g_assert_no_error(error);
    g_autofree char *stub =
        g_strdup_printf("#!/bin/sh\nprintf '<%%s>' \"$@\" >'%s/out'\nexit 7\n", folder);
    g_autofree char *run = write_file("vtorque-run", stub, strlen(stub));
    g_autoptr(GBytes) script = g_bytes_new_static(TEXT(LOUD));
    g_autoptr(GPtrArray) lines = no_lines();
    g_ptr_array_add(lines, g_strdup("#PBS -v \"A=`touch broken`,B=$(touch broken)\" \\"));
    const VtEnvelopeParts parts = {script, lines, run, NULL, NULL};
    g_autoptr(GBytes) envelope = vt_envelope_new(&parts, NULL);
    g_autoptr(GBytes) filtered = filter(envelope, "# a filter's line\n#PBS -A x\n", "\n" LOUD);
    gsize size;
    const void *data = g_bytes_get_data(envelope, &size);
    g_autofree char *plain = write_file("plain.SC", data, size);
    data = g_bytes_get_data(filtered, &size);
    g_autofree char *shifted = write_file("shifted it's.SC", data, size);
    check_shell(NULL, plain, false);
    guint tried = 0;
    for (gsize i = 0; i < G_N_ELEMENTS(shells); i++) {
        g_autofree char *shell = g_find_program_in_path(shells[i]);
        if (!shell)
            continue;
        bool is_csh = strstr(shells[i], "csh") != NULL;
        check_shell(shell, plain, is_csh);
        check_shell(shell, shifted, is_csh);
        tried++;
    }
    g_assert_cmpuint(tried, >=, 3);
    for (guint pass = 0; pass < 2; pass++) { /* not executable, then not there */
        g_assert_cmpint(pass == 0 ? g_chmod(run, 0644) : g_remove(run), ==, 0);
        for (gsize i = 0; i < G_N_ELEMENTS(shells); i++) {
            g_autofree char *shell = g_find_program_in_path(shells[i]);
            if (shell)
                check_without(shell, plain);
        }
    }
    g_autofree char *out = g_build_filename(folder, "out", NULL);
    g_remove(out);
    g_remove(plain);
    g_remove(shifted);
    g_assert_cmpint(g_rmdir(folder), ==, 0);
    g_free(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/envelope/there-and-back", test_there_and_back);
    g_test_add_func("/envelope/text", test_text);
    g_test_add_func("/envelope/terminal", test_terminal);
    g_test_add_func("/envelope/file", test_file);
    g_test_add_func("/envelope/wrong", test_wrong);
    g_test_add_func("/envelope/tries", test_tries);
    g_test_add_func("/envelope/line", test_line);
    g_test_add_func("/envelope/shells", test_shells);
    return g_test_run();
}
