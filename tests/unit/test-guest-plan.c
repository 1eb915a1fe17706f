/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-guest-plan.c - what the golden texts do not show: frames' sizes, long paths,
 * purity. */
#include "job/guest_files.h"
#include "job/guest_plan.h"

#include <string.h>

#define MANY_GROUPS 20000u

static VtJob *job_new(VtImage image)
{
    VtJob *job = g_new0(VtJob, 1);

    job->id = g_strdup("1.local");
    job->name = g_strdup("test");
    job->host = g_strdup("node7");
    job->owner.user = g_strdup("ann");
    job->owner.group = g_strdup("ann");
    job->owner.uid = job->owner.gid = 1000;
    job->owner.group_names = g_new0(char *, 1);
    job->owner.home = g_strdup("/home/ann");
    job->owner.shell = g_strdup("/bin/bash");
    job->image = image;
    job->vms = 1;
    job->ram_mib = 1024;
    job->vcpus = 1;
    job->kernel_dir = g_strdup("/kernel");
    job->submit_dir = g_strdup("/data");
    job->mounts = g_new0(char *, 1);
    job->tmp_mib = 512;
    return job;
}

static void add_groups(VtOwner *owner)
{
    g_strfreev(owner->group_names);
    owner->n_groups = MANY_GROUPS;
    owner->groups = g_new0(gid_t, MANY_GROUPS);
    owner->group_names = g_new0(char *, MANY_GROUPS + 1);
    for (guint i = 0; i < MANY_GROUPS; i++) {
        owner->groups[i] = 100000 + i;
        owner->group_names[i] = g_strdup_printf("project%u", i);
    }
}

/* The bytes of the file `path`, put together of its steps. (transfer full) */
static GByteArray *find_file(GPtrArray *steps, const char *path)
{
    GByteArray *bytes = NULL;

    for (guint i = 0; i < steps->len; i++) {
        const VtGuestStep *step = g_ptr_array_index(steps, i);
        gsize size;
        const guint8 *data = g_bytes_get_data(step->payload, &size);
        g_assert_cmpuint(size, <=, WIRE_PAYLOAD_MAX);
        if (step->kind == WIRE_STEP_APPEND && bytes)
            g_byte_array_append(bytes, data, (guint)size);
        else if (bytes)
            return bytes;
        else if (step->kind == WIRE_STEP_FILE && size == 14 + strlen(path) &&
                 memcmp(data + 14, path, strlen(path)) == 0)
            bytes = g_byte_array_new();
    }
    return bytes;
}

static void test_large_file(void)
{
    g_autoptr(VtJob) job = job_new(VT_IMAGE_TINY);
    add_groups(&job->owner);
    g_autoptr(VtPlan) plan = vt_plan_new(job, (guint[]){0}, "vmlinux", NULL);
    g_autoptr(GPtrArray) steps = vt_guest_plan_new(job, plan, 0, NULL, 0, NULL, 0);
    g_autoptr(GByteArray) found = find_file(steps, "/etc/group");

    g_assert_nonnull(found);
    g_assert_cmpuint(found->len, >, 4 * WIRE_PAYLOAD_MAX);
    g_assert_cmpstr(vt_guest_files[1].name, ==, "group");
    g_autofree char *expected = vt_guest_files[1].make(job, plan, 0);
    g_assert_cmpmem(found->data, found->len, expected, strlen(expected));
}

static void test_longest_path(void)
{
    for (VtImage image = VT_IMAGE_HOST; image <= VT_IMAGE_TINY; image++) {
        g_autoptr(VtJob) job = job_new(image);
        g_free(job->submit_dir);
        job->submit_dir = g_strnfill(WIRE_STRING_MAX, 'x');
        memcpy(job->submit_dir, "/tmp/", 5);
        g_autoptr(VtPlan) plan = vt_plan_new(job, (guint[]){0}, "vmlinux", NULL);
        g_autoptr(GPtrArray) steps = vt_guest_plan_new(job, plan, 0, NULL, 0, NULL, 0);
        g_autofree char *text = vt_guest_plan_explain(steps);
        g_assert_nonnull(strstr(text, job->submit_dir));
        g_assert_null(strstr(text, "malformed"));
    }
}

static void test_same_bytes(void)
{
    g_autoptr(VtJob) job = job_new(VT_IMAGE_HOST);
    g_autoptr(VtPlan) plan = vt_plan_new(job, (guint[]){255}, "vmlinuz", NULL);
    g_autoptr(GPtrArray) one = vt_guest_plan_new(job, plan, 0, NULL, 7, "entropy", 7);
    g_autoptr(GPtrArray) two = vt_guest_plan_new(job, plan, 0, NULL, 7, "entropy", 7);

    g_assert_cmpuint(one->len, ==, two->len);
    for (guint i = 0; i < one->len; i++) {
        const VtGuestStep *left = g_ptr_array_index(one, i), *right = g_ptr_array_index(two, i);
        g_assert_cmpint(left->kind, ==, right->kind);
        g_assert_true(g_bytes_equal(left->payload, right->payload));
    }
}

static void test_malformed_is_said(void)
{
    VtGuestStep step = {.kind = WIRE_STEP_MOUNT, .payload = g_bytes_new("short", 5)};
    g_autoptr(GPtrArray) steps = g_ptr_array_new();

    g_ptr_array_add(steps, &step);
    g_autofree char *text = vt_guest_plan_explain(steps);
    g_assert_nonnull(strstr(text, "(malformed)\n"));
    g_bytes_unref(step.payload);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/guest-plan/large-file", test_large_file);
    g_test_add_func("/guest-plan/longest-path", test_longest_path);
    g_test_add_func("/guest-plan/same-bytes", test_same_bytes);
    g_test_add_func("/guest-plan/malformed-is-said", test_malformed_is_said);
    return g_test_run();
}
