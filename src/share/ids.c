/* SPDX-License-Identifier: Apache-2.0 */
/* share/ids.c - the groups that a file server's user namespace knows. */
#include "share/ids.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    gid_t first;
    guint count;
} Range;

static int compare_gids(const void *a, const void *b)
{
    gid_t left = *(const gid_t *)a, right = *(const gid_t *)b;
    return (left > right) - (left < right);
}

/* All of the owner's groups, each once, as ranges. (transfer full) of Range */
static GArray *find_ranges(const VtOwner *owner)
{
    GArray *ranges = g_array_new(FALSE, FALSE, sizeof(Range));
    g_autofree gid_t *gids = g_new(gid_t, owner->n_groups + 1);
    for (gsize i = 0; i < owner->n_groups; i++)
        gids[i] = owner->groups[i];
    gids[owner->n_groups] = owner->gid;
    qsort(gids, owner->n_groups + 1, sizeof *gids, compare_gids);
    for (gsize i = 0; i <= owner->n_groups; i++) {
        Range *last = ranges->len > 0 ? &g_array_index(ranges, Range, ranges->len - 1) : NULL;
        const Range next = {gids[i], 1};
        if (!last || gids[i] > last->first + last->count)
            g_array_append_val(ranges, next);
        else if (gids[i] == last->first + last->count)
            last->count++;
    }
    return ranges;
}

static bool add(GString *map, guint *lines, const Range *range)
{
    g_autofree char *line = g_strdup_printf("%u %u %u\n", range->first, range->first, range->count);
    if (*lines == VT_GID_MAP_LINES || map->len + strlen(line) > VT_GID_MAP_BYTES)
        return false;
    g_string_append(map, line);
    (*lines)++;
    return true;
}

char *vt_gid_map(const VtOwner *owner, guint *left_out)
{
    GString *map = g_string_new(NULL);
    g_autoptr(GArray) ranges = find_ranges(owner);
    guint lines = 0;
    *left_out = 0;
    for (int own = 1; own >= 0; own--)
        for (guint i = 0; i < ranges->len; i++) {
            const Range *range = &g_array_index(ranges, Range, i);
            bool is_own = owner->gid - range->first < range->count;
            if (is_own == own && !add(map, &lines, range))
                *left_out += range->count;
        }
    return g_string_free(map, FALSE);
}
