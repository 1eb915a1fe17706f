/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-environment.c - a job's environment: what is in it, and which of two values wins.
 */
#include "job/environment.h"

#include <string.h>

#include "base/error.h"

static char *own[] = {(char *)"HOME=/elsewhere",
                      (char *)"PATH=/own/bin",
                      (char *)"LANG=de_DE.UTF-8",
                      (char *)"LC_TIME=C",
                      (char *)"TZ=Asia/Tokyo",
                      (char *)"SECRET=1",
                      (char *)"HOSTNAME=login",
                      (char *)"PBS_JOBID=old",
                      (char *)"X=from -V",
                      (char *)"=strange",
                      (char *)"alsostrange",
                      (char *)"EMPTY=",
                      NULL};

static VtJob job = {
    .id = (char *)"7.n1",
    .name = (char *)"hello",
    .host = (char *)"n1",
    .owner = {.user = (char *)"ann",
              .uid = 1000,
              .home = (char *)"/home/ann",
              .shell = (char *)"/bin/bash"},
    .vcpus = 3,
    .vms = 2,
    .walltime_s = 60,
    .submit_dir = (char *)"/scratch/run",
};

static GStrv make(bool all, char *const *variables, GPtrArray *notes, GError **error)
{
    VtEnvironmentSource source = {&job, own, "/scratch/run", all, variables, false};
    return vt_environment_new(&source, notes, error);
}

static const char *get(GStrv environment, const char *name)
{
    return g_environ_getenv(environment, name);
}

static void test_plain(void)
{
    static const struct {
        const char *name, *value;
    } rows[] = {
        {"HOME", "/home/ann"},
        {"USER", "ann"},
        {"LOGNAME", "ann"},
        {"SHELL", "/bin/bash"},
        {"PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"},
        {"LANG", "de_DE.UTF-8"},
        {"LC_TIME", "C"},
        {"TZ", "Asia/Tokyo"},
        {"SECRET", NULL},
        {"HOSTNAME", NULL},
        {"PBS_JOBID", "7.n1"},
        {"PBS_JOBNAME", "hello"},
        {"PBS_ENVIRONMENT", "PBS_BATCH"},
        {"ENVIRONMENT", "BATCH"},
        {"PBS_QUEUE", "local"},
        {"PBS_NODEFILE", "/run/vtorque/nodefile"},
        {"PBS_NP", "6"},
        {"PBS_NUM_PPN", "3"},
        {"PBS_NUM_NODES", "2"},
        {"PBS_VMS_PN", "2"},
        {"PBS_NODENUM", "0"},
        {"PBS_VNODENUM", "0"},
        {"PBS_TASKNUM", "1"},
        {"PBS_WALLTIME", "60"},
        {"PBS_O_WORKDIR", "/scratch/run"},
        {"PBS_O_HOME", "/elsewhere"},
        {"PBS_O_PATH", "/own/bin"},
        {"PBS_O_LANG", "de_DE.UTF-8"},
        {"PBS_O_HOST", "n1"},
        {"PBS_O_QUEUE", "local"},
    };
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) environment = make(false, NULL, notes, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_test_message("%s", rows[i].name);
        g_assert_cmpstr(get(environment, rows[i].name), ==, rows[i].value);
    }
    for (char **entry = environment; entry[1]; entry++)
        g_assert_cmpstr(entry[0], <, entry[1]);
    g_assert_cmpuint(notes->len, ==, 0);
}

static void test_variables(void)
{
    char *variables[] = {
        (char *)"X=script",       (char *)"X=line",  (char *)"SECRET", (char *)"NONE",
        (char *)"PBS_JOBID=mine", (char *)"HOME=/x", (char *)"A=b=c",  NULL};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) environment = make(true, variables, notes, NULL);
    g_assert_cmpstr(get(environment, "X"), ==, "line");
    g_assert_cmpstr(get(environment, "SECRET"), ==, "1");
    g_assert_cmpstr(get(environment, "EMPTY"), ==, "");
    g_assert_cmpstr(get(environment, "PBS_JOBID"), ==, "7.n1");
    g_assert_cmpstr(get(environment, "HOME"), ==, "/x");
    g_assert_cmpstr(get(environment, "PATH"), ==, "/own/bin");
    g_assert_cmpstr(get(environment, "A"), ==, "b=c");
    g_assert_null(get(environment, "HOSTNAME"));
    g_assert_null(get(environment, "NONE"));
    g_assert_cmpuint(notes->len, ==, 1);
    g_assert_cmpstr(notes->pdata[0], ==, "-v NONE: there is no such variable here");
}

static void test_all(void)
{
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_auto(GStrv) environment = make(true, NULL, notes, NULL);
    g_assert_cmpstr(get(environment, "X"), ==, "from -V");
    g_assert_cmpstr(get(environment, "HOME"), ==, "/home/ann");
}

/* -V leaves a TMPDIR out that the guest has not. */
static void test_temporary(void)
{
    static const struct {
        const char *value;
        bool kept;
    } rows[] = {
        {"/tmp/mine", false},      {"/tmp", true},           {"/var/tmp/x/y", false},
        {"/run/user/1000", false}, {"/dev/shm/x", false},    {"/tmp/work/t", true},
        {"/tmp/work", true},       {"/tmp/workshop", false}, {"/tmp/mount/t", true},
        {"/home/ann/tmp", true},   {"/scratch/tmp", true},   {"relative", true},
    };
    static char *mounts[] = {(char *)"/data", (char *)"/tmp/mount", NULL};
    VtJob with_shares = job;
    with_shares.submit_dir = (char *)"/tmp/work";
    with_shares.mounts = mounts;
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *entry = g_strconcat("TMPDIR=", rows[i].value, NULL);
        char *submitted[] = {entry, (char *)"TMP=/tmp/mine", NULL};
        char *named[] = {(char *)"TMPDIR", NULL};
        g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
        VtEnvironmentSource source = {&with_shares, submitted, "/tmp/work", true, NULL};
        g_auto(GStrv) all = vt_environment_new(&source, notes, NULL);
        source.variables = named;
        g_auto(GStrv) asked = vt_environment_new(&source, notes, NULL);
        g_test_message("%s", rows[i].value);
        g_assert_cmpstr(get(all, "TMPDIR"), ==, rows[i].kept ? rows[i].value : NULL);
        g_assert_cmpstr(get(all, "TMP"), ==, "/tmp/mine");
        g_assert_cmpstr(get(asked, "TMPDIR"), ==, rows[i].value);
    }
}

static void check_refused(char *variable)
{
    char *variables[] = {variable, NULL};
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_assert_null(make(false, variables, notes, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    g_assert_null(strchr(error->message, '\n'));
}

static void test_wrong(void)
{
    g_autofree char *fill = g_strnfill(65536, 'x');
    g_autofree char *large = g_strconcat("A=", fill, NULL);
    check_refused((char *)"1X=2");
    check_refused((char *)"A B=2");
    check_refused((char *)"=2");
    check_refused((char *)"A\nB=2");
    check_refused(large);
}

static void test_too_much(void)
{
    g_autofree char *fill = g_strnfill(60000, 'x');
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    g_autoptr(GStrvBuilder) builder = g_strv_builder_new();
    for (int i = 0; i < 20; i++) {
        g_autofree char *variable = g_strdup_printf("A%d=%s", i, fill);
        g_strv_builder_add(builder, variable);
    }
    g_auto(GStrv) variables = g_strv_builder_end(builder);
    g_assert_null(make(false, variables, notes, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/environment/plain", test_plain);
    g_test_add_func("/environment/variables", test_variables);
    g_test_add_func("/environment/all", test_all);
    g_test_add_func("/environment/temporary", test_temporary);
    g_test_add_func("/environment/wrong", test_wrong);
    g_test_add_func("/environment/too-much", test_too_much);
    return g_test_run();
}
