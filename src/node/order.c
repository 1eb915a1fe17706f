/* SPDX-License-Identifier: Apache-2.0 */
/* node/order.c - the lines of START: one table of keys. */
#include "node/order.h"

#include <string.h>

#include "base/error.h"
#include "job/job.h"

#define CORES_MAX 65536u
#define SECONDS_MAX ((guint64)G_MAXINT32) /* what a job document takes */
#define MEMORY_MIB_MAX (G_GUINT64_CONSTANT(1) << 40)

typedef enum {
    KEY_VERSION,
    KEY_ID,
    KEY_NAME,  /* a word */
    KEY_ENTRY, /* a name for passwd */
    KEY_TEXT,
    KEY_PATH,
    KEY_CORES,
    KEY_SECONDS,
    KEY_MIB,
} KeyKind;

typedef struct {
    const char *key;
    KeyKind kind;
    bool is_needed;
    gsize offset;
} Key;

#define ORDER(member) G_STRUCT_OFFSET(VtOrder, member)
static const Key keys[] = {
    {"version", KEY_VERSION, true, 0},
    {"id", KEY_ID, true, ORDER(id)},
    {"name", KEY_NAME, true, ORDER(name)},
    {"user", KEY_ENTRY, true, ORDER(user)},
    {"queue", KEY_NAME, true, ORDER(queue)},
    {"request", KEY_TEXT, true, ORDER(request)},
    {"work_dir", KEY_PATH, true, ORDER(work_dir)},
    {"node_file", KEY_PATH, false, ORDER(node_file)},
    {"ticket", KEY_NAME, false, ORDER(ticket)},
    {"cgroup", KEY_PATH, false, ORDER(cgroup)},
    {"cores", KEY_CORES, true, ORDER(cores)},
    {"memory_mib", KEY_MIB, false, ORDER(memory_mib)},
    {"cput_s", KEY_SECONDS, false, ORDER(cput_s)},
};
#undef ORDER

static bool text_is_valid(KeyKind kind, const char *text)
{
    switch (kind) {
    case KEY_ID:
        return vt_job_id_is_valid(text);
    case KEY_NAME:
        return vt_job_name_is_valid(text);
    case KEY_ENTRY:
        return vt_job_entry_is_valid(text);
    case KEY_PATH:
        return vt_job_path_is_valid(text);
    default:
        return text[0] != '\0';
    }
}

static bool take_value(VtOrder *order, const Key *key, const char *value)
{
    void *at = G_STRUCT_MEMBER_P(order, key->offset);
    guint64 number;
    switch (key->kind) {
    case KEY_VERSION:
        return strcmp(value, "1") == 0;
    case KEY_CORES:
    case KEY_SECONDS:
        if (!g_ascii_string_to_unsigned(
                value, 10, 1, key->kind == KEY_CORES ? CORES_MAX : SECONDS_MAX, &number, NULL))
            return false;
        *(guint *)at = (guint)number;
        return true;
    case KEY_MIB:
        return g_ascii_string_to_unsigned(value, 10, 1, MEMORY_MIB_MAX, at, NULL);
    default:
        if (!text_is_valid(key->kind, value))
            return false;
        *(char **)at = g_strdup(value);
        return true;
    }
}

/* `seen` has a bit for each key that a line before has said. */
static bool take_line(VtOrder *order, char *line, guint *seen, GError **error)
{
    char *value = strchr(line, '=');
    if (!value || vt_job_has_control(line))
        return vt_error_set(error, VT_ERROR_BATCH, "a line of the order is no key=value");
    *value++ = '\0';
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].key, line) != 0)
            continue;
        if (*seen & 1u << i)
            return vt_error_set(error, VT_ERROR_BATCH, "the order says '%s' twice", line);
        *seen |= 1u << i;
        return take_value(order, &keys[i], value) ||
               vt_error_set(error, VT_ERROR_BATCH, "the order's '%s' is not allowed: '%s'", line,
                            value);
    }
    return vt_error_set(error, VT_ERROR_BATCH, "the order has a key that is unknown");
}

static bool parse(VtOrder *order, const char *text, gsize size, GError **error)
{
    guint seen = 0;
    if (size == 0 || text[size - 1] != '\n' || memchr(text, '\0', size))
        return vt_error_set(error, VT_ERROR_BATCH, "the order is no text of whole lines");
    g_autofree char *copy = g_strndup(text, size - 1);
    g_auto(GStrv) lines = g_strsplit(copy, "\n", -1);
    for (char **line = lines; *line; line++)
        if (!take_line(order, *line, &seen, error))
            return false;
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].is_needed && !(seen & 1u << i))
            return vt_error_set(error, VT_ERROR_BATCH, "the order lacks '%s'", keys[i].key);
    return true;
}

bool vt_order_parse(VtOrder *order, const char *text, gsize size, GError **error)
{
    *order = (VtOrder){0};
    if (parse(order, text, size, error))
        return true;
    vt_order_clear(order);
    return false;
}

void vt_order_clear(VtOrder *order)
{
    g_free(order->id);
    g_free(order->name);
    g_free(order->user);
    g_free(order->queue);
    g_free(order->request);
    g_free(order->work_dir);
    g_free(order->node_file);
    g_free(order->ticket);
    g_free(order->cgroup);
    *order = (VtOrder){0};
}
