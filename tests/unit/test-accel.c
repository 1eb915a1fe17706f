/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-accel.c - ACCEL=auto|kvm|tcg over a KVM that works and one that doesn't, and what
 * is remembered of it.
 */
#include "node/accel.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include "base/error.h"

#define COUNTER 0x5000 /* where the payload counts */
#define WORKS "works"
#define WARNING                                                                                    \
    "the job's processor is emulated, which is 20 to 100 times slower than KVM: DEVICE "           \
    "refuses KVM_RUN: Input/output error"

/* Shared with the probe's child. */
typedef struct {
    guint opens; /* how often the device was opened */
    guint runs;  /* how often the work was run */
} Seen;

static Seen *seen;
static bool works;
static int open_err;
static guint8 *ram;
static struct kvm_run run_page;

static int fake_open(const char *path G_GNUC_UNUSED, int flags G_GNUC_UNUSED)
{
    seen->opens++;
    errno = open_err;
    return open_err ? -1 : 1000;
}

static int fake_ioctl(int fd G_GNUC_UNUSED, unsigned long request, void *argument)
{
    if (request == KVM_GET_API_VERSION)
        return KVM_API_VERSION;
    if (request == KVM_SET_USER_MEMORY_REGION)
        ram = (guint8 *)(guintptr)((struct kvm_userspace_memory_region *)argument)->userspace_addr;
    if (request == KVM_GET_VCPU_MMAP_SIZE)
        return sizeof run_page;
    if (request == KVM_SET_MSRS || request == KVM_GET_MSRS)
        return 1;
    if (request == KVM_RUN) {
        seen->runs++;
        run_page.exit_reason = KVM_EXIT_HLT;
        *(volatile guint64 *)(void *)(ram + COUNTER) = works ? VT_PROBE_STEPS : 1;
    }
    return 0;
}

static void *fake_map(int fd G_GNUC_UNUSED, size_t size G_GNUC_UNUSED)
{
    return &run_page;
}

typedef struct {
    char *folder; /* of what is remembered */
    char *memory; /* the file in it */
    char *device;
} World;

static void set_up(World *world, gconstpointer data G_GNUC_UNUSED)
{
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    g_assert_true(seen != MAP_FAILED);
    works = true;
    open_err = 0;
    world->folder = g_dir_make_tmp("vtorque-accel-XXXXXX", NULL);
    world->memory = g_build_filename(world->folder, "kvm", NULL);
    world->device = g_strconcat(world->folder, ".device", NULL);
    g_assert_true(g_file_set_contents(world->device, "", 0, NULL));
}

static void tear_down(World *world, gconstpointer data G_GNUC_UNUSED)
{
    g_unlink(world->memory);
    g_unlink(world->device);
    g_assert_cmpint(g_rmdir(world->folder), ==, 0); /* nothing else was left in it */
    g_free(world->folder);
    g_free(world->memory);
    g_free(world->device);
    munmap(seen, sizeof *seen);
}

/* What ACCEL=`word` comes to: WORKS, "tcg", or the warning or error, with "tcg: " or "error: ". */
static char *choose(const World *world, const char *word, const char *folder)
{
    const VtProbeCalls calls = {world->device, fake_open, fake_ioctl, fake_map};
    guint wanted;
    g_autoptr(GPtrArray) warnings = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    VtAccel accel = VT_ACCEL_AUTO;
    g_assert_true(vt_choice_find(&vt_accel_choice, word, &wanted));
    bool ok =
        vt_accel_choose((VtAccel)wanted, "x.conf:1", &calls, folder, &accel, warnings, &error);
    g_assert_true(ok == !error);
    if (error) {
        g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
        return g_strconcat("error: ", error->message, NULL);
    }
    g_assert_cmpuint(warnings->len, <=, 1);
    g_assert_true(accel == VT_ACCEL_KVM || accel == VT_ACCEL_TCG);
    if (accel == VT_ACCEL_KVM && warnings->len == 0)
        return g_strdup(WORKS);
    return warnings->len ? g_strconcat("tcg: ", warnings->pdata[0], NULL) : g_strdup("tcg");
}

static void check(const World *world, const char *word, const char *folder, const char *expected)
{
    g_autofree char *got = choose(world, word, folder);
    g_autoptr(GString) wanted = g_string_new(expected);
    g_string_replace(wanted, "DEVICE", world->device, 0);
    g_assert_cmpstr(got, ==, wanted->str);
}

static void test_words(World *world, gconstpointer data G_GNUC_UNUSED)
{
    static const struct {
        const char *word;
        bool works;
        int open_err;
        const char *expected;
        guint opens;
    } rows[] = {
        {"auto", true, 0, WORKS, 1},
        {"kvm", true, 0, WORKS, 1},
        {"tcg", true, 0, "tcg", 0},
        {"auto", false, 0, "tcg: " WARNING, 1},
        {"kvm", false, 0,
         "error: x.conf:1: ACCEL 'kvm': DEVICE refuses KVM_RUN: Input/output error", 1},
        {"tcg", false, 0, "tcg", 0},
        {"auto", true, ENOENT,
         "tcg: the job's processor is emulated, which is 20 to 100 times slower than KVM: there is "
         "no DEVICE",
         1},
        {"kvm", true, ENOENT, "error: x.conf:1: ACCEL 'kvm': there is no DEVICE", 1},
        {"tcg", true, ENOENT, "tcg", 0},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        works = rows[i].works;
        open_err = rows[i].open_err;
        seen->opens = 0;
        check(world, rows[i].word, NULL, rows[i].expected);
        g_assert_cmpuint(seen->opens, ==, rows[i].opens);
    }
}

/* Works: once. */
static void test_remembered(World *world, gconstpointer data G_GNUC_UNUSED)
{
    struct stat st;
    check(world, "auto", world->folder, WORKS);
    check(world, "kvm", world->folder, WORKS);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 1);
    g_assert_cmpuint(seen->opens, ==, 3);
    g_assert_cmpint(stat(world->memory, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0600);
    /* A device that can't be opened any more counts at once. */
    open_err = ENOENT;
    check(world, "kvm", world->folder, "error: x.conf:1: ACCEL 'kvm': there is no DEVICE");
}

static void test_nothing_else_remembered(World *world, gconstpointer data G_GNUC_UNUSED)
{
    works = false;
    check(world, "auto", world->folder, "tcg: " WARNING);
    check(world, "auto", world->folder, "tcg: " WARNING);
    g_assert_cmpuint(seen->runs, ==, 2);
    g_assert_false(g_file_test(world->memory, G_FILE_TEST_EXISTS));
    works = true;
    check(world, "auto", world->folder, WORKS);
}

static void age(const World *world, gint64 seconds)
{
    time_t then = (time_t)(g_get_real_time() / G_USEC_PER_SEC - seconds);
    const struct utimbuf times = {then, then};
    g_assert_cmpint(utime(world->memory, &times), ==, 0);
}

/* Everything that makes a memory count no more; each is followed by a probe that remembers again. */
static void test_forgotten(World *world, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *good = NULL;
    g_autofree char *elsewhere = g_strconcat(world->folder, ".good", NULL);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 1);
    g_assert_true(g_file_get_contents(world->memory, &good, NULL, NULL));
    g_assert_true(g_str_has_prefix(good, "version=" VT_VERSION "\nboot="));

    g_assert_true(g_file_set_contents(world->memory, "", 0, NULL));
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 2);

    g_autofree char *other_boot = g_strdup(good);
    char *digit = strstr(other_boot, "boot=") + 5;
    *digit = *digit == '0' ? '1' : '0';
    g_assert_true(g_file_set_contents(world->memory, other_boot, -1, NULL));
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 3);

    age(world, 3601);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 4);
    age(world, -3600); /* of the future */
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 5);
    age(world, 60);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 5);

    g_assert_cmpint(g_rename(world->memory, elsewhere), ==, 0);
    g_assert_cmpint(symlink(elsewhere, world->memory), ==, 0);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 6);
    g_unlink(elsewhere);

    g_assert_cmpint(chmod(world->device, 0640), ==, 0); /* another ctime */
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 7);

    if (geteuid() == 0) {
        g_assert_cmpint(chown(world->memory, 12345, 12345), ==, 0);
        check(world, "auto", world->folder, WORKS);
        g_assert_cmpuint(seen->runs, ==, 8);
    }
}

/* A folder that others may write to holds nothing to trust, and gets nothing. */
static void test_folder(World *world, gconstpointer data G_GNUC_UNUSED)
{
    g_autofree char *missing = g_build_filename(world->folder, "none", NULL);
    check(world, "auto", missing, WORKS);
    g_assert_false(g_file_test(missing, G_FILE_TEST_EXISTS));
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpint(chmod(world->folder, 0777), ==, 0);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 3);
    g_assert_cmpint(chmod(world->folder, 0700), ==, 0);
    check(world, "auto", world->folder, WORKS);
    g_assert_cmpuint(seen->runs, ==, 3);
}

#define ADD(name, test) g_test_add(name, World, NULL, set_up, test, tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    ADD("/accel/words", test_words);
    ADD("/accel/remembered", test_remembered);
    ADD("/accel/nothing-else-remembered", test_nothing_else_remembered);
    ADD("/accel/forgotten", test_forgotten);
    ADD("/accel/folder", test_folder);
    return g_test_run();
}
