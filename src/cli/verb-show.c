/* SPDX-License-Identifier: Apache-2.0 */
/* cli/verb-show.c - vmgr show config, images, image NAME. */
#include <jansson.h>
#include <stdlib.h>

#include "base/error.h"
#include "cli/images.h"
#include "cli/vmgr.h"
#include "conf/settings.h"

static gboolean as_json;

static const GOptionEntry options[] = {
    {"json", 0, 0, G_OPTION_ARG_NONE, &as_json, "objects, as JSON", NULL},
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

static bool show_config(const VtSettings *settings, const char *name, GError **error)
{
    as_json ? print_json(settings) : print_text(settings);
    return true;
}

static bool show_images(const VtSettings *settings, const char *name, GError **error)
{
    vt_images_print(settings, as_json);
    return true;
}

static bool show_image(const VtSettings *settings, const char *name, GError **error)
{
    return vt_images_print_one(settings, name, as_json, error);
}

static const struct {
    const char *word;
    int n_words; /* its own and what follows it */
    bool (*show)(const VtSettings *settings, const char *name, GError **error);
} topics[] = {
    {"config", 1, show_config},
    {"images", 1, show_images},
    {"image", 2, show_image},
};

bool vt_verb_show(int argc, char **argv, int *status, GError **error)
{
    if (!vt_verb_parse(&argc, &argv, options, VT_VERB_SHOW_USAGE, 1, 2, error))
        return false;
    for (gsize i = 0; i < G_N_ELEMENTS(topics); i++) {
        if (!g_str_equal(argv[1], topics[i].word) || argc != topics[i].n_words + 1)
            continue;
        g_autofree char *file = vt_settings_find_file(false);
        g_autoptr(VtSettings) settings = vt_settings_load(file, error);
        return settings && topics[i].show(settings, argv[2], error);
    }
    return vt_error_set(error, VT_ERROR_USER, "usage: vmgr show " VT_VERB_SHOW_USAGE);
}
