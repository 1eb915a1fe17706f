/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/run.c - the engine: birth's inheritance, the stages, then the loop.
 *
 * Runs as: process 1 of the job's namespaces, started by the keeper alone. Reads from: see stages.c
 * and life.c.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/birth.h"
#include "ctl/folder.h"
#include "engine/engine.h"

/* The loop is not there yet: the one frame goes out by itself. */
static int fail_early(VtEngine *engine, const GError *error)
{
    ctl_run_send_text(engine->run, CTL_OUTCOME, CTL_REASON_HOST, error->message);
    return VT_EXIT_FAILED;
}

static bool load_job(VtEngine *engine, GError **error)
{
    vt_autofd fd = ENGINE_FD_JOB;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return vt_error_set(error, VT_ERROR_INTERNAL, "the job document is no file");
    g_autoptr(GBytes) document = vt_fd_read_all(fd, VT_JOB_DOCUMENT_MAX, "the job document", error);
    gsize size;
    const char *text = document ? g_bytes_get_data(document, &size) : NULL;
    VtJob *job = text ? vt_job_load(text, size, error) : NULL;
    if (job)
        vt_engine_take_job(engine, job);
    return job && (job->nodes == 1 || engine->nodes_part ||
                   vt_error_set(error, VT_ERROR_INTERNAL, "this engine is for jobs of one node"));
}

/* "SLOT[,SLOT...]", as many as the job has virtual machines. */
static bool read_slots(VtEngine *engine, const char *text, GError **error)
{
    g_auto(GStrv) words = g_strsplit(text, ",", -1);
    guint n = g_strv_length(words);
    bool ok = n == engine->job->vms;
    for (guint i = 0; ok && i < n; i++) {
        guint64 slot = 0;
        ok = g_ascii_string_to_unsigned(words[i], 10, 0, CTL_SLOTS_MAX - 1, &slot, NULL);
        engine->slots[i] = (guint)slot;
    }
    return ok || vt_error_set(error, VT_ERROR_INTERNAL, "the keeper's slots are '%s'", text);
}

static void inherit(VtEngine *engine)
{
    struct stat st;
    engine->run = ENGINE_FD_RUN;
    engine->keeper = ENGINE_FD_KEEPER;
    engine->folder = ENGINE_FD_FOLDER;
    if (fstat(ENGINE_FD_GATE, &st) == 0 && S_ISSOCK(st.st_mode))
        engine->gate = ENGINE_FD_GATE;
}

static void go(VtEngine *engine)
{
    g_autoptr(GError) error = NULL;
    if (vt_stages_start(engine, &error))
        vt_life_go(engine);
    else
        vt_life_fail(engine, CTL_REASON_HOST, error->message);
}

int vt_engine_main(int argc, char **argv, const VtNodesPart *part)
{
    VtEngine engine;
    g_autoptr(GError) error = NULL;
    sigset_t all;
    if (argc != 2 || !g_ascii_isdigit(argv[1][0])) {
        fprintf(stderr, "vtorque-engine: started by vtorque-keeper only\n");
        return VT_EXIT_USAGE;
    }
    /* Process 1 ignores what it does not handle; blocked is the same, and SIGCHLD is read. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    vt_engine_init(&engine);
    engine.go = go;
    engine.nodes_part = part;
    inherit(&engine);
    if (!load_job(&engine, &error) || !read_slots(&engine, argv[1], &error) ||
        !vt_stages_prepare(&engine, &error))
        return fail_early(&engine, error);
    if (!vt_team_is_follower(&engine))
        vt_client_start(&engine);
    vt_control_start(&engine);
    vt_life_start(&engine);
    vt_team_start(&engine);
    /* A connection that was at its end already has ended the job: a loop that does not run yet cannot be
     * left. */
    if (engine.state != VT_STATE_DONE || engine.client)
        g_main_loop_run(engine.loop);
    vt_team_end(&engine);
    vt_control_end(&engine);
    return engine.exit_status;
}
