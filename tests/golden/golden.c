/* SPDX-License-Identifier: Apache-2.0 */
/* tests/golden/golden.c - one test for each job document: load, plan, make, compare. */
#include "golden.h"

#include <stdlib.h>
#include <string.h>

#define EXTENSION ".json"

typedef struct {
    char *folder, *kind, *name;
    GoldenMake make;
} Case;

static void case_free(gpointer data)
{
    Case *golden = data;
    g_free(golden->folder);
    g_free(golden->kind);
    g_free(golden->name);
    g_free(golden);
}

/* What the pool says of the image of `job`: records/NAME.json. (transfer full) */
static VtRecord *load_record(const Case *golden, const VtJob *job)
{
    g_autofree char *path =
        g_strdup_printf("%s/records/%s" EXTENSION, golden->folder, job->image_name);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    gsize size;

    g_file_get_contents(path, &text, &size, &error);
    g_assert_no_error(error);
    VtRecord *record = vt_record_parse(text, size, job->image_name, &error);
    g_assert_no_error(error);
    return record;
}

static char *make_text(const Case *golden)
{
    g_autofree char *path = g_strdup_printf("%s/jobs/%s" EXTENSION, golden->folder, golden->name);
    g_autofree char *document = NULL;
    g_autoptr(VtJob) job = NULL;
    g_autoptr(VtRecord) record = NULL;
    g_autoptr(VtPlan) plan = NULL;
    g_autoptr(GError) error = NULL;
    gsize size;

    g_file_get_contents(path, &document, &size, &error);
    g_assert_no_error(error);
    job = vt_job_load(document, size, &error);
    g_assert_no_error(error);
    record = job->image_name ? load_record(golden, job) : NULL;
    guint slots[VT_VMS_MAX];
    for (guint i = 0; i < VT_VMS_MAX; i++)
        slots[i] = GOLDEN_SLOT + i;
    plan = vt_plan_new(job, slots, "vmlinux", record);
    return golden->make(job, plan);
}

static void compare(gconstpointer data)
{
    const Case *golden = data;
    g_autofree char *path =
        g_strdup_printf("%s/%s/%s.txt", golden->folder, golden->kind, golden->name);
    g_autofree char *made = make_text(golden);
    g_autofree char *expected = NULL;
    g_autoptr(GError) error = NULL;

    if (g_getenv("VTORQUE_GOLDEN_UPDATE")) {
        g_file_set_contents(path, made, -1, &error);
        g_assert_no_error(error);
        return;
    }
    g_file_get_contents(path, &expected, NULL, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(made, ==, expected);
}

static guint add_cases(const char *folder, const char *kind, GoldenMake make)
{
    g_autofree char *jobs = g_build_filename(folder, "jobs", NULL);
    g_autoptr(GDir) dir = g_dir_open(jobs, 0, NULL);
    const char *file;
    guint count = 0;

    while (dir && (file = g_dir_read_name(dir))) {
        if (!g_str_has_suffix(file, EXTENSION))
            continue;
        Case *golden = g_new0(Case, 1);
        golden->folder = g_strdup(folder);
        golden->kind = g_strdup(kind);
        golden->name = g_strndup(file, strlen(file) - strlen(EXTENSION));
        golden->make = make;
        g_autofree char *test = g_strdup_printf("/%s/%s", kind, golden->name);
        g_test_add_data_func_full(test, golden, compare, case_free);
        count++;
    }
    return count;
}

int golden_main(int argc, char **argv, const char *kind, GoldenMake make)
{
    g_test_init(&argc, &argv, NULL);
    if (argc != 2 || add_cases(argv[1], kind, make) == 0) {
        g_printerr("usage: golden-%s DIR-WITH-JOBS\n", kind);
        return 2;
    }
    return g_test_run();
}
