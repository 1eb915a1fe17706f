/* SPDX-License-Identifier: Apache-2.0 */
/* share/tree.c - the tree of binds that a file server shows. */
#include "share/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/error.h"
#include "base/fd.h"
#include "cage/cage.h"

#define MOUNTINFO_MAX (16 * 1024 * 1024)

/* What a guest has of its own, or what is the host's business alone. Behind /proc/self there would
 * be the file server itself. */
static const char *const kernels[] = {
    "bdev",      "binfmt_misc", "bpf",        "cgroup",   "cgroup2", "configfs",   "cpuset",
    "debugfs",   "devpts",      "devtmpfs",   "efivarfs", "fusectl", "hugetlbfs",  "mqueue",
    "nsfs",      "pipefs",      "proc",       "pstore",   "sockfs",  "rpc_pipefs", "securityfs",
    "selinuxfs", "smackfs",     "fuse.lxcfs", "sysfs",    "tracefs", NULL,
};

/* What the root is shown without, beside those: memory, and what programs of the host mount. */
static const char *const passing[] = {
    "autofs", "fuse.gvfsd-fuse", "fuse.portal", "ramfs", "tmpfs", NULL,
};

bool vt_tree_is_real(const char *fs_type)
{
    return !g_strv_contains(kernels, fs_type) && !g_strv_contains(passing, fs_type);
}

static bool is_below(const char *path, const char *directory)
{
    gsize length = strlen(directory);
    return strncmp(path, directory, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

/* Where the guest mounts the plan's other shares that lie below `path`: it cannot make it in a
 * read-only root. */
static bool make_mount_points(const VtPlan *plan, const char *top, const char *path, GError **error)
{
    for (guint i = 0; i < plan->shares->len; i++) {
        const VtShare *share = g_ptr_array_index(plan->shares, i);
        g_autofree char *target = g_strconcat(top, share->path, NULL);
        if (!share->is_root && is_below(target, path) && g_mkdir_with_parents(target, 0755) < 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make '%s'", target);
    }
    return true;
}

/* Hides what is mounted at `path`, below the root that is shown at `top`. */
static bool cover(const VtPlan *plan, const char *top, const char *path, GError **error)
{
    struct stat st;
    /* Not even its root can be looked at (a FUSE mount of another user): nobody can. */
    if (lstat(path, &st) < 0)
        return true;
    int err = S_ISDIR(st.st_mode) ? mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
                                          "size=4k,mode=755")
                                  : mount("/dev/null", path, NULL, MS_BIND, NULL);
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot cover '%s'", path);
    return !S_ISDIR(st.st_mode) ||
           (make_mount_points(plan, top, path, error) && vt_cage_mount_read_only(path, error));
}

typedef struct {
    char *path;
    char *type;
} Mount;

static void mount_clear(gpointer data)
{
    Mount *mount = data;
    g_free(mount->path);
    g_free(mount->type);
}

static void add_mount(GArray *mounts, const char *line, const char *top)
{
    g_auto(GStrv) fields = g_strsplit(line, " ", 0);
    guint n = g_strv_length(fields), dash = 6;
    while (dash < n && strcmp(fields[dash], "-") != 0)
        dash++;
    if (dash + 1 >= n)
        return;
    Mount mount = {g_strcompress(fields[4]), g_strdup(fields[dash + 1])};
    if (is_below(mount.path, top))
        g_array_append_val(mounts, mount);
    else
        mount_clear(&mount);
}

/* The mounts at and below `top`, an array of Mount, each after what it is mounted on. (transfer
 * full) */
static GArray *list_mounts(const char *top, GError **error)
{
    vt_autofd fd = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    g_autoptr(GBytes) text = fd < 0 ? NULL : vt_fd_read_all(fd, MOUNTINFO_MAX, "mountinfo", error);
    if (!text) {
        if (fd < 0)
            vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot read mountinfo");
        return NULL;
    }
    GArray *mounts = g_array_new(FALSE, FALSE, sizeof(Mount));
    g_array_set_clear_func(mounts, mount_clear);
    g_auto(GStrv) lines = g_strsplit(g_bytes_get_data(text, NULL), "\n", 0);
    for (char **line = lines; *line; line++)
        add_mount(mounts, *line, top);
    return mounts;
}

static bool show_read_only(const char *path, GError **error)
{
    g_autoptr(GError) local = NULL;
    /* A mount that cannot be looked at shows nothing either. */
    if (vt_cage_mount_read_only(path, &local) || access(path, F_OK) < 0)
        return true;
    g_propagate_error(error, g_steal_pointer(&local));
    return false;
}

/* Makes a directory as it is bound at `top` fit to be shown: the root with its real file systems
 * only, all read-only; a writable one without the kernel's own. */
static bool trim(const VtPlan *plan, bool is_root, const char *top, const GArray *mounts,
                 GError **error)
{
    const char *covered = NULL;
    for (guint i = 0; i < mounts->len; i++) {
        const Mount *each = &g_array_index(mounts, Mount, i);
        if (covered && is_below(each->path, covered))
            continue;
        if (strcmp(each->path, top) == 0 ||
            (is_root ? vt_tree_is_real(each->type) : !g_strv_contains(kernels, each->type))) {
            if (is_root && !show_read_only(each->path, error))
                return false;
            continue;
        }
        covered = each->path;
        if (!cover(plan, top, covered, error))
            return false;
    }
    return true;
}

/* What the host mounts there later (a /proc, a disk) must not come through; but what it mounts on
 * an autofs, because somebody looked, must. */
static bool keep_mounts_out(const VtShare *share, const char *top, const GArray *mounts,
                            GError **error)
{
    bool has_autofs = false;
    for (guint i = 0; i < mounts->len && !share->is_root; i++)
        has_autofs |= strcmp(g_array_index(mounts, Mount, i).type, "autofs") == 0;
    if (!has_autofs && mount(NULL, top, NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot keep mounts out of '%s'",
                                  share->path);
    for (guint i = 0; i < mounts->len && has_autofs; i++) {
        const Mount *each = &g_array_index(mounts, Mount, i);
        if (strcmp(each->type, "autofs") != 0 &&
            mount(NULL, each->path, NULL, MS_PRIVATE, NULL) < 0 && access(each->path, F_OK) == 0)
            return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot keep mounts out of '%s'",
                                      each->path);
    }
    return true;
}

static bool bind_share(const VtPlan *plan, int source, guint index, GError **error)
{
    const VtShare *share = g_ptr_array_index(plan->shares, index);
    g_autofree char *target = g_strdup_printf(VT_TREE_PLACE "/%u", index);
    g_autofree char *link = g_strdup_printf("/proc/self/fd/%d", source);
    if (mkdir(target, 0755) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot make '%s'", target);
    /* With all that is mounted below: a user namespace may not do otherwise, and a home has mounts
     * of its own. */
    if (mount(link, target, NULL, MS_BIND | MS_REC, NULL) < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot share '%s'", share->path);
    g_autoptr(GArray) mounts = list_mounts(target, error);
    return mounts && keep_mounts_out(share, target, mounts, error) &&
           trim(plan, share->is_root, target, mounts, error);
}

static void close_sources(gpointer data)
{
    vt_fd_clear(data);
}

/* A link can lead anywhere; behind /proc/self a guest would find its own file server. */
static bool is_kernels(int fd)
{
    static const guint32 magics[] = {PROC_SUPER_MAGIC, SYSFS_MAGIC,        DEBUGFS_MAGIC,
                                     TRACEFS_MAGIC,    SECURITYFS_MAGIC,   CGROUP_SUPER_MAGIC,
                                     BPF_FS_MAGIC,     CGROUP2_SUPER_MAGIC};
    struct statfs st;
    if (fstatfs(fd, &st) < 0)
        return true;
    for (gsize i = 0; i < G_N_ELEMENTS(magics); i++)
        if ((guint32)st.f_type == magics[i])
            return true;
    return false;
}

GArray *vt_tree_open(const VtPlan *plan, bool is_root, GError **error)
{
    g_autoptr(GArray) sources = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_set_clear_func(sources, close_sources);
    for (guint i = 0; i < plan->shares->len; i++) {
        const VtShare *share = g_ptr_array_index(plan->shares, i);
        bool wanted = share->is_root == is_root;
        int fd = wanted ? open(share->path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
        if (wanted && (fd < 0 || is_kernels(fd))) {
            vt_error_set_errno(error, VT_ERROR_USER, fd < 0 ? errno : EINVAL, "cannot share '%s'",
                               share->path);
            vt_fd_clear(&fd);
            return NULL;
        }
        g_array_append_val(sources, fd);
    }
    return g_steal_pointer(&sources);
}

bool vt_tree_build(const VtPlan *plan, const GArray *sources, GError **error)
{
    if (mount("tmpfs", VT_TREE_PLACE, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC,
              "size=1m,mode=755") < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot mount the share's tree");
    for (guint i = 0; i < plan->shares->len; i++) {
        int source = g_array_index(sources, int, i);
        if (source >= 0 && !bind_share(plan, source, i, error))
            return false;
    }
    return vt_cage_mount_read_only(VT_TREE_PLACE, error);
}
