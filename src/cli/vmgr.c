/* SPDX-License-Identifier: Apache-2.0 */
/* cli/vmgr.c - vmgr: a user's and an administrator's view of the jobs that live here, of the
 * settings and of the images. */
#include "cli/vmgr.h"

#include <locale.h>
#include <string.h>

#include "base/error.h"
#include "base/fd.h"

static const struct {
    const char *name;
    VtVerbRun run;
    const char *usage;
    const char *help;
} verbs[] = {
    {"list", vt_verb_list, "[--json]", "the jobs that run here in virtual machines"},
    {"end", vt_verb_end, "[--now] JOB",
     "end a job: TERM, the grace, KILL; --now: its machine goes at once"},
    {"shell", vt_verb_shell, VT_VERB_SHELL_USAGE,
     "a shell of yours, or a command, in a job's guest"},
    {"cp", vt_verb_cp, VT_VERB_CP_USAGE, "copy files and directories into a guest, or out of one"},
    {"console", vt_verb_console, VT_VERB_CONSOLE_USAGE, "a guest's serial console"},
    {"log", vt_verb_log, "JOB", "what became of a job so far"},
    {"show", vt_verb_show, VT_VERB_SHOW_USAGE, "the site's settings; the images for jobs"},
    {"setup", vt_verb_setup, VT_VERB_SETUP_USAGE,
     "makes this machine a node of Torque's, and back"},
};

#define HELP_COLUMN "                                           "

static void print_help(void)
{
    g_print("Usage: vmgr VERB [OPTION...] [ARGUMENT...]\n\n");
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++) {
        g_autofree char *call = g_strdup_printf("%s %s", verbs[i].name, verbs[i].usage);
        g_print("  %-40s %s%s\n", call, strlen(call) > 40 ? "\n" HELP_COLUMN : "", verbs[i].help);
    }
    g_print("\n  --help, --version; 'vmgr VERB --help' says more.\n");
}

bool vt_verb_parse(int *argc, char ***argv, const GOptionEntry *options, const char *usage, int min,
                   int max, GError **error)
{
    g_autofree char *text = g_strdup_printf("%s %s", (*argv)[0], usage);
    g_autoptr(GOptionContext) context = g_option_context_new(usage);
    g_option_context_add_main_entries(context, options, NULL);
    g_autoptr(GError) local = NULL;
    if (!g_option_context_parse(context, argc, argv, &local))
        return vt_error_set(error, VT_ERROR_USER, "%s (usage: vmgr %s)", local->message, text);
    if (*argc < min + 1 || *argc > max + 1)
        return vt_error_set(error, VT_ERROR_USER, "usage: vmgr %s", text);
    return true;
}

static VtVerbRun find_verb(const char *name, GError **error)
{
    g_autoptr(GString) names = g_string_new(NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(verbs); i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return verbs[i].run;
        g_string_append_printf(names, "%s%s", i == 0 ? "" : ", ", verbs[i].name);
    }
    vt_error_set(error, VT_ERROR_USER, "unknown verb '%s' (there are: %s)", name, names->str);
    return NULL;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    if (!vt_fd_fill_standard())
        return VT_EXIT_FAILED;
    setlocale(LC_ALL, "");
    if (argc < 2 || g_str_equal(argv[1], "--help") || g_str_equal(argv[1], "-h")) {
        print_help();
        return argc < 2 ? VT_EXIT_USAGE : 0;
    }
    if (g_str_equal(argv[1], "--version")) {
        g_print("vmgr (vTorque) " VT_VERSION "\n");
        return 0;
    }
    int status = 0;
    VtVerbRun run = find_verb(argv[1], &error);
    if (run && run(argc - 1, argv + 1, &status, &error))
        return status;
    if (!error)
        return VT_VERB_NOT_WELL;
    g_printerr("vmgr: %s\n", error->message);
    return vt_error_exit_status(error);
}
