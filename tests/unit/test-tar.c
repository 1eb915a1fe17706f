/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-tar.c - what a guest may send in place of the files that were asked for. */
#include "cli/tar.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"

#define TEXT "content\n"

typedef struct {
    const char *name;
    mode_t mode; /* 0: a hard link */
    const char *link;
} Sent;

typedef struct {
    const char *label;
    Sent sent[4];
    const char *message; /* a pattern; NULL: all is well */
} Row;

static const Row rows[] = {
    {"file", {{"b", S_IFREG | 0644}}, NULL},
    {"tree", {{"b/", S_IFDIR | 0755}, {"b/c", S_IFREG | 0600}, {"b/l", S_IFLNK | 0777, "c"}}, NULL},
    {"names", {{"b", S_IFDIR | 0755}, {"b/c", S_IFREG | 0600}, {"b/h", 0, "b/c"}}, NULL},
    {"absolute", {{"/b", S_IFREG | 0644}}, "the guest sent '/b', which was not asked for"},
    {"another", {{"c", S_IFREG | 0644}}, "*'c', which was not asked for"},
    {"longer", {{"bc", S_IFREG | 0644}}, "*'bc', which was not asked for"},
    {"empty", {{"b", S_IFDIR | 0755}, {"b//c", S_IFREG | 0644}}, "*not asked for"},
    {"up", {{"../b", S_IFREG | 0644}}, "*not asked for"},
    {"up again", {{"b", S_IFDIR | 0755}, {"b/../../x", S_IFREG | 0644}}, "*not asked for"},
    {"here", {{"b", S_IFDIR | 0755}, {"b/./x", S_IFREG | 0644}}, "*not asked for"},
    {"through a link",
     {{"b", S_IFDIR | 0755}, {"b/l", S_IFLNK | 0777, "../../outside"}, {"b/l/x", S_IFREG | 0644}},
     "cannot enter the directory of 'to/l/x': *"},
    {"into a link",
     {{"b", S_IFLNK | 0777, "../outside/x"}, {"b", S_IFREG | 0644}},
     "cannot write *"},
    {"link as a directory",
     {{"b", S_IFLNK | 0777, "../outside"}, {"b", S_IFDIR | 0755}, {"b/x", S_IFREG | 0644}},
     "cannot make directory 'to': *"},
    {"other's names", {{"b", S_IFDIR | 0755}, {"b/h", 0, "../outside/kept"}}, "*not asked for"},
    {"absolute names", {{"b", S_IFDIR | 0755}, {"b/h", 0, "/etc/passwd"}}, "*not asked for"},
    {"names through a link",
     {{"b", S_IFDIR | 0755}, {"b/l", S_IFLNK | 0777, "../../outside"}, {"b/h", 0, "b/l/kept"}},
     "cannot enter *"},
    {"pipe", {{"b", S_IFIFO | 0644}}, "*'b', which is no file, directory or link"},
    {"device", {{"b", S_IFCHR | 0644}}, "*'b', which is no file, directory or link"},
    {"escapes", {{"b\033[2J", S_IFREG | 0644}}, "the guest sent 'b\\033[2J', *"},
};

static void write_entry(struct archive *writer, const Sent *sent)
{
    struct archive_entry *entry = archive_entry_new();
    bool has_text = S_ISREG(sent->mode);
    archive_entry_set_pathname(entry, sent->name);
    archive_entry_set_mode(entry, sent->mode ? sent->mode : S_IFREG);
    archive_entry_set_size(entry, has_text ? (la_int64_t)strlen(TEXT) : 0);
    if (S_ISLNK(sent->mode))
        archive_entry_set_symlink(entry, sent->link);
    else if (sent->link)
        archive_entry_set_hardlink(entry, sent->link);
    g_assert_cmpint(archive_write_header(writer, entry), ==, ARCHIVE_OK);
    if (has_text)
        g_assert_cmpint(archive_write_data(writer, TEXT, strlen(TEXT)), ==, strlen(TEXT));
    archive_entry_free(entry);
}

static int make_stream(const Sent *sent, gsize n)
{
    int fd = memfd_create("stream", MFD_CLOEXEC);
    struct archive *writer = archive_write_new();
    archive_write_set_format_gnutar(writer);
    g_assert_cmpint(archive_write_open_fd(writer, fd), ==, ARCHIVE_OK);
    for (gsize i = 0; i < n && sent[i].name; i++)
        write_entry(writer, &sent[i]);
    g_assert_cmpint(archive_write_free(writer), ==, ARCHIVE_OK);
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* A folder with `into`, where things are put, and `outside`, which nothing may reach. (transfer
 * full) */
static char *make_place(int *into)
{
    char *top = g_dir_make_tmp("vtt-tar-XXXXXX", NULL);
    g_autofree char *inside = g_build_filename(top, "into", NULL);
    g_autofree char *outside = g_build_filename(top, "outside", NULL);
    g_autofree char *kept = g_build_filename(outside, "kept", NULL);
    g_assert_cmpint(mkdir(inside, 0755), ==, 0);
    g_assert_cmpint(mkdir(outside, 0755), ==, 0);
    g_assert_true(g_file_set_contents(kept, "kept", -1, NULL));
    *into = open(inside, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return top;
}

/* Removes it, and says what there was outside. (transfer full) */
static char *remove_place(char *top, int into)
{
    char *out = NULL;
    g_autofree char *command = g_strdup_printf(
        "cd %s && ls outside | tr '\\n' ' '; stat -c %%h outside/kept; cat outside/kept; rm -rf %s",
        top, top);
    const char *const argv[] = {"sh", "-c", command, NULL};
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out,
                               NULL, NULL, NULL));
    close(into);
    g_free(top);
    return out;
}

static void check(const Row *row)
{
    int into;
    char *top = make_place(&into);
    g_autoptr(GError) error = NULL;
    int fd = make_stream(row->sent, G_N_ELEMENTS(row->sent));
    bool ok = vt_tar_unpack(fd, "b", into, "to", &error);
    close(fd);
    g_test_message("%s: %s", row->label, error ? error->message : "ok");
    g_assert_cmpint(ok, ==, row->message == NULL);
    if (row->message && !g_pattern_match_simple(row->message, error->message))
        g_error("%s: '%s' is not '%s'", row->label, error->message, row->message);
    g_autofree char *outside = remove_place(top, into);
    g_assert_cmpstr(outside, ==, "kept 1\nkept");
}

static void test_rows(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        check(&rows[i]);
}

static void test_mode(void)
{
    static const Sent sent = {"b", S_IFREG | 07755, NULL};
    struct stat st;
    int into;
    char *top = make_place(&into);
    int fd = make_stream(&sent, 1);
    umask(022);
    g_assert_true(vt_tar_unpack(fd, "b", into, "to", NULL));
    g_assert_cmpint(fstatat(into, "to", &st, 0), ==, 0);
    g_assert_cmpint(st.st_mode & 07777, ==, 0755);
    g_assert_cmpint(st.st_size, ==, strlen(TEXT));
    close(fd);
    g_free(remove_place(top, into));
}

static void test_there(void)
{
    static const Sent sent = {"b", S_IFREG | 0644, NULL};
    int into;
    char *top = make_place(&into);
    g_autoptr(GError) error = NULL;
    /* What is there is no way out, and nothing to wait for. */
    int fd = make_stream(&sent, 1);
    g_assert_cmpint(symlinkat("../outside/kept", into, "to"), ==, 0);
    g_assert_false(vt_tar_unpack(fd, "b", into, "to", &error));
    g_clear_error(&error);
    g_assert_cmpint(unlinkat(into, "to", 0), ==, 0);
    g_assert_cmpint(mkfifoat(into, "to", 0600), ==, 0);
    lseek(fd, 0, SEEK_SET);
    g_assert_false(vt_tar_unpack(fd, "b", into, "to", &error));
    g_clear_error(&error);
    close(fd);
    g_autofree char *outside = remove_place(top, into);
    g_assert_cmpstr(outside, ==, "kept 1\nkept");
}

static void test_cut(void)
{
    static const Sent sent[] = {{"b", S_IFREG | 0644, NULL}};
    int into;
    char *top = make_place(&into);
    for (off_t size = 1; size < 1024; size += 73) {
        g_autoptr(GError) error = NULL;
        int fd = make_stream(sent, 1);
        g_assert_cmpint(ftruncate(fd, size), ==, 0);
        bool ok = vt_tar_unpack(fd, "b", into, "to", &error);
        g_assert_cmpint(ok, ==, size >= 512 + (off_t)strlen(TEXT) && ok);
        g_assert_cmpint(ok, ==, error == NULL);
        close(fd);
    }
    g_free(remove_place(top, into));
}

static void test_pack(void)
{
    int into;
    char *top = make_place(&into);
    g_autofree char *from = g_build_filename(top, "outside", NULL);
    g_autofree char *copy = g_build_filename(top, "into", "copy", "kept", NULL);
    g_autofree char *text = NULL;
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("stream", MFD_CLOEXEC);
    vt_tar_pack(from, "b", fd, &error);
    g_assert_no_error(error);
    lseek(fd, 0, SEEK_SET);
    vt_tar_unpack(fd, "b", into, "copy", &error);
    g_assert_no_error(error);
    g_assert_true(g_file_get_contents(copy, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "kept");
    g_assert_false(vt_tar_pack("/nonexistent", "b", fd, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    close(fd);
    g_free(remove_place(top, into));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/tar/hostile", test_rows);
    g_test_add_func("/tar/mode", test_mode);
    g_test_add_func("/tar/there", test_there);
    g_test_add_func("/tar/cut", test_cut);
    g_test_add_func("/tar/pack", test_pack);
    return g_test_run();
}
