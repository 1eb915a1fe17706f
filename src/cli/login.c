/* SPDX-License-Identifier: Apache-2.0 */
/* cli/login.c - what is executed in the guest so that the job's script runs as after a login. */
#include "cli/login.h"

#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "ctl/run.h"

#define PLAIN_SHELL "/bin/sh"              /* there in every image */
#define ARGUMENTS_MAX (WIRE_WORDS_MAX / 2) /* the rest is the environment's and ours */
#define BYTES_MAX (WIRE_ARENA_MAX / 4)

typedef enum { FAMILY_NONE, FAMILY_SH, FAMILY_CSH } Family;

static Family find_family(const char *shell)
{
    static const char *const sh[] = {"sh",  "bash",  "rbash", "dash", "ash",
                                     "ksh", "ksh93", "mksh",  "zsh",  NULL};
    static const char *const csh[] = {"csh", "tcsh", "bsd-csh", NULL};
    g_autofree char *name = g_path_get_basename(shell);
    if (g_strv_contains(sh, name))
        return FAMILY_SH;
    return g_strv_contains(csh, name) ? FAMILY_CSH : FAMILY_NONE;
}

static bool is_program(const char *path)
{
    return g_file_test(path, G_FILE_TEST_IS_REGULAR) && access(path, X_OK) == 0;
}

static bool check_shell(const VtJob *job, const VtOptionText *shell, GError **error)
{
    if (job->image == VT_IMAGE_TINY && strcmp(shell->text, PLAIN_SHELL) != 0)
        return vt_error_set_value(error, VT_ERROR_USER, shell->origin, "-S", shell->text,
                                  "must be /bin/sh with img=tiny, which has no other");
    if (!vt_job_path_is_valid(shell->text) || !is_program(shell->text))
        return vt_error_set_value(error, VT_ERROR_USER, shell->origin, "-S", shell->text,
                                  "must be the absolute path of a program");
    return true;
}

static const char *find_login_shell(const VtJob *job, GPtrArray *notes)
{
    const char *shell = job->owner.shell;
    if (job->image == VT_IMAGE_TINY)
        return PLAIN_SHELL;
    if (find_family(shell) != FAMILY_NONE && is_program(shell))
        return shell;
    g_ptr_array_add(
        notes,
        g_strdup_printf("login shell '%s' cannot start a job: " PLAIN_SHELL " is used", shell));
    return PLAIN_SHELL;
}

static void add_login_name(GStrvBuilder *argv, const char *shell)
{
    g_autofree char *base = g_path_get_basename(shell);
    g_autofree char *name = g_strdup_printf("-%s", base);
    g_strv_builder_add(argv, name);
}

/* The shell's command line until the words that it executes. */
static void add_exec(GStrvBuilder *argv, const char *shell)
{
    bool is_csh = find_family(shell) == FAMILY_CSH;
    add_login_name(argv, shell);
    g_strv_builder_add(argv, "-c");
    g_strv_builder_add(argv, is_csh ? "exec $argv:q" : "exec \"$0\" \"$@\"");
}

static bool check_size(char *const *argv, const char *what, GError **error)
{
    gsize words = 0, bytes = 0;
    bool is_long = false;
    for (; *argv; argv++, words++) {
        bytes += strlen(*argv) + 1;
        is_long = is_long || strlen(*argv) > WIRE_WORD_MAX;
    }
    if (is_long || words > ARGUMENTS_MAX || bytes > BYTES_MAX)
        return vt_error_set(error, VT_ERROR_USER,
                            "%s has more than %d words, %d bytes, or %d bytes in a word", what,
                            ARGUMENTS_MAX, BYTES_MAX, WIRE_WORD_MAX);
    return true;
}

static GStrv make_argv(const char *program, const char *interpreter, bool is_direct,
                       char *const *arguments)
{
    g_autoptr(GStrvBuilder) argv = g_strv_builder_new();
    if (is_direct)
        add_login_name(argv, program);
    else
        add_exec(argv, program);
    if (interpreter)
        g_strv_builder_add(argv, interpreter);
    g_strv_builder_add(argv, CTL_SCRIPT_PATH);
    for (; arguments && *arguments; arguments++)
        g_strv_builder_add(argv, *arguments);
    return g_strv_builder_end(argv);
}

bool vt_login_load(VtLogin *login, const VtJob *job, const VtOptionText *shell, char *const *words,
                   const char *origin, GPtrArray *notes, GError **error)
{
    if (shell->text && !check_shell(job, shell, error))
        return false;
    Family family = shell->text ? find_family(shell->text) : FAMILY_NONE;
    const char *program = family != FAMILY_NONE ? shell->text : find_login_shell(job, notes);
    const char *interpreter = family != FAMILY_SH ? shell->text : NULL;
    g_auto(GStrv) argv = make_argv(program, interpreter, family == FAMILY_SH, words);
    g_autofree char *what = g_strconcat(origin ? origin : "", ": -F", NULL);
    if (!check_size(argv, what, error))
        return false;
    *login = (VtLogin){g_strdup(program), g_steal_pointer(&argv)};
    return true;
}

bool vt_login_load_shell(VtLogin *login, const VtJob *job, const VtOptionText *shell,
                         const char *command, char *const *words, GPtrArray *notes, GError **error)
{
    bool is_named = shell && shell->text;
    if (is_named && !check_shell(job, shell, error))
        return false;
    const char *program = is_named ? shell->text : find_login_shell(job, notes);
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    if (command) {
        add_exec(builder, program);
        g_strv_builder_add(builder, command);
    } else {
        add_login_name(builder, program);
    }
    for (; command && words && *words; words++)
        g_strv_builder_add(builder, *words);
    g_auto(GStrv) argv = g_strv_builder_end(builder);
    if (!check_size(argv, "the command", error))
        return false;
    *login = (VtLogin){g_strdup(program), g_steal_pointer(&argv)};
    return true;
}

void vt_login_clear(VtLogin *login)
{
    g_free(login->program);
    g_strfreev(login->argv);
    *login = (VtLogin){0};
}
