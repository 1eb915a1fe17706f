/* SPDX-License-Identifier: Apache-2.0 */
/* batch/nodes.c - what -l nodes= says of cores. */
#include "batch/nodes.h"

#include <string.h>

#include "base/size.h"

#define PPN "ppn="
#define NUMBER_MAX 1000000u

/* The specifications before any #WORD. (transfer full) */
static GStrv split_specs(const char *text)
{
    g_autofree char *specs = g_strndup(text, strcspn(text, "#"));
    return g_strsplit(specs, "+", -1);
}

static bool read_number(const char *text, guint64 *number)
{
    return vt_number_parse(text, number) && *number >= 1 && *number <= NUMBER_MAX;
}

static bool read_spec(const char *spec, guint64 *count, guint64 *ppn)
{
    g_auto(GStrv) parts = g_strsplit(spec, ":", -1);
    *count = *ppn = 1;
    if (!parts[0])
        return false;
    if (g_ascii_isdigit(parts[0][0]) && strspn(parts[0], G_CSET_DIGITS) == strlen(parts[0]) &&
        !read_number(parts[0], count))
        return false;
    for (char **part = parts; *part; part++)
        if (g_str_has_prefix(*part, PPN) && !read_number(*part + strlen(PPN), ppn))
            return false;
    return true;
}

bool vt_nodes_parse(const char *text, VtNodes *nodes)
{
    g_auto(GStrv) specs = split_specs(text);
    *nodes = (VtNodes){0, NUMBER_MAX};
    for (char **spec = specs; *spec; spec++) {
        guint64 count, ppn;
        if (!read_spec(*spec, &count, &ppn))
            return false;
        nodes->count += count;
        nodes->ppn_min = MIN(nodes->ppn_min, (guint)ppn);
    }
    return nodes->count > 0;
}

static void append_spec(GString *text, const char *spec, guint cores)
{
    g_auto(GStrv) parts = g_strsplit(spec, ":", -1);
    bool has_ppn = false;
    for (char **part = parts; *part; part++) {
        guint64 ppn = cores;
        bool is_ppn = g_str_has_prefix(*part, PPN);
        g_string_append(text, part == parts ? "" : ":");
        if (is_ppn && read_number(*part + strlen(PPN), &ppn) && ppn < cores)
            g_string_append_printf(text, PPN "%u", cores);
        else
            g_string_append(text, *part);
        has_ppn = has_ppn || is_ppn;
    }
    if (!has_ppn && cores > 1)
        g_string_append_printf(text, ":" PPN "%u", cores);
}

char *vt_nodes_raise(const char *text, guint cores)
{
    g_auto(GStrv) specs = split_specs(text);
    g_autoptr(GString) raised = g_string_new(NULL);
    for (char **spec = specs; *spec; spec++) {
        g_string_append(raised, spec == specs ? "" : "+");
        append_spec(raised, *spec, cores);
    }
    g_string_append(raised, text + strcspn(text, "#"));
    return g_string_free(g_steal_pointer(&raised), FALSE);
}
