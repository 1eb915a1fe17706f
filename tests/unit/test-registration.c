/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-registration.c - what prologue.parallel leaves on a node. As root, in a mount
 * namespace of its own; an ordinary user makes one where it may.
 */
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "ctl/registration.h"

#define FOLDER "/run/vtorque/registered"

static char text[CTL_REGISTRATION_MAX];

static void test_kept(void)
{
    g_assert_cmpint(ctl_registration_read("1.head", text), ==, -ENOENT);
    g_assert_cmpint(ctl_registration_write("1.head", "a=1\nb=2\n"), ==, 0);
    g_assert_cmpint(ctl_registration_read("1.head", text), ==, 0);
    g_assert_cmpstr(text, ==, "a=1\nb=2\n");
    g_assert_cmpint(ctl_registration_write("1.head", "c=3\n"), ==, 0);
    g_assert_cmpint(ctl_registration_read("1.head", text), ==, 0);
    g_assert_cmpstr(text, ==, "c=3\n");
    ctl_registration_remove("1.head");
    ctl_registration_remove("1.head");
    g_assert_cmpint(ctl_registration_read("1.head", text), ==, -ENOENT);
}

static void test_names(void)
{
    static const char *const wrong[] = {"", ".", "..", "../x", "a/b", "+x"};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_assert_cmpint(ctl_registration_write(wrong[i], ""), ==, -EINVAL);
        g_assert_cmpint(ctl_registration_read(wrong[i], text), ==, -EINVAL);
    }
    g_assert_cmpint(ctl_registration_write("3[0].head", "x=1\n"), ==, 0);
    ctl_registration_remove("3[0].head");
}

/* A file with another head is void, and goes when it is looked at, or swept. */
static void test_stale(void)
{
    static const char *const heads[] = {
        "",          "x",
        "\n",        "00000000-0000-0000-0000-000000000000 99999999999\n",
        "BOOT 0\n",  "BOOT 99999999999\n",
        "BOOT -1\n", "BOOT x\n",
        "BOOT\n",
    };
    g_autofree char *boot = NULL;
    g_assert_true(g_file_get_contents("/proc/sys/kernel/random/boot_id", &boot, NULL, NULL));
    g_strchomp(boot);
    g_assert_cmpint(ctl_registration_write("1.head", "a=1\n"), ==, 0);
    for (gsize i = 0; i < G_N_ELEMENTS(heads); i++) {
        g_autoptr(GString) head = g_string_new(heads[i]);
        g_string_replace(head, "BOOT", boot, 1);
        g_string_append(head, "a=1\n");
        for (int is_swept = 0; is_swept < 2; is_swept++) {
            g_assert_true(g_file_set_contents(FOLDER "/2.head", head->str, -1, NULL));
            if (is_swept)
                ctl_registration_sweep();
            else
                g_assert_cmpint(ctl_registration_read("2.head", text), ==, -ESTALE);
            g_assert_false(g_file_test(FOLDER "/2.head", G_FILE_TEST_EXISTS));
        }
    }
    g_assert_cmpint(ctl_registration_read("1.head", text), ==, 0);
    ctl_registration_remove("1.head");
}

/* Nobody's link is followed, and no folder that is not root's is used. */
static void test_links(void)
{
    g_assert_cmpint(ctl_registration_write("1.head", "a=1\n"), ==, 0);
    g_assert_no_errno(symlink("/etc/passwd", FOLDER "/2.head"));
    g_assert_cmpint(ctl_registration_read("2.head", text), ==, -ELOOP);
    g_assert_cmpint(ctl_registration_write("2.head", "b=2\n"), ==, 0);
    g_assert_false(g_file_test(FOLDER "/2.head", G_FILE_TEST_IS_SYMLINK));
    g_assert_no_errno(chmod(FOLDER, 0777));
    g_assert_cmpint(ctl_registration_read("2.head", text), <, 0);
    g_assert_no_errno(chmod(FOLDER, 0700));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    bool is_root = geteuid() == 0;
    uid_t uid = geteuid();
    g_assert_no_errno(unshare(CLONE_NEWNS | (is_root ? 0 : CLONE_NEWUSER)));
    if (!is_root) {
        g_autofree char *map = g_strdup_printf("0 %u 1\n", uid);
        g_assert_true(g_file_set_contents_full("/proc/self/uid_map", map, -1,
                                               G_FILE_SET_CONTENTS_NONE, 0600, NULL));
    }
    g_assert_no_errno(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    g_assert_no_errno(mount("vtt", "/run", "tmpfs", 0, "mode=755"));
    g_test_add_func("/registration/kept", test_kept);
    g_test_add_func("/registration/names", test_names);
    g_test_add_func("/registration/stale", test_stale);
    g_test_add_func("/registration/links", test_links);
    return g_test_run();
}
