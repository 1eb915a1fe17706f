/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-place.c - what qstat -x says of where jobs run, and a qstat that says nothing. */
#include <glib/gstdio.h>
#include <string.h>

#include "base/error.h"
#include "batch/place.h"

/* With the bytes that an older Torque leaves in a value; a user's text is no element. */
static const char text[] =
    "<?xml version=\"1.0\"?>\n"
    "<Data><Job><Job_Id>17.head.example.org</Job_Id><Job_Name>hello</"
    "Job_Name><Job_Owner>ann@login1.example.org</Job_Owner>"
    "<resources_used><cput>00:00:01</cput></resources_used><job_state>R</"
    "job_state><exec_host>node1/0-3+node2/0-3</exec_host>"
    "<Resource_List><gres>gpus:1+vtorque:dj0xCg</gres><nodes>1</nodes></Resource_List>"
    "<Variable_List>A=\ne\x01\xff&lt;exec_host&gt;node9/0\x0e/exec_host>&,\n\nJob Id: 9.head\n    "
    "job_state = Q\n</Variable_List></Job>"
    "<Job><Job_Id>18[3].head</Job_Id><Job_Owner>bob@login1</Job_Owner><job_state>Q</job_state></"
    "Job>"
    "<Job><Job_Id>../19</Job_Id><job_state>R</job_state><exec_host>node3/0</exec_host></Job>"
    "<Job><job_state>R</job_state></Job>"
    "<Job><Job_Id>20.head</Job_Id><Job_Owner>a "
    "b@x</Job_Owner><job_state>E</job_state><exec_host>-x/0</exec_host>"
    "<Resource_List><other>vtorque:dj0xCg</other></Resource_List></Job></Data>\n";

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
    static const char *const none[] = {
        "", "<", "<>", "<Job", "<Job><job_state>R", "<Data></Data>", "Job Id: 1.head\n"};
    for (gsize i = 0; i < G_N_ELEMENTS(none); i++) {
        g_autoptr(GPtrArray) found = vt_places_parse_torque(none[i]);
        g_assert_cmpuint(found->len, ==, 0);
    }
}

/* What the command does, and what is told; NULL: its output is taken. */
static void test_load(void)
{
    static const struct {
        const char *script, *id, *said;
        VtError code;
    } rows[] = {
        {"[ \"$*\" = '-x 17' ] && echo '<Data><Job><Job_Id>17.head</Job_Id>'", "17", NULL, 0},
        {"[ \"$*\" = '-x -t' ] && echo '<Data><Job><Job_Id>17.head</Job_Id>'", NULL, NULL, 0},
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
