/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-credential.c - MUNGE credentials with a munged of the test's own, as root. */
#include <errno.h>
#include <glib.h>
#include <glib/gstdio.h>
#include <munge.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "node/credential.h"

/* The loader knows which folder for libraries this machine has. */
#define FAKETIME "/usr/$LIB/faketime/libfaketimeMT.so.1"
#define PATIENCE 1000 /* times 10 ms for munged's socket */

typedef struct {
    char *folder, *socket;
    GPid pid;
} Munged;

static char *place(const Munged *munged, const char *name)
{
    return g_build_filename(munged->folder, name, NULL);
}

/* With a key that is full of `fill`, at this time or another (libfaketime). */
static void munged_start(Munged *munged, char fill, const char *when)
{
    char key[128];
    g_autoptr(GError) error = NULL;
    memset(key, fill, sizeof key);
    munged->folder = g_dir_make_tmp("vtt-munge-XXXXXX", NULL);
    /* munged has a look at who may look for its socket. */
    g_assert_no_errno(g_chmod(munged->folder, 0755));
    munged->socket = place(munged, "sock");
    g_autofree char *key_file = place(munged, "key");
    g_autofree char *key_word = g_strconcat("--key-file=", key_file, NULL);
    g_autofree char *socket_word = g_strconcat("--socket=", munged->socket, NULL);
    g_autofree char *pid_word = g_strdup_printf("--pid-file=%s/pid", munged->folder);
    g_autofree char *log_word = g_strdup_printf("--log-file=%s/log", munged->folder);
    g_autofree char *seed_word = g_strdup_printf("--seed-file=%s/seed", munged->folder);
    g_assert_true(
        g_file_set_contents_full(key_file, key, sizeof key, G_FILE_SET_CONTENTS_NONE, 0400, NULL));
    g_auto(GStrv) environment = g_get_environ();
    if (when) {
        environment = g_environ_setenv(environment, "FAKETIME", when, TRUE);
        environment = g_environ_setenv(environment, "LD_PRELOAD", FAKETIME, TRUE);
    }
    char *argv[] = {(char *)"/usr/sbin/munged",
                    (char *)"--foreground",
                    (char *)"--force",
                    key_word,
                    socket_word,
                    pid_word,
                    log_word,
                    seed_word,
                    NULL};
    g_spawn_async(NULL, argv, environment, G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDERR_TO_DEV_NULL,
                  NULL, NULL, &munged->pid, &error);
    g_assert_no_error(error);
    for (int i = 0; i < PATIENCE && !g_file_test(munged->socket, G_FILE_TEST_EXISTS); i++)
        g_usleep(10000);
}

static void munged_stop(Munged *munged)
{
    /* With another clock it does not end by TERM (seen). */
    kill(munged->pid, SIGKILL);
    waitpid(munged->pid, NULL, 0);
    const char *const names[] = {"sock", "sock.lock", "key", "pid", "log", "seed"};
    for (gsize i = 0; i < G_N_ELEMENTS(names); i++) {
        g_autofree char *path = place(munged, names[i]);
        g_unlink(path);
    }
    g_rmdir(munged->folder);
    g_free(munged->folder);
    g_free(munged->socket);
}

static Munged ours;

static void refuse(const char *credential, VtError code, const char *said)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(vt_credential_open(ours.socket, credential, &error));
    g_assert_error(error, VT_ERROR, (int)code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, said));
}

static void test_once(void)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *credential = vt_credential_seal(ours.socket, "a=1\nb=2\n", &error);
    g_assert_no_error(error);
    g_assert_null(strstr(credential, "a=1"));
    g_autofree char *text = vt_credential_open(ours.socket, credential, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, "a=1\nb=2\n");
    refuse(credential, VT_ERROR_BATCH, "used before");
}

static void test_changed(void)
{
    g_autofree char *credential = vt_credential_seal(ours.socket, "a=1\n", NULL);
    gsize middle = strlen(credential) / 2;
    credential[middle] = credential[middle] == 'A' ? 'B' : 'A';
    refuse(credential, VT_ERROR_BATCH, "refused");
    credential[middle] = '\0';
    refuse(credential, VT_ERROR_BATCH, "refused");
    refuse("", VT_ERROR_BATCH, "refused");
    refuse("MUNGE:AAAA:", VT_ERROR_BATCH, "refused");
}

/* Somebody else's options, and somebody else. */
static char *seal_as(uid_t uid, int cipher, int mac)
{
    int ends[2];
    char text[4096];
    g_assert_no_errno(pipe(ends));
    pid_t pid = fork();
    if (pid == 0) {
        char *made = NULL;
        munge_ctx_t context = munge_ctx_create();
        munge_ctx_set(context, MUNGE_OPT_SOCKET, ours.socket);
        munge_ctx_set(context, MUNGE_OPT_CIPHER_TYPE, cipher);
        munge_ctx_set(context, MUNGE_OPT_MAC_TYPE, mac);
        if (setresuid(uid, uid, uid) < 0 ||
            munge_encode(&made, context, "a=1\n", 4) != EMUNGE_SUCCESS)
            _exit(1);
        _exit(write(ends[1], made, strlen(made)) < 0);
    }
    close(ends[1]);
    ssize_t n = 0, used = 0;
    while ((n = read(ends[0], text + used, sizeof text - 1 - (gsize)used)) > 0)
        used += n;
    close(ends[0]);
    waitpid(pid, NULL, 0);
    g_assert_cmpint(used, >, 0);
    text[used] = '\0';
    return g_strdup(text);
}

static void test_strangers(void)
{
    g_autofree char *users = seal_as(65534, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA256);
    g_autofree char *plain = seal_as(0, MUNGE_CIPHER_NONE, MUNGE_MAC_SHA256);
    g_autofree char *weak = seal_as(0, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA1);
    g_autofree char *roots = seal_as(0, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA256);
    refuse(users, VT_ERROR_BATCH, "not of root");
    refuse(plain, VT_ERROR_BATCH, "not sealed by");
    refuse(weak, VT_ERROR_BATCH, "not sealed by");
    g_autofree char *text = vt_credential_open(ours.socket, roots, NULL);
    g_assert_cmpstr(text, ==, "a=1\n");
}

/* Whose it is comes out; how it was sealed counts as for root's, and so does what was opened. */
static void test_users(void)
{
    g_autoptr(GError) error = NULL;
    uid_t uid = 0;
    g_autofree char *users = seal_as(65534, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA256);
    g_autofree char *roots = seal_as(0, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA256);
    g_autofree char *weak = seal_as(65534, MUNGE_CIPHER_AES128, MUNGE_MAC_SHA1);
    g_autofree char *text = vt_credential_open_user(ours.socket, users, &uid, &error);
    g_assert_no_error(error);
    g_assert_cmpstr(text, ==, "a=1\n");
    g_assert_cmpuint(uid, ==, 65534);
    g_assert_null(vt_credential_open_user(ours.socket, users, &uid, &error));
    g_assert_nonnull(strstr(error->message, "used before"));
    refuse(users, VT_ERROR_BATCH, "used before");
    g_autofree char *other = vt_credential_open_user(ours.socket, roots, &uid, NULL);
    g_assert_cmpstr(other, ==, "a=1\n");
    g_assert_cmpuint(uid, ==, 0);
    g_clear_error(&error);
    g_assert_null(vt_credential_open_user(ours.socket, weak, &uid, &error));
    g_assert_nonnull(strstr(error->message, "not sealed by"));
}

static void test_other_key(void)
{
    Munged other;
    munged_start(&other, 'y', NULL);
    g_autofree char *credential = vt_credential_seal(other.socket, "a=1\n", NULL);
    g_assert_nonnull(credential);
    refuse(credential, VT_ERROR_BATCH, "refused");
    munged_stop(&other);
}

/* Ten minutes are more than MUNGE allows, in either direction. */
static void test_clocks(void)
{
    static const char *const times[] = {"+600s", "-600s"};
    for (gsize i = 0; i < G_N_ELEMENTS(times); i++) {
        Munged other;
        munged_start(&other, 'x', times[i]);
        g_autofree char *credential = vt_credential_seal(other.socket, "a=1\n", NULL);
        g_assert_nonnull(credential);
        refuse(credential, VT_ERROR_BATCH, "the clocks of the nodes differ");
        munged_stop(&other);
    }
}

static void test_dead(void)
{
    g_autoptr(GError) error = NULL;
    g_assert_null(vt_credential_seal("/nonexistent/munge", "a=1\n", &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    g_assert_nonnull(strstr(error->message, "munged does not answer"));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (geteuid() != 0) {
        g_print("1..0 # SKIP only root makes credentials of root's\n");
        return 0;
    }
    munged_start(&ours, 'x', NULL);
    g_test_add_func("/credential/once", test_once);
    g_test_add_func("/credential/changed", test_changed);
    g_test_add_func("/credential/strangers", test_strangers);
    g_test_add_func("/credential/users", test_users);
    g_test_add_func("/credential/other-key", test_other_key);
    g_test_add_func("/credential/clocks", test_clocks);
    g_test_add_func("/credential/dead", test_dead);
    int status = g_test_run();
    munged_stop(&ours);
    return status;
}
