/* SPDX-License-Identifier: Apache-2.0 */
/* batch/place.c - one command for each batch system, and what it prints. */
#include "batch/place.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "job/job.h"
#include "job/word.h"

#define ANSWER_US (20 * G_USEC_PER_SEC)
#define OUTPUT_MAX (256u * 1024 * 1024) /* bytes: 10,000 jobs with all their variables */
#define CHUNK 65536
#define WORDS_MAX 4

static const struct {
    VtBatch batch;
    const char *program;
    const char *one[WORDS_MAX],
        *all[WORDS_MAX]; /* before an id; for all jobs, each of an array's */
    GPtrArray *(*parse)(const char *text);
} systems[] = {
    {VT_BATCH_TORQUE, "qstat", {"-x"}, {"-x", "-t"}, vt_places_parse_torque},
};

void vt_place_free(VtPlace *place)
{
    if (!place)
        return;
    g_free(place->id);
    g_free(place->owner);
    g_free(place->state);
    g_free(place->node);
    g_free(place);
}

static void set_text(char **field, const char *value, bool is_valid)
{
    g_free(*field);
    *field = is_valid ? g_strdup(value) : NULL;
}

static void take_attribute(VtPlace *place, const char *name, const char *value)
{
    g_autofree char *part = g_strndup(value, strcspn(value, "/@"));
    if (strcmp(name, "job_state") == 0) {
        set_text(&place->state, value, vt_job_name_is_valid(value));
        place->is_running = strcmp(value, "R") == 0 || strcmp(value, "E") == 0;
    } else if (strcmp(name, "exec_host") == 0) {
        set_text(&place->node, part, vt_job_host_is_valid(part));
    } else if (strcmp(name, "Job_Owner") == 0) {
        set_text(&place->owner, part, vt_job_entry_is_valid(part));
    } else if (strcmp(name, "gres") == 0 || strcmp(name, "other") == 0) {
        place->has_request = place->has_request || strstr(value, VT_WORD_PREFIX);
    }
}

GPtrArray *vt_places_parse_torque(const char *text)
{
    static const char name[] = G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "_-.";
    GPtrArray *places = g_ptr_array_new_with_free_func((GDestroyNotify)vt_place_free);
    VtPlace *place = NULL;
    /* No text of a user's has a "<" here: Torque writes &lt;, or, if it is old, the byte 14. But it may have bytes
     * that XML has not, so this is no parser's. */
    while ((text = strchr(text, '<'))) {
        gsize length = strspn(++text, name);
        if (length == 0 || text[length] != '>')
            continue;
        g_autofree char *element = g_strndup(text, length);
        text += length + 1;
        g_autofree char *value = g_strndup(text, strcspn(text, "<"));
        bool is_id = strcmp(element, "Job_Id") == 0;
        if (is_id || strcmp(element, "Job") == 0)
            place = NULL;
        if (is_id && vt_job_id_is_valid(value)) {
            place = g_new0(VtPlace, 1);
            place->id = g_steal_pointer(&value);
            g_ptr_array_add(places, place);
        } else if (place) {
            take_attribute(place, element, value);
        }
    }
    return places;
}

static char *find_program(const char *submit, const char *name, GError **error)
{
    g_autofree char *folder = g_path_get_dirname(submit);
    g_autofree char *beside = g_build_filename(folder, name, NULL);
    char *path = access(beside, X_OK) == 0 ? g_strdup(beside) : g_find_program_in_path(name);
    if (!path)
        vt_error_set(error, VT_ERROR_BATCH, "there is no '%s' beside '%s'", name, submit);
    return path;
}

/* All that it says before the deadline; NULL: it says too much, or goes on. (transfer full) */
static char *read_output(int fd, gint64 deadline_us)
{
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *chunk = g_malloc(CHUNK);
    for (;;) {
        gint64 left_us = deadline_us - g_get_monotonic_time();
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        int n = left_us > 0 ? poll(&ready, 1, (int)(left_us / 1000) + 1) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t got = n > 0 ? read(fd, chunk, CHUNK) : -1;
        if (got < 0 || text->len + (gsize)got > OUTPUT_MAX)
            return NULL;
        if (got == 0)
            return g_string_free(g_steal_pointer(&text), FALSE);
        g_string_append_len(text, chunk, got);
    }
}

/* Its server and its options come by the user's environment, as for the user's own call. */
static char *run(char **argv, GError **error)
{
    g_autoptr(GError) problem = NULL;
    GPid pid;
    int fd = -1, status = 0;
    gint64 deadline_us = g_get_monotonic_time() + ANSWER_US;
    if (!g_spawn_async_with_pipes(NULL, argv, NULL,
                                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL, NULL,
                                  NULL, &pid, NULL, &fd, NULL, &problem)) {
        vt_error_set(error, VT_ERROR_BATCH, "cannot run '%s': %s", argv[0], problem->message);
        return NULL;
    }
    vt_autofd output = fd;
    g_autofree char *text = read_output(output, deadline_us);
    if (!text)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (text && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return g_steal_pointer(&text);
    if (text)
        vt_error_set(error, VT_ERROR_BATCH, "'%s' failed (status %d)", argv[0],
                     WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    else
        vt_error_set(error, VT_ERROR_BATCH, "'%s' does not come to an end", argv[0]);
    return NULL;
}

GPtrArray *vt_places_load(VtBatch batch, const char *submit, const char *id, GError **error)
{
    if (id && (!vt_job_id_is_valid(id) || *id == '-')) {
        vt_error_set(error, VT_ERROR_USER, "'%s' is no job's id", id);
        return NULL;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(systems); i++) {
        if (systems[i].batch != batch)
            continue;
        g_autoptr(GPtrArray) argv = g_ptr_array_new_with_free_func(g_free);
        char *program = find_program(submit, systems[i].program, error);
        if (!program)
            return NULL;
        g_ptr_array_add(argv, program);
        for (const char *const *word = id ? systems[i].one : systems[i].all; *word; word++)
            g_ptr_array_add(argv, g_strdup(*word));
        if (id)
            g_ptr_array_add(argv, g_strdup(id));
        g_ptr_array_add(argv, NULL);
        g_autofree char *text = run((char **)argv->pdata, error);
        return text ? systems[i].parse(text) : NULL;
    }
    vt_error_set(error, VT_ERROR_CONFIG, "this batch system is not asked yet");
    return NULL;
}
