/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz-hook.c - any bytes as a job's words, resources and gres: an order has lines of
 * known keys alone, each once.
 */
#include <glib.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hook/hook.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define WORDS 8 /* of the input, apart by two line feeds */

static const char *const keys[] = {
    "version=",   "id=",    "user=",       "name=",   "queue=",  "request=", "work_dir=",
    "node_file=", "cores=", "memory_mib=", "cput_s=", "ticket=", "cgroup=",  "core_memory_mib=",
    "leader=",    "node=",  "nodes=",      "np="};

static void check_line(const char *line, guint *seen)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (g_str_has_prefix(line, keys[i])) {
            if (*seen & 1u << i)
                abort();
            *seen |= 1u << i;
            return;
        }
    abort();
}

static void check_order(const char *order)
{
    guint seen = 0;
    g_auto(GStrv) lines = g_strsplit(order, "\n", -1);
    guint n = g_strv_length(lines);
    if (n == 0 || lines[n - 1][0])
        abort();
    for (guint i = 0; i + 1 < n; i++)
        check_line(lines[i], &seen);
}

/* One core, as one node file says that is there for the whole run. */
static void set_counts(void)
{
    static char path[64];
    if (path[0])
        return;
    int fd = memfd_create("nodes", 0);
    if (fd < 0 || write(fd, "n1\n", 3) != 3)
        abort();
    g_snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    g_setenv("PBS_NODEFILE", path, TRUE);
    g_setenv("PBS_NP", "1", TRUE);
    g_setenv("PBS_RESOURCE_NODES", "1", TRUE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Hook hook;
    static char order[65536];
    g_autofree char *text = g_strndup((const char *)data, size);
    g_auto(GStrv) words = g_strsplit(text, "\n\n", WORDS);
    if (g_strv_length(words) < WORDS)
        return 0;
    char *argv[] = {(char *)"prologue", words[0], words[1],   (char *)"users",      words[2],
                    words[3],           words[4], (char *)"", (char *)"/no/script", NULL};
    set_counts();
    g_setenv("PBS_RESOURCE_GRES", words[5], TRUE);
    g_setenv("PBS_O_WORKDIR", words[6], TRUE);
    hook = (Hook){.argv = argv, .argc = 9, .name = words[7][0] ? "prologue" : "epilogue"};
    hook_find_request(&hook);
    if (strlen(hook.request) >= sizeof hook.request ||
        (hook.request[0] && !g_str_has_prefix(hook.request, "vtorque:")))
        abort();
    if (!hook_format_order(&hook, order, sizeof order))
        check_order(order);
    g_setenv("PBS_RESOURCE_NODES", "2", TRUE);
    if (!hook_format_registration(&hook, order, sizeof order))
        check_order(order);
    g_setenv("PBS_RESOURCE_NODES", "1", TRUE);
    return 0;
}
