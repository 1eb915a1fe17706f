/* SPDX-License-Identifier: Apache-2.0 */
/* engine/oom.c - what the kernel does where memory is short. */
#include "engine/oom.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "ctl/folder.h"

#define EVENTS_MAX 1024

guint64 vt_oom_parse(const char *text)
{
    static const char word[] = "oom_kill ";
    for (const char *at = text; (at = strstr(at, word)) != NULL; at++)
        if (at == text || at[-1] == '\n')
            return g_ascii_strtoull(at + strlen(word), NULL, 10);
    return 0;
}

static guint64 count_kills(const VtOom *oom)
{
    char text[EVENTS_MAX];
    ssize_t n = oom->events < 0 ? 0 : pread(oom->events, text, sizeof text - 1, 0);
    text[MAX(n, 0)] = '\0';
    return vt_oom_parse(text);
}

static void open_events(VtOom *oom, int folder)
{
    char text[CTL_FILE_MAX];
    if (ctl_file_read(folder, "limits", text) < 0)
        return;
    g_auto(GStrv) lines = g_strsplit(text, "\n", 0);
    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, "memory_mib="))
            oom->memory_mib = (guint)strtoul(strchr(*line, '=') + 1, NULL, 10);
        else if (g_str_has_prefix(*line, "events=/"))
            oom->events = open(strchr(*line, '=') + 1, O_RDONLY | O_CLOEXEC);
    }
    oom->killed = count_kills(oom);
}

void vt_oom_open(VtOom *oom, int folder)
{
    char text[16];
    *oom = VT_OOM_NONE;
    open_events(oom, folder);
    oom->score = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    ssize_t n = oom->score < 0 ? 0 : read(oom->score, text, sizeof text - 1);
    text[MAX(n, 0)] = '\0';
    oom->own_score = atoi(text);
}

static void set_score(const VtOom *oom, int score)
{
    char text[16];
    g_snprintf(text, sizeof text, "%d", score);
    if (oom->score >= 0)
        (void)!pwrite(oom->score, text, strlen(text), 0);
}

void vt_oom_raise(VtOom *oom, int score)
{
    set_score(oom, MAX(score, oom->own_score));
}

void vt_oom_restore(VtOom *oom)
{
    set_score(oom, oom->own_score);
}

void vt_oom_settle(VtOom *oom)
{
    vt_fd_clear(&oom->score);
}

bool vt_oom_has_killed(const VtOom *oom)
{
    return count_kills(oom) > oom->killed;
}
