/* SPDX-License-Identifier: Apache-2.0 */
/* cage/cage.c - a minimal root and the end of all rights. */
#include "cage/cage.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>

#include "base/error.h"
#include "base/fd.h"
#include "cage/filter.h"

/* Every host has it, and nothing of it is needed once the sources are open. */
#define ROOT_PLACE "/tmp"
#define ROOT_SIZE "size=1m,mode=755"

static void bind_free(gpointer data)
{
    VtBind *bind = data;
    vt_fd_clear(&bind->fd);
    g_free(bind->source);
    g_free(bind->target);
    g_free(bind);
}

VtCage *vt_cage_new(void)
{
    VtCage *cage = g_new0(VtCage, 1);
    cage->binds = g_ptr_array_new_with_free_func(bind_free);
    return cage;
}

void vt_cage_free(VtCage *cage)
{
    if (!cage)
        return;
    g_ptr_array_unref(cage->binds);
    g_free(cage);
}

static VtBind *add(VtCage *cage, const char *source, const char *target)
{
    VtBind *bind = g_new0(VtBind, 1);
    bind->source = g_strdup(source);
    bind->fd = -1;
    bind->target = g_strdup(target);
    g_ptr_array_add(cage->binds, bind);
    return bind;
}

void vt_cage_bind(VtCage *cage, const char *source, const char *target)
{
    add(cage, source, target);
}

void vt_cage_bind_fd(VtCage *cage, int fd, const char *source, const char *target)
{
    add(cage, source, target)->fd = fd;
}

void vt_cage_bind_optional(VtCage *cage, const char *path)
{
    add(cage, path, path)->optional = true;
}

void vt_cage_device(VtCage *cage, const char *path)
{
    add(cage, path, path)->device = true;
}

void vt_cage_device_for(VtCage *cage, const char *path, uid_t uid, gid_t gid)
{
    VtBind *bind = add(cage, path, path);
    bind->device = true;
    bind->own = geteuid() == 0;
    bind->uid = uid;
    bind->gid = gid;
}

bool vt_cage_detach_mounts(GError **error)
{
    if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot detach the mounts");
    return true;
}

bool vt_cage_mount_proc(GError **error)
{
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
        return true;
    return errno == EPERM || vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot mount /proc");
}

bool vt_cage_mount_read_only(const char *path, GError **error)
{
    struct statvfs st;
    if (statvfs(path, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look at mount '%s'", path);
    /* A user namespace may add flags but not take one away that it inherited. */
    unsigned long flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV;
    flags |= st.f_flag & ST_NOEXEC ? MS_NOEXEC : 0;
    flags |= st.f_flag & ST_NOATIME ? MS_NOATIME : 0;
    flags |= st.f_flag & ST_NODIRATIME ? MS_NODIRATIME : 0;
    flags |= st.f_flag & ST_RELATIME ? MS_RELATIME : 0;
    if (mount(NULL, path, NULL, flags, NULL) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make mount '%s' read-only",
                                  path);
    return true;
}

/* Opens every source while the host's root can still be seen, but for what may be missing. */
static bool open_sources(VtCage *cage, GError **error)
{
    for (guint i = 0; i < cage->binds->len; i++) {
        VtBind *bind = g_ptr_array_index(cage->binds, i);
        if (bind->fd >= 0)
            continue;
        bind->fd = open(bind->source, O_PATH | O_CLOEXEC | (bind->optional ? O_NOFOLLOW : 0));
        if (bind->fd < 0 && !(bind->optional && errno == ENOENT))
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot open '%s'",
                                      bind->source);
    }
    return true;
}

static bool make_target(const char *target, bool directory, GError **error)
{
    g_autofree char *parent = g_path_get_dirname(target);
    int err = g_mkdir_with_parents(directory ? target : parent, 0755);
    if (err == 0 && !directory) {
        vt_autofd fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
        err = fd < 0 ? -1 : 0;
    }
    return err == 0 || vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make '%s'", target);
}

/* A node of its own for the device `st`; false where none may be made. */
static bool make_node(const char *target, const struct stat *st)
{
    g_autofree char *parent = g_path_get_dirname(target);
    return g_mkdir_with_parents(parent, 0755) == 0 &&
           mknod(target, S_IFCHR | 0600, st->st_rdev) == 0;
}

/* Binds the node over itself: that mount may have a device, the root's may not. */
static bool hand_over_node(const VtBind *bind, const char *target, GError **error)
{
    if (chown(target, bind->uid, bind->gid) == 0 &&
        mount(target, target, NULL, MS_BIND, NULL) == 0 &&
        mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC, NULL) == 0)
        return true;
    return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot hand over the device '%s'",
                              bind->source);
}

/* Shows the open source below ROOT_PLACE. */
static bool show(const VtBind *bind, GError **error)
{
    int fd = bind->fd;
    g_autofree char *target = g_build_filename(ROOT_PLACE, bind->target, NULL);
    g_autofree char *source = g_strdup_printf("/proc/self/fd/%d", fd);
    struct stat st;
    if (fstat(fd, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot look at '%s'", bind->source);
    if (S_ISLNK(st.st_mode)) {
        char text[PATH_MAX];
        ssize_t n = readlinkat(fd, "", text, sizeof text - 1);
        text[n > 0 ? n : 0] = '\0';
        g_autofree char *parent = g_path_get_dirname(target);
        if (n <= 0 || g_mkdir_with_parents(parent, 0755) < 0 || symlink(text, target) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot copy link '%s'",
                                      bind->source);
        return true;
    }
    if (bind->own && make_node(target, &st))
        return hand_over_node(bind, target, error);
    if (!make_target(target, S_ISDIR(st.st_mode), error))
        return false;
    if (mount(source, target, NULL, MS_BIND, NULL) == 0)
        return bind->device || vt_cage_mount_read_only(target, error);
    /* A user namespace may not show a directory without the mounts that lie in it. */
    if (errno == EINVAL && mount(source, target, NULL, MS_BIND | MS_REC, NULL) == 0)
        return vt_cage_mount_read_only(target, error);
    return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot bind '%s'", bind->source);
}

static bool pivot(GError **error)
{
    if (chdir(ROOT_PLACE) < 0 || syscall(SYS_pivot_root, ".", ".") < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot change the root");
    /* The old root now lies on top of the new one. */
    if (umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot detach the old root");
    return vt_cage_mount_read_only("/", error);
}

bool vt_cage_enter(VtCage *cage, GError **error)
{
    if (!open_sources(cage, error))
        return false;
    bool ok = mount("tmpfs", ROOT_PLACE, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_SIZE) == 0 ||
              vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot mount the job's root");
    for (guint i = 0; i < cage->binds->len; i++) {
        VtBind *bind = g_ptr_array_index(cage->binds, i);
        ok = ok && (bind->fd < 0 || show(bind, error));
        vt_fd_clear(&bind->fd);
    }
    return ok && pivot(error);
}

#define NO_CAPABILITY (-1)

/* All but `kept`. */
static bool drop_capabilities(int kept, GError **error)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (kept != NO_CAPABILITY)
        data[kept / 32].permitted = data[kept / 32].effective = 1u << (kept % 32);
    if (syscall(SYS_capset, &header, data) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot give up capabilities");
    return true;
}

static bool drop_ids(uid_t uid, gid_t gid, GError **error)
{
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot take ids %u:%u", uid, gid);
    return true;
}

static bool drop(uid_t uid, gid_t gid, int kept, GError **error)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot empty the bounding set");
    /* What is kept would go with root's id; what is not goes by itself. */
    if (kept != NO_CAPABILITY && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot keep a capability");
    if (geteuid() == 0 && !drop_ids(uid, gid, error))
        return false;
    if (!drop_capabilities(kept, error))
        return false;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot give up rights");
    return vt_filter_load_cage(error);
}

bool vt_cage_drop(uid_t uid, gid_t gid, GError **error)
{
    return drop(uid, gid, NO_CAPABILITY, error);
}

bool vt_cage_drop_to(uid_t uid, gid_t gid, int capability, GError **error)
{
    return drop(uid, gid, capability, error);
}
