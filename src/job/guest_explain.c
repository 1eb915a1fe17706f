/* SPDX-License-Identifier: Apache-2.0 */
/* job/guest_explain.c - a guest plan in words, read back from what goes over the wire. */
#include "job/guest_plan.h"

#include <string.h>
#include <sys/mount.h>

static const struct {
    guint64 flag;
    const char *name;
} mount_flags[] = {
    {MS_RDONLY, "ro"},     {MS_NOSUID, "nosuid"},   {MS_NODEV, "nodev"},
    {MS_NOEXEC, "noexec"}, {MS_REMOUNT, "remount"}, {MS_NOATIME, "noatime"},
};

/* A string of the step, printable. (transfer full) */
static char *get_text(WireReader *reader)
{
    char text[WIRE_STRING_MAX + 1];

    wire_get_string(reader, text, sizeof text);
    return g_strescape(text, NULL);
}

/* "(ro,nosuid)"; flags without a name as a number. */
static void append_flags(GString *out, guint64 flags)
{
    g_string_append(out, " (");
    for (gsize i = 0; i < G_N_ELEMENTS(mount_flags); i++) {
        if (!(flags & mount_flags[i].flag))
            continue;
        g_string_append_printf(out, "%s,", mount_flags[i].name);
        flags &= ~mount_flags[i].flag;
    }
    if (flags)
        g_string_append_printf(out, "0x%" G_GINT64_MODIFIER "x,", flags);
    if (out->str[out->len - 1] == ',')
        g_string_truncate(out, out->len - 1);
    g_string_append_c(out, ')');
}

static void explain_entry(GString *out, WireReader *reader)
{
    guint32 uid = wire_get_u32(reader), gid = wire_get_u32(reader), mode = wire_get_u32(reader);
    g_autofree char *path = get_text(reader);

    g_string_append_printf(out, "%s %u:%u %04o", path, uid, gid, mode);
}

static void explain_mount(GString *out, WireReader *reader)
{
    guint64 flags = wire_get_u64(reader);
    g_autofree char *type = get_text(reader);
    g_autofree char *source = get_text(reader);
    g_autofree char *target = get_text(reader);
    g_autofree char *data = get_text(reader);

    g_string_append_printf(out, "%s %s on %s", type, source, target);
    append_flags(out, flags);
    if (data[0])
        g_string_append_printf(out, " %s", data);
}

static void explain_bind(GString *out, WireReader *reader)
{
    guint64 flags = wire_get_u64(reader);
    g_autofree char *source = get_text(reader);
    g_autofree char *target = get_text(reader);

    g_string_append_printf(out, "%s on %s", source, target);
    append_flags(out, flags);
}

static void explain_symlink(GString *out, WireReader *reader)
{
    g_autofree char *path = get_text(reader);
    g_autofree char *target = get_text(reader);

    g_string_append_printf(out, "%s -> %s", path, target);
}

static void explain_text(GString *out, WireReader *reader)
{
    g_autofree char *text = get_text(reader);

    g_string_append(out, text);
}

static void explain_clock(GString *out, WireReader *reader)
{
    guint64 seconds = wire_get_u64(reader);
    guint32 nanoseconds = wire_get_u32(reader);
    g_autoptr(GDateTime) time = g_date_time_new_from_unix_utc((gint64)seconds);
    g_autofree char *text = time ? g_date_time_format(time, "%Y-%m-%dT%H:%M:%S") : NULL;

    g_string_append_printf(out, "%s.%09uZ", text ? text : "?", nanoseconds);
}

static void explain_size(GString *out, WireReader *reader)
{
    g_string_append_printf(out, "%zu bytes", reader->left);
    reader->left = 0;
}

/* Each line of the bytes on one of its own. */
static void explain_content(GString *out, WireReader *reader)
{
    g_autofree char *text = g_strndup((const char *)reader->at, reader->left);
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);

    explain_size(out, reader);
    for (char **line = lines; *line; line++) {
        g_autofree char *shown = g_strescape(*line, NULL);
        if (shown[0] || line[1])
            g_string_append_printf(out, "\n    | %s", shown);
    }
}

static void explain_address(GString *out, WireReader *reader)
{
    guint64 mac = wire_get_u64(reader);
    g_autofree char *address = vt_address_format(wire_get_u32(reader));
    guint32 prefix = wire_get_u32(reader);
    guint32 gateway = wire_get_u32(reader);
    g_autofree char *shown = vt_address_format(gateway);

    g_string_append_printf(out, "%012" G_GINT64_MODIFIER "x %s/%u", mac, address, prefix);
    if (gateway != 0)
        g_string_append_printf(out, " by %s", shown);
}

static const struct {
    const char *name;
    void (*explain)(GString *out, WireReader *reader);
} kinds[] = {
    [WIRE_STEP_MKDIR] = {"mkdir", explain_entry},
    [WIRE_STEP_FILE] = {"file", explain_entry},
    [WIRE_STEP_APPEND] = {"append", explain_content},
    [WIRE_STEP_SYMLINK] = {"symlink", explain_symlink},
    [WIRE_STEP_MOUNT] = {"mount", explain_mount},
    [WIRE_STEP_BIND] = {"bind", explain_bind},
    [WIRE_STEP_ROOT] = {"root", explain_text},
    [WIRE_STEP_HOSTNAME] = {"hostname", explain_text},
    [WIRE_STEP_CLOCK] = {"clock", explain_clock},
    [WIRE_STEP_RANDOM] = {"random", explain_size},
    [WIRE_STEP_LINK_UP] = {"link-up", explain_text},
    [WIRE_STEP_COPY] = {"copy", explain_text},
    [WIRE_STEP_ADDRESS] = {"address", explain_address},
};

/* Of a step FILE: only its owner may read it. */
static bool is_for_one(WireReader reader)
{
    wire_get_u32(&reader);
    wire_get_u32(&reader);
    return (wire_get_u32(&reader) & 077) == 0;
}

char *vt_guest_plan_explain(GPtrArray *steps)
{
    GString *out = g_string_new(NULL);
    bool is_secret = false;

    for (guint i = 0; i < steps->len; i++) {
        const VtGuestStep *step = g_ptr_array_index(steps, i);
        gsize size;
        const void *data = g_bytes_get_data(step->payload, &size);
        WireReader reader = wire_reader(data, size);

        if (step->kind == WIRE_STEP_FILE)
            is_secret = is_for_one(reader);
        g_string_append_printf(out, "%-8s ", kinds[step->kind].name);
        if (step->kind == WIRE_STEP_APPEND && is_secret)
            explain_size(out, &reader);
        else
            kinds[step->kind].explain(out, &reader);
        g_string_append(out, wire_reader_done(&reader) ? "\n" : " (malformed)\n");
    }
    return g_string_free(out, FALSE);
}
