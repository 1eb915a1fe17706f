/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-show.c - vmgr show config. */
#include <jansson.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/vmgr.h"
#include "conf/settings.h"

static gboolean as_json;

static const GOptionEntry options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &as_json, "an array of objects", NULL},
    G_OPTION_ENTRY_NULL,
};

static void print_text(const VtSettings *settings)
{
    VtSettingRow row;
    for (guint i = 0; vt_settings_get_row(settings, i, &row); i++)
        g_print("%-30s %-24s %-10s %s%s\n", row.key, *row.value ? row.value : "(not set)", row.unit,
                row.origin, row.has_effect ? "" : "  (no effect yet)");
}

static void print_json(const VtSettings *settings)
{
    VtSettingRow row;
    json_t *array = json_array();
    for (guint i = 0; vt_settings_get_row(settings, i, &row); i++)
        json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:b}", "key",
                                               row.key, "value", row.value, "unit", row.unit,
                                               "allowed", row.range, "origin", row.origin, "help",
                                               row.help, "has_effect", row.has_effect));
    char *text = json_dumps(array, JSON_INDENT(2));
    g_print("%s\n", text);
    free(text);
    json_decref(array);
}

bool vt_verb_show(int argc, char **argv, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, options, "config [--json]", 1, error))
        return false;
    if (!g_str_equal(argv[1], "config"))
        return vt_error_set(error, VT_ERROR_USER, "cannot show '%s' (there is: config)", argv[1]);
    g_autofree char *file = vt_settings_find_file(false);
    g_autoptr(VtSettings) settings = vt_settings_load(file, error);
    if (!settings)
        return false;
    as_json ? print_json(settings) : print_text(settings);
    return true;
}
