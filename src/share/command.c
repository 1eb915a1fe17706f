/* SPDX-License-Identifier: Apache-2.0 */
/*
 * share/command.c - the table of file servers.
 *
 * What was decided, and by what (QEMU 7.2.22's virtiofsd, guest Linux 6.1, tests/system/share.py;
 * doc/contracts/share.md has the promises):
 *
 *   cache=auto      writable, locks local: a shared mapping works (none: ENODEV, which stops programs
 *                   that map data or sqlite's write-ahead log), what was read need not be read again.
 *                   Two guests that append records of 5000 bytes to one file tore 85 of 800 (a record
 *                   that crosses a page is two requests), two that mapped the same pages lost
 *                   up to half of their bytes.
 *   cache=none      writable, locks remote: nothing is torn (records to 496 KiB, one request),
 *                   lost or stale. Bulk transfer is as fast or faster, small reads are requests.
 *   cache=always    the root, which nobody writes to: programs start twice as fast.
 *   flock, posix_lock  only for locks remote: without share/preload.c unlocking would fail.
 *   writeback       never: virtiofsd then opens without O_APPEND, and each guest appends where it
 *                   believes the end to be.
 *   timeout=0       where descriptors are few. A name that a guest knows is a descriptor of the
 *                   server until the guest's memory is short: 100,000 files were more than 20,000
 *                   (EMFILE, for all that came after); with this 12,000 files were 22 to 47. The
 *                   price is that each part of a path is asked for each time.
 *   announce_submounts  never: on what is mounted below, ACLs were ENOTSUP and no name was forgotten
 *                   (100,000 files: EMFILE). Unique numbers are share/preload.c's.
 *   killpriv_v2     as it comes (on): without it each write asks for an attribute first, and with it
 *                   set-user-ID goes when it must.
 *   allow_direct_io never: O_DIRECT of a guest goes past the guest's cache, not past the machine's;
 *                   it works on every file system, whatever its block size.
 *   thread pool     none, as it comes: no difference that could be measured under emulation.
 */
#include "share/command.h"

#include <unistd.h>

#include "base/error.h"
#include "share/tree.h"

/* Each name that a guest has looked at is a descriptor of its server until the guest forgets it,
 * which it may never do. With fewer descriptors than this, names are forgotten at once. */
#define FILES_MANY (256 * 1024)

static void add_word(GPtrArray *argv, const char *word)
{
    g_ptr_array_add(argv, (gpointer)word);
}

static void add_all(GPtrArray *argv, const char *const *words)
{
    for (; *words; words++)
        add_word(argv, *words);
}

static void add_qemu_arguments(GPtrArray *argv, const VtPlan *plan, bool is_root, guint64 files)
{
    static const char *const always[] = {"--fd=" G_STRINGIFY(VT_SERVER_FD),
                                         "--rlimit-nofile=0",
                                         "-o",
                                         "source=" VT_TREE_PLACE,
                                         "-o",
                                         "sandbox=chroot",
                                         "-o",
                                         "log_level=err",
                                         "-o",
                                         "xattr",
                                         "-o",
                                         "posix_acl",
                                         "-o",
                                         NULL};
    static const char *const remote[] = {"-o", "flock", "-o", "posix_lock", NULL};
    static const char *const forgetful[] = {"-o", "timeout=0", NULL};

    add_all(argv, always);
    add_word(argv, is_root                          ? "cache=always"
                   : plan->locks == VT_LOCKS_REMOTE ? "cache=none"
                                                    : "cache=auto");
    if (plan->locks == VT_LOCKS_REMOTE)
        add_all(argv, remote);
    else if (!is_root && files < FILES_MANY)
        add_all(argv, forgetful);
}

static void add_rust_arguments(GPtrArray *argv, const VtPlan *plan, bool is_root, guint64 files)
{
    static const char *const always[] = {"--fd=" G_STRINGIFY(VT_SERVER_FD),
                                         "--rlimit-nofile=0",
                                         "--shared-dir=" VT_TREE_PLACE,
                                         "--sandbox=chroot",
                                         "--log-level=error",
                                         "--xattr",
                                         "--posix-acl",
                                         NULL};

    add_all(argv, always);
    add_word(argv, is_root ? "--cache=always" : "--cache=auto");
}

static const char *const qemu_programs[] = {"/usr/lib/qemu/virtiofsd", NULL};
static const char *const qemu_environment[] = {
    "LC_ALL=C.UTF-8", "LD_PRELOAD=/proc/self/fd/" G_STRINGIFY(VT_PRELOAD_FD), NULL};
static const char *const rust_programs[] = {"/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", NULL};
static const char *const rust_environment[] = {"LC_ALL=C.UTF-8", NULL};

static const VtServerKind kinds[] = {
    [VT_FILE_SERVER_QEMU] = {"QEMU's virtiofsd", qemu_programs, qemu_environment, true, true,
                             add_qemu_arguments},
    [VT_FILE_SERVER_RUST] = {"the virtio-fs project's virtiofsd", rust_programs, rust_environment,
                             false, false, add_rust_arguments},
};

const VtServerKind *vt_server_kind(VtFileServer server)
{
    return &kinds[server];
}

const char *vt_server_find(const VtServerKind *kind)
{
    for (const char *const *program = kind->programs; *program; program++)
        if (access(*program, F_OK) == 0)
            return *program;
    return NULL;
}

bool vt_server_check(VtFileServer server, VtLocks locks, GError **error)
{
    const VtServerKind *kind = vt_server_kind(server);
    const char *word = vt_choice_word(&vt_file_server_choice, server);

    if (locks == VT_LOCKS_REMOTE && !kind->has_remote_locks)
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "VIRTIOFSD '%s' cannot hold locks where the host sees them: "
                            "share_locks must be local",
                            word);
    if (!vt_server_find(kind))
        return vt_error_set(error, VT_ERROR_HOST,
                            "VIRTIOFSD '%s' is not installed: there is no '%s'", word,
                            kind->programs[0]);
    return true;
}

const char **vt_server_command(const VtPlan *plan, bool is_root, guint64 files)
{
    GPtrArray *argv = g_ptr_array_new();

    add_word(argv, "virtiofsd");
    vt_server_kind(plan->file_server)->add_arguments(argv, plan, is_root, files);
    add_word(argv, NULL);
    return (const char **)g_ptr_array_free(argv, FALSE);
}
