/* SPDX-License-Identifier: Apache-2.0 */
/* cli/tar.c - files as a tar stream, to and from a guest. */
#include "cli/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#define PIECE 65536

typedef struct archive Reader;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, archive_read_free)
typedef struct archive_entry Entry;
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Entry, archive_entry_free)

/* Where an entry goes: the directory that it is in, and its name there. */
typedef struct {
    int parent;
    char *leaf;
} Place;

static void place_clear(Place *place)
{
    vt_fd_clear(&place->parent);
    g_clear_pointer(&place->leaf, g_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

typedef struct {
    const char *base, *name;
    int folder;
} Target;

static bool refuse(const char *path, const char *why, GError **error)
{
    g_autofree char *shown = g_strescape(path ? path : "", NULL);
    return vt_error_set(error, VT_ERROR_GUEST, "the guest sent '%s', which %s", shown, why);
}

static bool fail(const char *path, const char *act, GError **error)
{
    int errnum = errno;
    g_autofree char *shown = g_strescape(path, NULL);
    return vt_error_set_errno(error, VT_ERROR_HOST, errnum, "cannot %s '%s'", act, shown);
}

/* The path below `folder` that an entry's name means. (transfer full), NULL where it is refused. */
static char *translate(const Target *target, const char *path, GError **error)
{
    g_auto(GStrv) parts = g_strsplit(path ? path : "", "/", -1);
    guint n = g_strv_length(parts);
    /* A directory's name may end with a slash. */
    if (n > 1 && !*parts[n - 1])
        g_clear_pointer(&parts[--n], g_free);
    bool ok = n > 0 && strcmp(parts[0], target->base) == 0;
    for (guint i = 0; ok && i < n; i++)
        ok = *parts[i] && strcmp(parts[i], ".") != 0 && strcmp(parts[i], "..") != 0;
    if (!ok) {
        refuse(path, "was not asked for", error);
        return NULL;
    }
    g_free(parts[0]);
    parts[0] = g_strdup(target->name);
    return g_strjoinv("/", parts);
}

/* No link is followed, and nothing outside is reached, whatever was made before. */
static bool find_place(const Target *target, const char *path, Place *place, GError **error)
{
    g_autofree char *inside = translate(target, path, error);
    if (!inside)
        return false;
    g_autofree char *parent = g_path_get_dirname(inside);
    struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
    place->leaf = g_path_get_basename(inside);
    place->parent = (int)syscall(SYS_openat2, target->folder, parent, &how, sizeof how);
    return place->parent >= 0 || fail(inside, "enter the directory of", error);
}

static mode_t mode_of(Entry *entry)
{
    return archive_entry_perm(entry) & 0777;
}

/* The user stays able to write to it, as what is in it comes later. */
static bool make_directory(const Place *place, Entry *entry, GError **error)
{
    struct stat st;
    if (mkdirat(place->parent, place->leaf, mode_of(entry) | 0700) == 0)
        return true;
    int errnum = errno;
    if (errnum == EEXIST && fstatat(place->parent, place->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISDIR(st.st_mode))
        return true;
    errno = errnum;
    return fail(place->leaf, "make directory", error);
}

static bool write_at(int fd, const void *data, gsize size, off_t at)
{
    for (gsize done = 0; done < size;) {
        ssize_t n = pwrite(fd, (const char *)data + done, size - done, at + (off_t)done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        done += (gsize)n;
    }
    return true;
}

static bool write_content(Reader *reader, int fd, const char *name, off_t size, GError **error)
{
    const void *data;
    size_t n;
    la_int64_t at;
    int got;
    while ((got = archive_read_data_block(reader, &data, &n, &at)) == ARCHIVE_OK)
        if (!write_at(fd, data, n, at))
            return fail(name, "write", error);
    if (got != ARCHIVE_EOF) {
        g_autofree char *shown = g_strescape(name, NULL);
        return vt_error_set(error, VT_ERROR_GUEST, "what the guest sent of '%s' ends too early",
                            shown);
    }
    return ftruncate(fd, size) == 0 || fail(name, "write", error);
}

/* A pipe or a device that is there already is nothing to write to. */
static bool make_file(const Place *place, Reader *reader, Entry *entry, GError **error)
{
    struct stat st;
    const struct timespec times[2] = {{.tv_nsec = UTIME_NOW},
                                      {.tv_sec = archive_entry_mtime(entry)}};
    vt_autofd fd =
        openat(place->parent, place->leaf,
               O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, mode_of(entry));
    if (fd < 0 || fstat(fd, &st) < 0)
        return fail(place->leaf, "write", error);
    if (!S_ISREG(st.st_mode)) {
        g_autofree char *shown = g_strescape(place->leaf, NULL);
        return vt_error_set(error, VT_ERROR_HOST, "'%s' is there, and is no file", shown);
    }
    if (!write_content(reader, fd, place->leaf, archive_entry_size(entry), error))
        return false;
    futimens(fd, times);
    return true;
}

static bool make_link(const Place *place, Entry *entry, GError **error)
{
    const char *target = archive_entry_symlink(entry);
    struct stat st;
    if (target && fstatat(place->parent, place->leaf, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISLNK(st.st_mode))
        unlinkat(place->parent, place->leaf, 0);
    return (target && symlinkat(target, place->parent, place->leaf) == 0) ||
           fail(place->leaf, "make link", error);
}

/* A second name of what has come before, and of nothing else. */
static bool make_hard_link(const Target *target, const Place *place, Entry *entry, GError **error)
{
    g_auto(Place) first = {.parent = -1};
    if (!find_place(target, archive_entry_hardlink(entry), &first, error))
        return false;
    unlinkat(place->parent, place->leaf, 0);
    return linkat(first.parent, first.leaf, place->parent, place->leaf, 0) == 0 ||
           fail(place->leaf, "make link", error);
}

static bool unpack_entry(const Target *target, Reader *reader, Entry *entry, GError **error)
{
    const char *path = archive_entry_pathname(entry);
    g_auto(Place) place = {.parent = -1};
    if (!find_place(target, path, &place, error))
        return false;
    if (archive_entry_hardlink(entry))
        return make_hard_link(target, &place, entry, error);
    switch (archive_entry_filetype(entry)) {
    case AE_IFDIR:
        return make_directory(&place, entry, error);
    case AE_IFREG:
        return make_file(&place, reader, entry, error);
    case AE_IFLNK:
        return make_link(&place, entry, error);
    default:
        return refuse(path, "is no file, directory or link", error);
    }
}

bool vt_tar_unpack(int fd, const char *base, int folder, const char *name, GError **error)
{
    const Target target = {base, name, folder};
    g_autoptr(Reader) reader = archive_read_new();
    Entry *entry;
    int got;
    /* One format, and nothing that is compressed: less to be misled by. */
    if (archive_read_support_format_tar(reader) != ARCHIVE_OK ||
        archive_read_open_fd(reader, fd, PIECE) != ARCHIVE_OK)
        return vt_error_set(error, VT_ERROR_GUEST, "what the guest sent is no tar stream");
    while ((got = archive_read_next_header(reader, &entry)) == ARCHIVE_OK || got == ARCHIVE_WARN)
        if (!unpack_entry(&target, reader, entry, error))
            return false;
    return got == ARCHIVE_EOF ||
           vt_error_set(error, VT_ERROR_GUEST, "what the guest sent is no tar stream");
}

static bool fail_archive(Reader *which, const char *path, GError **error)
{
    const char *why = archive_error_string(which);
    return vt_error_set(error, VT_ERROR_USER, "cannot copy '%s': %s", path, why ? why : "?");
}

static bool pack_content(Reader *writer, const char *path, GError **error)
{
    g_autofree char *piece = g_malloc(PIECE);
    ssize_t n;
    vt_autofd fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read '%s'", path);
    while ((n = read(fd, piece, PIECE)) > 0)
        if (archive_write_data(writer, piece, (size_t)n) < 0)
            return fail_archive(writer, path, error);
    return n == 0 || vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read '%s'", path);
}

static bool pack_entry(Reader *writer, Entry *entry, const char *path, const char *name,
                       GError **error)
{
    g_autofree char *source = g_strdup(archive_entry_pathname(entry));
    g_autofree char *inside = g_strconcat(name, source + strlen(path), NULL);
    mode_t type = archive_entry_filetype(entry);
    if (type != AE_IFREG && type != AE_IFDIR && type != AE_IFLNK) {
        g_printerr("vmgr: note: '%s' is no file, directory or link: left out\n", source);
        return true;
    }
    archive_entry_set_pathname(entry, inside);
    if (type != AE_IFREG)
        archive_entry_set_size(entry, 0);
    if (archive_write_header(writer, entry) != ARCHIVE_OK)
        return fail_archive(writer, source, error);
    return type != AE_IFREG || pack_content(writer, source, error);
}

static bool pack_all(Reader *disk, Reader *writer, const char *path, const char *name,
                     GError **error)
{
    g_autoptr(Entry) entry = archive_entry_new();
    int got;
    while ((got = archive_read_next_header2(disk, entry)) == ARCHIVE_OK) {
        archive_read_disk_descend(disk);
        if (!pack_entry(writer, entry, path, name, error))
            return false;
        archive_entry_clear(entry);
    }
    return got == ARCHIVE_EOF || fail_archive(disk, path, error);
}

bool vt_tar_pack(const char *path, const char *name, int fd, GError **error)
{
    struct stat st;
    /* libarchive would say so later, and less. */
    if (lstat(path, &st) < 0)
        return vt_error_set_errno(error, VT_ERROR_USER, errno, "cannot read '%s'", path);
    g_autoptr(Reader) disk = archive_read_disk_new();
    Reader *writer = archive_write_new();
    archive_read_disk_set_symlink_physical(disk);
    archive_read_disk_set_behavior(disk, ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_XATTR |
                                             ARCHIVE_READDISK_NO_FFLAGS);
    archive_write_set_format_gnutar(writer);
    archive_write_set_bytes_in_last_block(writer, 1);
    bool ok = archive_read_disk_open(disk, path) == ARCHIVE_OK || fail_archive(disk, path, error);
    ok = ok &&
         (archive_write_open_fd(writer, fd) == ARCHIVE_OK || fail_archive(writer, path, error));
    ok = ok && pack_all(disk, writer, path, name, error);
    /* A stream that is cut short is no archive to whoever reads it. */
    if (ok)
        ok = archive_write_close(writer) == ARCHIVE_OK || fail_archive(writer, path, error);
    else
        archive_write_fail(writer);
    archive_write_free(writer);
    return ok;
}
