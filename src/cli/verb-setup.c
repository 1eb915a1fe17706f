/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-setup.c - vmgr setup: makes this machine a node of vTorque's, looks at it, and back. */
#include <unistd.h>

#include "base/error.h"
#include "base/program.h"
#include "cli/vmgr.h"
#include "conf/settings.h"
#include "node/check.h"
#include "node/setup.h"

static gboolean is_node, is_dry;
static char *prefix, *torque_home;

static const GOptionEntry options[] = {
    {"node", 0, 0, G_OPTION_ARG_NONE, &is_node, "this machine is a compute node", NULL},
    {"prefix", 0, 0, G_OPTION_ARG_FILENAME, &prefix,
     "where vTorque is installed; without it where vmgr is", "DIR"},
    {"torque-home", 0, 0, G_OPTION_ARG_FILENAME, &torque_home,
     "Torque's home directory; without it TORQUE_HOME of the settings", "DIR"},
    {"dry-run", 0, 0, G_OPTION_ARG_NONE, &is_dry, "say what would be done, and do nothing", NULL},
    G_OPTION_ENTRY_NULL,
};

static void print_line(const char *what, const char *word, const char *text)
{
    g_print("%-20s %-8s %s\n", what, word, text);
}

/* Settings that cannot be read do not matter where they decide nothing: ours can be taken out. */
static char *find_home(GError **error)
{
    if (torque_home)
        return g_strdup(torque_home);
    g_autofree char *file = vt_settings_find_file(false);
    g_autoptr(VtSettings) settings = vt_settings_load(file, error);
    return settings ? g_strdup(vt_settings_get_text(settings, VT_SETTING_TORQUE_HOME)) : NULL;
}

static bool open_hooks(bool is_install, VtHooks *hooks, GError **error)
{
    g_autofree char *home = NULL, *program = NULL;
    if (!is_dry && geteuid() != 0)
        return vt_error_set(error, VT_ERROR_USER, "setup must be run by root, or with --dry-run");
    if (is_install && !(program = vt_program_find_below(prefix, VT_HOOK_PROGRAM, error)))
        return false;
    home = find_home(error);
    return home && vt_hooks_open(home, program, !is_dry, hooks, error);
}

/* A line for each step when it is done. */
static bool do_steps(const VtHooks *hooks, const GArray *steps, GError **error)
{
    guint n_changes = 0;
    for (guint i = 0; i < steps->len; i++) {
        const VtSetupStep *step = &g_array_index(steps, VtSetupStep, i);
        g_autofree char *text = vt_setup_text(step);
        if (!is_dry && !vt_setup_do(hooks, step, error))
            return false;
        print_line(step->hook->name, vt_setup_word(step), text);
        n_changes += vt_setup_changes(step);
    }
    if (n_changes == 0)
        g_print("nothing to do in %s\n", hooks->path);
    else if (is_dry)
        g_print("nothing was done: this was a dry run\n");
    return true;
}

static bool install(GError **error)
{
    g_auto(VtHooks) hooks = VT_HOOKS_NONE;
    if (!open_hooks(true, &hooks, error))
        return false;
    g_autoptr(GArray) steps = vt_setup_plan_install(&hooks, error);
    return steps && do_steps(&hooks, steps, error);
}

static bool uninstall(GError **error)
{
    g_auto(VtHooks) hooks = VT_HOOKS_NONE;
    if (!open_hooks(false, &hooks, error))
        return false;
    g_autoptr(GArray) steps = vt_setup_plan_uninstall(&hooks);
    return do_steps(&hooks, steps, error);
}

/* False without an error where not all is well: the lines have said it. */
static bool check(GError **error)
{
    g_autofree char *file = vt_settings_find_file(false);
    const VtCheckOptions wanted = {
        .settings_file = file, .torque_home = torque_home, .prefix = prefix};
    g_autoptr(GPtrArray) findings = vt_check_node(&wanted);
    bool is_well = true;
    for (guint i = 0; i < findings->len; i++) {
        const VtFinding *finding = findings->pdata[i];
        print_line(finding->what, vt_check_word(finding->state), finding->text);
        is_well = is_well && finding->state == VT_CHECK_OK;
    }
    return is_well;
}

static const struct {
    const char *word;
    bool (*act)(GError **error);
} acts[] = {{"install", install}, {"check", check}, {"uninstall", uninstall}};

static bool check_path(const char *option, const char *path, GError **error)
{
    return !path || g_path_is_absolute(path) ||
           vt_error_set_value(error, VT_ERROR_USER, "command line", option, path,
                              "must be an absolute path");
}

bool vt_verb_setup(int argc, char **argv, int *status, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, options, VT_VERB_SETUP_USAGE, 1, 1, error) ||
        !check_path("--torque-home", torque_home, error) || !check_path("--prefix", prefix, error))
        return false;
    for (gsize i = 0; i < G_N_ELEMENTS(acts); i++)
        if (g_str_equal(argv[1], acts[i].word))
            return is_node
                       ? acts[i].act(error)
                       : vt_error_set(error, VT_ERROR_USER,
                                      "setup %s: say --node: nothing else can be set up", argv[1]);
    return vt_error_set(error, VT_ERROR_USER, "usage: vmgr setup " VT_VERB_SETUP_USAGE);
}
