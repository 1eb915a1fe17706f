/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-share.c - what the file servers can do, and what the tree shows. */
#include "base/error.h"
#include "share/command.h"
#include "share/preload.h"
#include "share/tree.h"

static void test_locks(void)
{
    g_autoptr(GError) error = NULL;

    g_assert_true(vt_server_kind(VT_FILE_SERVER_QEMU)->has_remote_locks);
    g_assert_false(vt_server_check(VT_FILE_SERVER_RUST, VT_LOCKS_REMOTE, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_CONFIG);
    g_assert_cmpstr(error->message, ==,
                    "VIRTIOFSD 'rust' cannot hold locks where the host sees them: "
                    "share_locks must be local");
}

static void test_installed(void)
{
    for (int server = VT_FILE_SERVER_QEMU; server <= VT_FILE_SERVER_RUST; server++) {
        g_autoptr(GError) error = NULL;
        const char *program = vt_server_find(vt_server_kind((VtFileServer)server));
        bool ok = vt_server_check((VtFileServer)server, VT_LOCKS_LOCAL, &error);

        g_assert_cmpint(ok, ==, program != NULL);
        if (!ok)
            g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    }
}

static void test_real(void)
{
    const char *const real[] = {"ext4", "xfs", "nfs4", "lustre", "overlay", "fuse.sshfs"};
    const char *const unreal[] = {"proc", "sysfs", "tmpfs", "autofs", "cgroup2", "fuse.portal"};

    for (gsize i = 0; i < G_N_ELEMENTS(real); i++)
        g_assert_true(vt_tree_is_real(real[i]));
    for (gsize i = 0; i < G_N_ELEMENTS(unreal); i++)
        g_assert_false(vt_tree_is_real(unreal[i]));
}

static void test_preload(void)
{
    g_assert_cmpuint(vt_preload_size, >, 1000);
    g_assert_cmpmem(vt_preload_bytes, 4, "\177ELF", 4);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/share/locks", test_locks);
    g_test_add_func("/share/installed", test_installed);
    g_test_add_func("/share/real", test_real);
    g_test_add_func("/share/preload", test_preload);
    return g_test_run();
}
