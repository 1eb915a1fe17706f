/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conf/settings.c - the values of all parameters: built-in ones, then those of a file.
 *
 * Trusts: the site's file, once it is seen to be root's and nobody else's to write.
 */
#include "conf/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/size.h"
#include "conf/syntax.h"
#include "conf/table.h"

typedef struct {
    char *text; /* NULL: not set */
    guint64 number;
    GStrv list;
    char *origin; /* NULL: built in */
} Value;

struct VtSettings {
    Value *values; /* one for each row of the table */
    GPtrArray *warnings;
};

static char *const no_list[] = {NULL};

void vt_settings_free(VtSettings *settings)
{
    if (!settings)
        return;
    for (guint i = 0; i < vt_setting_table_size; i++) {
        g_free(settings->values[i].text);
        g_strfreev(settings->values[i].list);
        g_free(settings->values[i].origin);
    }
    g_free(settings->values);
    g_ptr_array_unref(settings->warnings);
    g_free(settings);
}

/* `path` without needless slashes, or NULL if it is relative or has . or .. in it. (transfer full)
 */
static char *clean_path(const char *path)
{
    if (path[0] != '/' || strlen(path) >= PATH_MAX)
        return NULL;
    g_autoptr(GString) clean = g_string_new(NULL);
    g_auto(GStrv) parts = g_strsplit(path, "/", -1);
    for (char **part = parts; *part; part++) {
        if (strcmp(*part, ".") == 0 || strcmp(*part, "..") == 0)
            return NULL;
        if (**part)
            g_string_append_printf(clean, "/%s", *part);
    }
    return g_strdup(clean->len > 0 ? clean->str : "/");
}

static bool read_number(const VtSettingInfo *info, const char *text, guint64 *number)
{
    if (info->type != VT_VALUE_SIZE)
        return vt_number_parse(text, number);
    guint64 bytes;
    if (!vt_size_parse(text, VT_MIB, &bytes))
        return false;
    *number = vt_size_to_mib(bytes);
    return true;
}

/* The original's word for every host, which is no expression. Where nothing else is set, a plain
 * job's vsub does not pay for an expression's compilation. */
static bool is_every_host(const char *text)
{
    return strcmp(text, "*") == 0;
}

/* The expression that a list of hosts stands for. */
static GRegex *make_regex(const char *text)
{
    g_autofree char *pattern = g_strdup_printf("^(?:%s)$", text);
    return g_regex_new(pattern, G_REGEX_RAW, G_REGEX_MATCH_DEFAULT, NULL);
}

static bool is_regex(const char *text)
{
    g_autoptr(GRegex) regex = is_every_host(text) ? NULL : make_regex(text);
    return regex || is_every_host(text);
}

/* Checks a word against `info` and puts it into `value`, of which nothing else is set yet. */
static bool read_word(const VtSettingInfo *info, const char *word, Value *value)
{
    guint number;
    switch (info->type) {
    case VT_VALUE_COUNT:
    case VT_VALUE_SIZE:
    case VT_VALUE_SECONDS:
        if (!read_number(info, word, &value->number) || value->number < info->min ||
            value->number > info->max)
            return false;
        break;
    case VT_VALUE_PATH:
    case VT_VALUE_PATHS:
        value->text = clean_path(word);
        return value->text != NULL;
    case VT_VALUE_HOST:
    case VT_VALUE_HOSTS:
        if (!vt_network_name_is_valid(word))
            return false;
        break;
    case VT_VALUE_ADDRESSES:
        if (!vt_address_is_valid(word))
            return false;
        break;
    case VT_VALUE_MAC:
        if (!vt_mac_prefix_parse(word, &value->number))
            return false;
        break;
    case VT_VALUE_REGEX:
        if (!is_regex(word))
            return false;
        break;
    case VT_VALUE_IMAGE:
        if (!vt_image_name_is_valid(word))
            return false;
        break;
    case VT_VALUE_CHOICE:
        if (!vt_choice_find(info->choice, word, &number))
            return false;
        value->number = number;
        value->text = g_strdup(vt_choice_word(info->choice, number));
        return true;
    default:
        break;
    }
    value->text = g_strdup(word);
    return true;
}

/* ( 'a' 'b' ), as it would stand in a file. */
static char *show_list(const GPtrArray *words)
{
    g_autoptr(GString) shown = g_string_new("(");
    for (guint i = 0; i < words->len; i++) {
        g_autofree char *quoted = g_shell_quote(words->pdata[i]);
        g_string_append_printf(shown, " %s", quoted);
    }
    g_string_append(shown, " )");
    return g_string_free(g_steal_pointer(&shown), FALSE);
}

/* Reads a list; on failure `bad` is the word that is wrong, or the first of too many. */
static bool read_list(const VtSettingInfo *info, const GPtrArray *words, Value *value,
                      const char **bad)
{
    g_autoptr(GStrvBuilder) list = g_strv_builder_new();
    for (guint i = 0; i < words->len; i++) {
        Value one = {0};
        if ((info->max > 0 && i >= info->max) || !read_word(info, words->pdata[i], &one)) {
            *bad = words->pdata[i];
            return false;
        }
        g_strv_builder_add(list, one.text);
        g_free(one.text);
    }
    value->list = g_strv_builder_end(list);
    value->text = show_list(words);
    return true;
}

static bool is_list_type(VtValueType type)
{
    return type == VT_VALUE_PATHS || type == VT_VALUE_HOSTS || type == VT_VALUE_ADDRESSES;
}

static bool read_value(const VtSettingInfo *info, const VtAssignment *assignment, Value *value,
                       const char *origin, GError **error)
{
    const GPtrArray *words = assignment->words;
    if (is_list_type(info->type)) {
        const char *bad;
        return read_list(info, words, value, &bad) ||
               vt_error_set_value(error, VT_ERROR_CONFIG, origin, info->key, bad, info->range);
    }
    if (assignment->is_list)
        return vt_error_set(error, VT_ERROR_CONFIG, "%s: %s is one value, not a list", origin,
                            info->key);
    return read_word(info, words->pdata[0], value) ||
           vt_error_set_value(error, VT_ERROR_CONFIG, origin, info->key, words->pdata[0],
                              info->range);
}

/* KEY= and KEY='' leave the built-in value. */
static bool is_empty(const VtAssignment *assignment)
{
    return assignment->words->len == 0 ||
           (!assignment->is_list && *(const char *)assignment->words->pdata[0] == '\0');
}

static bool find_row(const char *key, guint *row)
{
    for (guint i = 0; i < vt_setting_table_size; i++)
        if (strcmp(key, vt_setting_table[i].key) == 0) {
            *row = i;
            return true;
        }
    return false;
}

/* A parameter that nothing reads yet: shown as the file has it, its value not judged. */
static void take_later(VtSettings *settings, const VtSettingInfo *info,
                       const VtAssignment *assignment, Value *value, const char *origin)
{
    value->text =
        assignment->is_list ? show_list(assignment->words) : g_strdup(assignment->words->pdata[0]);
    g_ptr_array_add(settings->warnings,
                    g_strdup_printf("%s: %s has no effect yet", origin, info->key));
}

static bool assign(VtSettings *settings, const VtAssignment *assignment, const char *file,
                   GError **error)
{
    g_autofree char *origin = g_strdup_printf("%s:%u", file, assignment->line);
    guint row;
    if (!find_row(assignment->key, &row))
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "%s: unknown parameter '%.64s' (vmgr show config lists all)", origin,
                            assignment->key);
    const VtSettingInfo *info = &vt_setting_table[row];
    Value *value = &settings->values[row];
    if (value->origin)
        return vt_error_set(error, VT_ERROR_CONFIG, "%s: %s is already set at %s", origin,
                            info->key, value->origin);
    if (is_empty(assignment))
        return true;

    Value fresh = {0};
    if (info->state == VT_STATE_REFUSED)
        return vt_error_set(error, VT_ERROR_CONFIG, "%s: %s cannot be set: %s", origin, info->key,
                            info->range);
    if (info->state == VT_STATE_LATER)
        take_later(settings, info, assignment, &fresh, origin);
    else if (!read_value(info, assignment, &fresh, origin, error))
        return false;
    g_free(value->text);
    fresh.origin = g_steal_pointer(&origin);
    *value = fresh;
    return true;
}

static VtSettings *settings_new(void)
{
    VtSettings *settings = g_new0(VtSettings, 1);
    settings->values = g_new0(Value, vt_setting_table_size);
    settings->warnings = g_ptr_array_new_with_free_func(g_free);
    for (guint i = 0; i < vt_setting_table_size; i++) {
        const VtSettingInfo *info = &vt_setting_table[i];
        if (info->fallback)
            g_assert(read_word(info, info->fallback, &settings->values[i]));
    }
    return settings;
}

VtSettings *vt_settings_parse(const char *text, gsize size, const char *file, GError **error)
{
    g_autoptr(VtSettings) settings = settings_new();
    VtSyntax syntax = vt_syntax(text, size, file);
    for (;;) {
        GError *problem = NULL;
        g_autoptr(VtAssignment) assignment = vt_syntax_next(&syntax, &problem);
        if (problem) {
            g_propagate_error(error, problem);
            return NULL;
        }
        if (!assignment)
            return g_steal_pointer(&settings);
        if (!assign(settings, assignment, file, error))
            return NULL;
    }
}

/* Whoever may write the site's file decides for every user and for root. */
static bool check_site_file(int fd, const char *file, GError **error)
{
    struct stat st;
    if (strcmp(file, VT_SETTINGS_SITE_FILE) != 0 || fstat(fd, &st) < 0)
        return true;
    if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "'%s' must be root's and writable by nobody else", file);
    return true;
}

VtSettings *vt_settings_load(const char *file, GError **error)
{
    vt_autofd fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return settings_new();
    if (fd < 0) {
        vt_error_set_errno(error, VT_ERROR_CONFIG, errno, "cannot open '%s'", file);
        return NULL;
    }
    if (!check_site_file(fd, file, error))
        return NULL;
    g_autofree char *what = g_strdup_printf("'%s'", file);
    GError *problem = NULL;
    g_autoptr(GBytes) text = vt_fd_read_all(fd, VT_SETTINGS_FILE_MAX, what, &problem);
    if (!text) {
        problem->code = VT_ERROR_CONFIG;
        g_propagate_error(error, problem);
        return NULL;
    }
    gsize size;
    const char *data = g_bytes_get_data(text, &size);
    return vt_settings_parse(data, size, file, error);
}

/* BUILD/etc/vtorque.conf for a program BUILD/bin/NAME. (transfer full) or NULL */
static char *find_build_file(void)
{
    g_autofree char *program = g_file_read_link("/proc/self/exe", NULL);
    if (!program)
        return NULL;
    g_autofree char *bin = g_path_get_dirname(program);
    g_autofree char *build = g_path_get_dirname(bin);
    g_autofree char *name = g_path_get_basename(bin);
    g_autofree char *file = g_build_filename(build, "etc", "vtorque.conf", NULL);
    if (strcmp(name, "bin") != 0 || !g_file_test(file, G_FILE_TEST_EXISTS))
        return NULL;
    return g_steal_pointer(&file);
}

char *vt_settings_find_file(bool local)
{
    char *file = (local || geteuid() != 0) ? find_build_file() : NULL;
    return file ? file : g_strdup(VT_SETTINGS_SITE_FILE);
}

bool vt_settings_has_site(void)
{
    return g_file_test(VT_SETTINGS_SITE_FILE, G_FILE_TEST_EXISTS);
}

guint64 vt_settings_get_number(const VtSettings *settings, VtSetting setting)
{
    return settings->values[setting].number;
}

const char *vt_settings_get_text(const VtSettings *settings, VtSetting setting)
{
    return settings->values[setting].text;
}

char *const *vt_settings_get_list(const VtSettings *settings, VtSetting setting)
{
    GStrv list = settings->values[setting].list;
    return list ? list : no_list;
}

const char *vt_settings_get_origin(const VtSettings *settings, VtSetting setting)
{
    const char *origin = settings->values[setting].origin;
    return origin ? origin : "default";
}

const char *vt_setting_key(VtSetting setting)
{
    return vt_setting_table[setting].key;
}

bool vt_settings_is_set(const VtSettings *settings, VtSetting setting)
{
    return settings->values[setting].origin != NULL;
}

bool vt_settings_has_host(const VtSettings *settings, VtSetting setting, const char *host)
{
    const char *text = settings->values[setting].text;
    if (!text || is_every_host(text))
        return text != NULL;
    g_autoptr(GRegex) regex = make_regex(text);
    return g_regex_match(regex, host, G_REGEX_MATCH_DEFAULT, NULL);
}

bool vt_settings_check_host(const VtSettings *settings, const char *host, GError **error)
{
    const VtSetting list = VT_SETTING_DISABLED_HOSTS_LIST;
    return !vt_settings_has_host(settings, list, host) ||
           vt_error_set(error, VT_ERROR_HOST, "virtual machines are disabled on '%s' (%s: %s)",
                        host, vt_settings_get_origin(settings, list), vt_setting_key(list));
}

VtTransport vt_settings_get_transport(const VtSettings *settings)
{
    VtTransport wanted = (VtTransport)vt_settings_get_number(settings, VT_SETTING_NET_TRANSPORT);
    return wanted == VT_TRANSPORT_AUTO ? VT_TRANSPORT_WIREGUARD : wanted;
}

const GPtrArray *vt_settings_get_warnings(const VtSettings *settings)
{
    return settings->warnings;
}

bool vt_settings_get_row(const VtSettings *settings, guint index, VtSettingRow *row)
{
    if (index >= vt_setting_table_size)
        return false;
    const VtSettingInfo *info = &vt_setting_table[index];
    const Value *value = &settings->values[index];
    *row = (VtSettingRow){
        .key = info->key,
        .value = value->text ? value->text : "",
        .unit = info->unit ? info->unit : "",
        .range = info->range,
        .origin = value->origin ? value->origin : "default",
        .help = info->help,
        .has_effect = info->state == VT_STATE_ACTIVE,
    };
    return true;
}
