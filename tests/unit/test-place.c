/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-place.c - what qstat -f says of where jobs run, and a qstat that says nothing. */
#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"
#include "batch/place.h"

/* Long values go on behind a tab, wherever they are cut. */
static const char text[] = "Job Id: 17.head.example.org\n"
                           "    Job_Name = hello\n"
                           "    Job_Owner = ann@login1.example.org\n"
                           "    job_state = R\n"
                           "    exec_host = node1/0-3+node2/0-\n"
                           "\t3\n"
                           "    Resource_List.gres = gpus:1+vtor\n"
                           "\tque:dj0xCg\n"
                           "    Variable_List = A=exec_host = node9/0,\n"
                           "\tjob_state = Q\n"
                           "\n"
                           "Job Id: 18[3].head\n"
                           "    Job_Owner = bob@login1\n"
                           "    job_state = Q\n"
                           "\n"
                           "Job Id: ../19\n"
                           "    job_state = R\n"
                           "    exec_host = node3/0\n"
                           "Job Id: 20.head\n"
                           "    Job_Owner = a b@x\n"
                           "    job_state = E\n"
                           "    exec_host = -x/0\n"
                           "    Resource_List.other = vtorque:dj0xCg\n";

static void test_parse(void)
{
    static const struct {
        const char *id, *owner, *state, *node;
        bool is_running, has_request;
    } rows[] = {
        {"17.head.example.org", "ann", "R", "node1", true, true},
        {"18[3].head", "bob", "Q", NULL, false, false},
        {"20.head", NULL, "E", NULL, true, true},
    };
    g_autoptr(GPtrArray) places = vt_places_parse_torque(text);
    g_assert_cmpuint(places->len, ==, G_N_ELEMENTS(rows));
    for (guint i = 0; i < places->len; i++) {
        const VtPlace *place = places->pdata[i];
        g_assert_cmpstr(place->id, ==, rows[i].id);
        g_assert_cmpstr(place->owner, ==, rows[i].owner);
        g_assert_cmpstr(place->state, ==, rows[i].state);
        g_assert_cmpstr(place->node, ==, rows[i].node);
        g_assert_true(place->is_running == rows[i].is_running);
        g_assert_true(place->has_request == rows[i].has_request);
    }
    g_autoptr(GPtrArray) none = vt_places_parse_torque("");
    g_assert_cmpuint(none->len, ==, 0);
}

/* What the command does, and what is told; NULL: its output is taken. */
static void test_load(void)
{
    static const struct {
        const char *script, *id, *said;
        VtError code;
    } rows[] = {
        {"[ \"$*\" = '-f 17' ] && printf 'Job Id: 17.head\\n'", "17", NULL, 0},
        {"[ \"$*\" = '-f -t' ] && printf 'Job Id: 17.head\\n'", NULL, NULL, 0},
        {"exit 153", "17", "failed (status 153)", VT_ERROR_BATCH},
        {"kill -9 $$", "17", "failed (status -1)", VT_ERROR_BATCH},
        {"exit 0", "-x", "'-x' is no job's id", VT_ERROR_USER},
        {"exit 0", "1;id", "is no job's id", VT_ERROR_USER},
        {"exit 0", "", "is no job's id", VT_ERROR_USER},
    };
    g_autofree char *folder = g_dir_make_tmp("vtt-place-XXXXXX", NULL);
    g_autofree char *qsub = g_build_filename(folder, "qsub", NULL);
    g_autofree char *qstat = g_build_filename(folder, "qstat", NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GError) error = NULL;
        g_autofree char *script = g_strdup_printf("#!/bin/sh\n%s\n", rows[i].script);
        g_assert_true(
            g_file_set_contents_full(qstat, script, -1, G_FILE_SET_CONTENTS_NONE, 0755, NULL));
        g_autoptr(GPtrArray) places = vt_places_load(VT_BATCH_TORQUE, qsub, rows[i].id, &error);
        g_assert_true(!places == !!rows[i].said);
        if (!places)
            g_assert_error(error, VT_ERROR, (int)rows[i].code);
        g_assert_true(places || strstr(error->message, rows[i].said));
        g_assert_true(!places || places->len == 1);
    }
    g_autoptr(GError) error = NULL;
    g_assert_null(vt_places_load(VT_BATCH_SLURM, qsub, NULL, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_CONFIG);
    g_unlink(qstat);
    g_rmdir(folder);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/place/parse", test_parse);
    g_test_add_func("/place/load", test_load);
    return g_test_run();
}
