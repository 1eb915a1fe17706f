/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine/kernel.c - the guest's kernel and initramfs: opened once, with the rights of who vouches
 * for them.
 *
 * Runs as: root or the user, in stage 1. Reads from: the job's kernel folder. Trusts: nothing in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/error.h"
#include "base/fd.h"
#include "engine/engine.h"
#include "image/trusted.h"
#include "job/owner.h"

/* `is_roots`: root's own files alone; else what this process may read. -1 without an error where
 * there is none, with errno. */
static bool open_folder(const char *path, bool is_roots, int *folder, GError **error)
{
    errno = ENOENT;
    if (is_roots)
        return vt_trusted_open_folder(path, 0, folder, error);
    *folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return true;
}

static bool open_file(int folder, const char *name, bool is_roots, int *fd, GError **error)
{
    errno = ENOENT;
    if (is_roots)
        return vt_trusted_open_file(folder, name, 0, fd, error);
    *fd = openat(folder, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    return true;
}

static bool open_kernel(VtEngine *engine, int folder, bool is_roots, const VtRecord *record,
                        GError **error)
{
    static const char *const names[] = {"vmlinux", "vmlinuz"};
    guint i = 0;
    if (!open_file(folder, names[0], is_roots, &engine->kernel, error))
        return false;
    if (engine->kernel < 0 && errno == ENOENT)
        i = 1;
    if (i == 1 && !open_file(folder, names[1], is_roots, &engine->kernel, error))
        return false;
    int errnum = errno;
    engine->plan = vt_plan_new(engine->job, engine->slots, names[i], record);
    return engine->kernel >= 0 || vt_error_set_errno(error, VT_ERROR_HOST, errnum,
                                                     "cannot use '%s'", engine->plan->kernel);
}

static bool open_both(VtEngine *engine, bool is_roots, const VtRecord *record, GError **error)
{
    const char *path = engine->job->kernel_dir;
    vt_autofd folder = -1;
    if (!open_folder(path, is_roots, &folder, error))
        return false;
    if (folder < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot use '%s'", path);
    if (!open_kernel(engine, folder, is_roots, record, error))
        return false;
    g_autofree char *name = g_path_get_basename(engine->plan->initrd);
    if (!open_file(folder, name, is_roots, &engine->initrd, error))
        return false;
    return engine->initrd >= 0 ||
           vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot use '%s'", engine->plan->initrd);
}

static void forget(VtEngine *engine)
{
    vt_fd_clear(&engine->kernel);
    vt_fd_clear(&engine->initrd);
    g_clear_pointer(&engine->plan, vt_plan_free);
}

static bool open_as_owner(VtEngine *engine, const VtRecord *record, GError **error)
{
    if (!vt_owner_borrow(&engine->job->owner, error))
        return false;
    bool ok = open_both(engine, false, record, error);
    vt_owner_return();
    return ok;
}

/* From the site's folder or the owner's. */
static bool open_from_folder(VtEngine *engine, const VtRecord *record, GError **error)
{
    const VtJob *job = engine->job;
    bool is_for_another = geteuid() == 0 && job->owner.uid != 0;
    g_autoptr(GError) local = NULL;
    if (is_for_another && open_both(engine, true, record, &local))
        return true;
    if (vt_plan_kind(job, geteuid() == 0) == VT_GUEST_SITES) {
        g_propagate_prefixed_error(error, g_steal_pointer(&local),
                                   "the guest's kernel must be the site's: ");
        return false;
    }
    forget(engine);
    return open_as_owner(engine, record, error);
}

/* QEMU runs under an id that nobody has. */
static bool check_readable(int fd, const char *path, GError **error)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return vt_error_set(error, VT_ERROR_HOST, "cannot use '%s': it is no file", path);
    if (geteuid() == 0 && !(st.st_mode & S_IROTH))
        return vt_error_set(
            error, VT_ERROR_HOST,
            "cannot use '%s': it must be readable by all, since QEMU runs as nobody", path);
    return true;
}

bool vt_kernel_open(VtEngine *engine, VtPoolImage *image, GError **error)
{
    const VtRecord *record = image->record;
    if (record && record->kernel) {
        engine->kernel = vt_fd_steal(&image->kernel);
        engine->initrd = vt_fd_steal(&image->initramfs);
        engine->plan = vt_plan_new(engine->job, engine->slots, "vmlinux", record);
    } else if (!open_from_folder(engine, record, error)) {
        return false;
    }
    engine->plan->kind = vt_plan_kind(engine->job, geteuid() == 0);
    return check_readable(engine->kernel, engine->plan->kernel, error) &&
           check_readable(engine->initrd, engine->plan->initrd, error);
}
