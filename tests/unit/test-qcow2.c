/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-qcow2.c - headers that are refused, one wrong field each; QEMU's own images; and
 * what QEMU says of the disks that we make.
 */
#include "image/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/size.h"

#define QEMU "qemu-system-x86_64"

static int new_disk(guint64 size)
{
    g_autoptr(GError) error = NULL;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    vt_qcow2_make(fd, size, &error);
    g_assert_no_error(error);
    return fd;
}

static void assert_refused(int fd, const char *why)
{
    g_autoptr(GError) error = NULL;
    guint64 size = 4711;
    g_assert_false(vt_qcow2_check(fd, &size, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, why));
    g_assert_cmpuint(size, ==, 4711);
}

static void assert_taken(int fd, guint64 wanted)
{
    g_autoptr(GError) error = NULL;
    guint64 size = 0;
    vt_qcow2_check(fd, &size, &error);
    g_assert_no_error(error);
    g_assert_cmpuint(size, ==, wanted);
}

/* `bytes` of a good disk of 1 GiB replaced by `value`, highest byte first. */
typedef struct {
    const char *name;
    guint offset, bytes;
    guint64 value;
    const char *why; /* NULL: is taken */
} Field;

#define CUT_OFF "the qcow2 file is cut off"

static const Field fields[] = {
    {"magic", 0, 4, 0x514649fa, "is missing"},
    {"magic-of-vmdk", 0, 4, 0x4b444d56, "is missing"},
    {"version-1", 4, 4, 1, "version that is not 2 or 3"},
    {"version-4", 4, 4, 4, "version that is not 2 or 3"},
    {"version-0x3000000", 4, 4, 0x03000000, "version that is not 2 or 3"},
    {"backing-file", 8, 8, 1024, "names a backing file"},
    {"backing-file-far-away", 8, 8, G_MAXUINT64, "names a backing file"},
    {"backing-name-without-place", 16, 4, 11, "names a backing file"},
    {"clusters-of-256", 20, 4, 8, "clusters of a size"},
    {"clusters-of-4M", 20, 4, 22, "clusters of a size"},
    {"clusters-of-2-to-the-4G", 20, 4, G_MAXUINT32, "clusters of a size"},
    {"clusters-without-bits", 20, 4, 0, "clusters of a size"},
    {"size-0", 24, 8, 0, "has no size"},
    {"size-negative", 24, 8, G_MAXUINT64, "too large a one"},
    {"size-8E", 24, 8, (guint64)1 << 63, "too large a one"},
    {"size-beyond-table", 24, 8, 2 * VT_GIB, "does not fit its size"},
    {"size-less-than-table", 24, 8, 512, NULL},
    {"size-half-a-sector", 24, 8, 700, NULL}, /* a record cannot say so */
    {"aes", 32, 4, 1, "encrypted"},
    {"luks", 32, 4, 2, "encrypted"},
    {"l1-of-none", 36, 4, 0, "does not fit its size"},
    {"l1-of-one", 36, 4, 1, "does not fit its size"},
    {"l1-to-the-end", 36, 4, 8192, NULL},
    {"l1-past-the-end", 36, 4, 8193, "not in the file"},
    {"l1-of-32M", 36, 4, 4 * 1024 * 1024, "not in the file"},
    {"l1-of-more", 36, 4, 4 * 1024 * 1024 + 1, "does not fit its size"},
    {"l1-of-32G", 36, 4, G_MAXUINT32, "does not fit its size"},
    {"l1-in-header", 40, 8, 0, "not in the file"},
    {"l1-unaligned", 40, 8, 3 * 65536 + 512, "not in the file"},
    {"l1-behind-the-end", 40, 8, 4 * 65536, "not in the file"},
    {"l1-around-the-world", 40, 8, G_MAXUINT64 - 65535, "not in the file"},
    {"counts-in-header", 48, 8, 0, "reference counts that are not in"},
    {"counts-unaligned", 48, 8, 65536 + 1, "reference counts that are not in"},
    {"counts-behind-the-end", 48, 8, 4 * 65536, "reference counts that are not in"},
    {"counts-around-the-world", 48, 8, G_MAXUINT64 - 65535, "reference counts that are not in"},
    {"counts-where-there-are-none", 48, 8, 3 * 65536, "has no reference counts"},
    {"counts-of-none", 56, 4, 0, "has no reference counts"},
    {"counts-past-the-end", 56, 4, 4, "reference counts that are not in"},
    {"counts-of-more-than-8M", 56, 4, 129, "too many reference counts"},
    {"counts-of-256T", 56, 4, G_MAXUINT32, "too many reference counts"},
    {"saved-states", 60, 4, 1, "saved states"},
    {"dirty", 72, 8, 1, "not closed"},
    {"corrupt", 72, 8, 2, "corrupt"},
    {"data-file", 72, 8, 4, "names a data file"},
    {"compression-of-no-name", 72, 8, 8, "not zlib or zstd"},
    {"subclusters", 72, 8, 16, "feature that we do not know"},
    {"feature-5", 72, 8, 32, "feature that we do not know"},
    {"feature-63", 72, 8, (guint64)1 << 63, "feature that we do not know"},
    {"all-features", 72, 8, G_MAXUINT64, "names a data file"},
    {"lazy-counts", 80, 8, 1, NULL}, /* compatible */
    {"cleared-feature", 88, 8, 4, NULL},
    {"counts-of-1-bit", 96, 4, 0, CUT_OFF},
    {"counts-of-64-bits", 96, 4, 6, NULL},
    {"counts-of-128-bits", 96, 4, 7, "more than 64 bits"},
    {"counts-of-too-many-bits", 96, 4, G_MAXUINT32, "more than 64 bits"},
    {"length-0", 100, 4, 0, "wrong length"},
    {"length-96", 100, 4, 96, "wrong length"},
    {"length-105", 100, 4, 105, "wrong length"},
    {"length-of-a-cluster", 100, 4, 65536, NULL},
    {"length-of-more", 100, 4, 65544, "wrong length"},
    {"length-4G", 100, 4, G_MAXUINT32 - 7, "wrong length"},
    {"extension-data-file", 104, 8, 0x4441544100000000u, "data file or a key"},
    {"extension-key", 104, 8, 0x0537be7700000010u, "data file or a key"},
    {"extension-longer-than-all", 104, 8, 0x12345678ffffffffu, "longer than itself"},
    {"extension-to-the-end", 104, 8, 0x1234567800000000u + 65536 - 112, NULL},
    {"extension-past-the-end", 104, 8, 0x1234567800000000u + 65536 - 111, "longer than itself"},
    {"block-of-none", 65536, 8, 0, "has no reference counts"},
    {"block-behind-the-end", 65536, 8, 4 * 65536, CUT_OFF},
    {"block-in-header", 65536, 8, 512, CUT_OFF},
    {"block-around-the-world", 65536, 8, G_MAXUINT64, CUT_OFF},
    {"last-block-behind-the-end", 2 * 65536 - 8, 8, 4 * 65536, CUT_OFF},
    {"last-block-counts-what-is-not", 2 * 65536 - 8, 8, 2 * 65536, CUT_OFF},
    {"cluster-behind-the-end", 2 * 65536 + 8, 2, 1, CUT_OFF},
    {"last-cluster-of-all", 3 * 65536 - 2, 2, 1, CUT_OFF},
};

static void patch(int fd, guint offset, guint bytes, guint64 value)
{
    for (guint i = 0; i < bytes; i++) {
        guint8 byte = (guint8)(value >> 8 * (bytes - 1 - i));
        g_assert_cmpint(pwrite(fd, &byte, 1, offset + i), ==, 1);
    }
}

static void test_field(gconstpointer data)
{
    const Field *field = data;
    vt_autofd fd = new_disk(VT_GIB);
    patch(fd, field->offset, field->bytes, field->value);
    if (field->why) {
        assert_refused(fd, field->why);
        return;
    }
    guint64 size;
    g_autoptr(GError) error = NULL;
    vt_qcow2_check(fd, &size, &error);
    g_assert_no_error(error);
}

/* Zstandard is a bit and a field that go together. */
static void test_compression(void)
{
    vt_autofd fd = new_disk(VT_GIB);
    patch(fd, 100, 4, 112);
    patch(fd, 104, 1, 1);
    assert_refused(fd, "not zlib or zstd");
    patch(fd, 72, 8, 8);
    assert_taken(fd, VT_GIB);
    patch(fd, 104, 1, 2);
    assert_refused(fd, "not zlib or zstd");
}

static void test_lengths(void)
{
    static const guint64 lengths[] = {0,   1,     4,     71,     72,     103,
                                      104, 65535, 65536, 131072, 196608, 262143};
    for (gsize i = 0; i < G_N_ELEMENTS(lengths); i++) {
        vt_autofd fd = new_disk(VT_GIB);
        g_assert_cmpint(ftruncate(fd, (off_t)lengths[i]), ==, 0);
        g_test_message("%" G_GUINT64_FORMAT " bytes", lengths[i]);
        if (lengths[i] == 262143) /* in the first table's unused part */
            assert_taken(fd, VT_GIB);
        else
            assert_refused(fd, "qcow2");
    }
}

static void test_no_file(void)
{
    vt_autofd directory = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_refused(directory, "qcow2 header");
    vt_autofd write_only = open("/dev/null", O_WRONLY | O_CLOEXEC);
    assert_refused(write_only, "is missing");
    assert_refused(-1, "cannot read the qcow2 header");
}

/* Runs a shell's line in a new directory; its output. Every test that needs QEMU fails without. */
static char *shell(const char *folder, const char *line)
{
    g_autoptr(GError) error = NULL;
    char *argv[] = {(char *)"sh", (char *)"-ec", (char *)line, NULL}, *out = NULL;
    g_autofree char *err = NULL;
    int status;
    /* On a busy machine qemu-img cannot always measure how fast its cipher is. */
    do {
        g_clear_pointer(&out, g_free);
        g_clear_pointer(&err, g_free);
        g_spawn_sync(folder, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, &out, &err, &status,
                     &error);
        g_assert_no_error(error);
    } while (status != 0 && strstr(err, "Unable to get accurate CPU usage"));
    if (status != 0)
        g_test_message("%s: %s%s", line, out, err);
    g_assert_cmpint(status, ==, 0);
    return out;
}

/* In memory where there is room: qemu-img waits for the disk each time. */
static char *new_folder(void)
{
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : g_get_tmp_dir();
    char *folder = g_build_filename(parent, "vtorque-qcow2-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(folder));
    return folder;
}

static void remove_folder(char *folder)
{
    g_autofree char *line = g_strdup_printf("rm -r '%s'", folder);
    g_free(shell("/", line));
    g_free(folder);
}

static int open_in(const char *folder, const char *name)
{
    g_autofree char *path = g_build_filename(folder, name, NULL);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* What qemu-img makes: ./image. */
typedef struct {
    const char *name, *line;
    const char *why; /* NULL: a disk of 8 MiB */
} Made;

#define CONTENT "head -c 3000000 /dev/urandom >raw; truncate -s 8M raw; "

static const Made made[] = {
    {"default", "qemu-img create -f qcow2 image 8M", NULL},
    {"version-2", "qemu-img create -f qcow2 -o compat=0.10 image 8M", NULL},
    {"lazy-counts", "qemu-img create -f qcow2 -o lazy_refcounts=on image 8M", NULL},
    {"clusters-512", "qemu-img create -f qcow2 -o cluster_size=512 image 8M", NULL},
    {"clusters-2M", "qemu-img create -f qcow2 -o cluster_size=2M image 8M", NULL},
    {"counts-of-1-bit", "qemu-img create -f qcow2 -o refcount_bits=1 image 8M", NULL},
    {"counts-of-64-bits", "qemu-img create -f qcow2 -o refcount_bits=64 image 8M", NULL},
    {"metadata", "qemu-img create -f qcow2 -o preallocation=metadata image 8M", NULL},
    {"falloc", "qemu-img create -f qcow2 -o preallocation=falloc image 8M", NULL},
    {"full", "qemu-img create -f qcow2 -o preallocation=full image 8M", NULL},
    {"resized", "qemu-img create -f qcow2 image 1M; qemu-img resize -q image 8M", NULL},
    {"content", CONTENT "qemu-img convert -O qcow2 raw image", NULL},
    {"content-512", CONTENT "qemu-img convert -O qcow2 -o cluster_size=512 raw image", NULL},
    {"content-1-bit",
     CONTENT "qemu-img convert -O qcow2 -o cluster_size=512,refcount_bits=1 raw image", NULL},
    {"zlib", CONTENT "qemu-img convert -c -O qcow2 raw image", NULL},
    {"zstd", CONTENT "qemu-img convert -c -O qcow2 -o compression_type=zstd raw image", NULL},
    {"written", "qemu-img create -f qcow2 image 8M; qemu-io -c 'write 7M 1M' image", NULL},
    {"discarded",
     "qemu-img create -f qcow2 image 8M; qemu-io -c 'write 0 8M' -c 'discard 0 8M' image", NULL},
    {"bitmap", "qemu-img create -f qcow2 image 8M; qemu-img bitmap --add image b", NULL},
    {"backing-file",
     "qemu-img create -f raw base 8M; qemu-img create -f qcow2 -F raw -b base image",
     "backing file"},
    {"backing-file-etc-passwd",
     "qemu-img create -f qcow2 image 8M; qemu-img rebase -u -F raw -b /etc/passwd image",
     "backing file"},
    {"backing-file-by-network",
     "qemu-img create -f qcow2 image 8M; qemu-img rebase -u -F raw -b nbd://127.0.0.1 image",
     "backing file"},
    {"data-file", "qemu-img create -f qcow2 -o data_file=data image 8M", "names a data file"},
    {"data-file-raw", "qemu-img create -f qcow2 -o data_file=data,data_file_raw=on image 8M",
     "names a data file"},
    {"snapshot", "qemu-img create -f qcow2 image 8M; qemu-img snapshot -c s image", "saved states"},
    {"subclusters", "qemu-img create -f qcow2 -o extended_l2=on image 8M", "do not know"},
    {"length-of-two-clusters",
     "qemu-img create -f qcow2 -o cluster_size=512 image 8M; "
     "printf '\\0\\0\\4\\0' | dd of=image bs=1 seek=100 conv=notrunc status=none",
     "wrong length"},
    {"length-of-128K",
     "qemu-img create -f qcow2 -o cluster_size=2M image 8M; "
     "printf '\\0\\2\\0\\0' | dd of=image bs=1 seek=100 conv=notrunc status=none",
     "wrong length"},
    {"luks",
     "qemu-img create -f qcow2 --object secret,id=s,data=x "
     "-o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 image 8M",
     "encrypted"},
    {"cut-off", CONTENT "qemu-img convert -O qcow2 raw image; truncate -s -65536 image", CUT_OFF},
    {"cut-off-half", CONTENT "qemu-img convert -O qcow2 raw image; truncate -s 1500000 image",
     CUT_OFF},
    {"cut-off-512",
     CONTENT "qemu-img convert -O qcow2 -o cluster_size=512 raw image; truncate -s -512 image",
     CUT_OFF},
    {"cut-off-zstd",
     CONTENT "qemu-img convert -c -O qcow2 -o compression_type=zstd raw image; "
             "truncate -s -131072 image",
     CUT_OFF},
    {"raw", "truncate -s 8M image", "is missing"},
    {"qcow", "qemu-img create -f qcow image 8M", "not 2 or 3"},
    {"vmdk", "qemu-img create -f vmdk image 8M", "is missing"},
    {"qed", "qemu-img create -f qed image 8M", "is missing"},
    {"text", "echo QFI >image", "is missing"},
};

static void test_made(gconstpointer data)
{
    const Made *row = data;
    char *folder = new_folder();
    g_free(shell(folder, row->line));
    vt_autofd fd = open_in(folder, "image");
    if (row->why)
        assert_refused(fd, row->why);
    else
        assert_taken(fd, 8 * VT_MIB);
    remove_folder(folder);
}

typedef struct {
    const char *name;
    guint64 size;
} Size;

static const Size sizes[] = {
    {"512", 512},           {"1K", VT_KIB},
    {"64K", 64 * VT_KIB},   {"64K+512", 64 * VT_KIB + 512},
    {"512M", 512 * VT_MIB}, {"512M+512", 512 * VT_MIB + 512},
    {"10G", 10 * VT_GIB},   {"1T", VT_TIB},
    {"4T", 4 * VT_TIB},     {"4T+512", 4 * VT_TIB + 512},
    {"1P", 1024 * VT_TIB},
};

/* QEMU finds nothing wrong, and the size that was asked for. */
static void test_make(gconstpointer data)
{
    const Size *row = data;
    char *folder = new_folder();
    g_autofree char *path = g_build_filename(folder, "disk", NULL);
    vt_autofd fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    g_autoptr(GError) error = NULL;
    vt_qcow2_make(fd, row->size, &error);
    g_assert_no_error(error);
    assert_taken(fd, row->size);
    /* An entry of the table for each 512 MiB begun, as QEMU makes it. */
    guint32 entries;
    g_assert_cmpint(pread(fd, &entries, sizeof entries, 36), ==, sizeof entries);
    g_assert_cmpuint(GUINT32_FROM_BE(entries), ==, (row->size + 512 * VT_MIB - 1) / (512 * VT_MIB));
    struct stat st;
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_blocks * 512, <=, (gint64)(256 * VT_KIB));

    g_autofree char *text =
        shell(folder, "qemu-img check -q -f qcow2 disk; qemu-img info --output=json -f qcow2 disk");
    json_t *info = json_loads(text, 0, NULL);
    g_assert_cmpint(json_integer_value(json_object_get(info, "virtual-size")), ==,
                    (gint64)row->size);
    g_assert_null(json_object_get(info, "backing-filename"));
    json_t *more = json_object_get(json_object_get(info, "format-specific"), "data");
    g_assert_cmpstr(json_string_value(json_object_get(more, "compat")), ==, "1.1");
    g_assert_true(json_is_false(json_object_get(more, "lazy-refcounts")));
    json_decref(info);
    remove_folder(folder);
}

static void test_make_wrong(void)
{
    static const guint64 wrong[] = {0, 1, 511, 513, 2048 * VT_TIB + 512, G_MAXUINT64};
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        vt_autofd fd = memfd_create("disk", MFD_CLOEXEC);
        g_assert_false(vt_qcow2_make(fd, wrong[i], &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_INTERNAL);
        g_assert_cmpint(lseek(fd, 0, SEEK_END), ==, 0);
    }
    g_autoptr(GError) error = NULL;
    vt_autofd read_only = open("/dev/null", O_RDONLY | O_CLOEXEC);
    g_assert_false(vt_qcow2_make(read_only, VT_GIB, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
}

/* What a QEMU without a machine says to `commands`, with the disk as node "disk" over `base`. */
static char *ask_qemu(int disk, int base, const char *format, const char *commands)
{
    enum { DISK = 20, BASE };
    g_autofree char *lower =
        g_strdup_printf("{\"driver\":\"%s\",\"node-name\":\"base\",\"read-only\":true,"
                        "\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fdset/2\"}}",
                        format);
    const char *argv[] = {QEMU,
                          "-machine",
                          "none",
                          "-nodefaults",
                          "-display",
                          "none",
                          "-qmp",
                          "stdio",
                          "-add-fd",
                          "fd=20,set=1",
                          "-add-fd",
                          "fd=21,set=2",
                          "-blockdev",
                          lower,
                          "-blockdev",
                          "{\"driver\":\"qcow2\",\"node-name\":\"disk\",\"backing\":\"base\","
                          "\"file\":{\"driver\":\"file\",\"filename\":\"/dev/fdset/1\"}}",
                          NULL};
    const int from[] = {disk, base}, to[] = {DISK, BASE};
    g_autoptr(GError) error = NULL;
    int in, out;
    g_spawn_async_with_pipes_and_fds(NULL, argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, -1, -1, -1,
                                     from, to, 2, NULL, &in, &out, NULL, &error);
    g_assert_no_error(error);
    vt_autofd input = in, output = out;
    g_assert_true(vt_fd_write_all(input, commands, strlen(commands), NULL));
    g_autoptr(GBytes) answer = vt_fd_read_all(output, VT_MIB, "QEMU", &error);
    g_assert_no_error(error);
    return g_strdup(g_bytes_get_data(answer, NULL));
}

#define IO(line)                                                                                   \
    "{\"execute\":\"human-monitor-command\",\"arguments\":{\"command-line\":\"qemu-io disk "       \
    "\\\"" line "\\\"\"}}"

/* A guest's disk: what is written goes to the scratch file, the rest comes from the image below. */
static void test_overlay(gconstpointer data)
{
    const char *format = data;
    char *folder = new_folder();
    g_autofree char *line = g_strdup_printf("head -c 1M /dev/zero | tr '\\0' B >raw; truncate -s "
                                            "8M raw; qemu-img convert -O %s raw base; "
                                            "sha256sum base >sum; chmod 444 base",
                                            format);
    g_free(shell(folder, line));
    g_autofree char *path = g_build_filename(folder, "base", NULL);
    vt_autofd base = open(path, O_RDONLY | O_CLOEXEC);
    vt_autofd disk = new_disk(8 * VT_MIB);
    g_autofree char *answer =
        ask_qemu(disk, base, format,
                 "{\"execute\":\"qmp_capabilities\"}" IO("read -P 66 0 1M")
                     IO("write -P 67 64k 64k") IO("read -P 67 64k 64k") IO("read -P 66 128k 64k")
                         IO("flush") "{\"execute\":\"quit\"}");
    g_test_message("%s", answer);
    g_assert_null(strstr(answer, "error"));
    g_assert_null(strstr(answer, "fail"));
    g_assert_nonnull(strstr(answer, "SHUTDOWN"));
    g_free(shell(folder, "sha256sum -c --quiet sum"));
    assert_taken(disk, 8 * VT_MIB);
    guint8 header[104];
    g_assert_cmpint(pread(disk, header, sizeof header, 0), ==, sizeof header);
    g_assert_cmpint(header[15] | header[14] | header[13] | header[12], ==,
                    0); /* still no backing name */
    g_assert_cmpint(lseek(disk, 0, SEEK_END), >, 4 * 65536);
    remove_folder(folder);
}

/* ... and ask_qemu() tells when QEMU does not. */
static void test_overlay_wrong(void)
{
    g_autofree guint8 *zeros = g_malloc0(8 * VT_MIB);
    vt_autofd sealed = vt_fd_from_bytes("base", zeros, 8 * VT_MIB, NULL);
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", sealed);
    vt_autofd base = open(path, O_RDONLY | O_CLOEXEC), disk = new_disk(8 * VT_MIB);
    g_autofree char *answer = ask_qemu(
        disk, base, "raw",
        "{\"execute\":\"qmp_capabilities\"}" IO("read -P 66 0 1M") "{\"execute\":\"quit\"}");
    g_assert_nonnull(strstr(answer, "fail"));
}

static void add(const char *group, const char *name, gconstpointer data, GTestDataFunc test)
{
    g_autofree char *path = g_strdup_printf("/qcow2/%s/%s", group, name);
    g_test_add_data_func(path, data, test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(fields); i++)
        add("header", fields[i].name, &fields[i], test_field);
    g_test_add_func("/qcow2/header/compression", test_compression);
    g_test_add_func("/qcow2/header/lengths", test_lengths);
    g_test_add_func("/qcow2/header/no-file", test_no_file);
    for (gsize i = 0; i < G_N_ELEMENTS(made); i++)
        add("qemu-img", made[i].name, &made[i], test_made);
    for (gsize i = 0; i < G_N_ELEMENTS(sizes); i++)
        add("make", sizes[i].name, &sizes[i], test_make);
    g_test_add_func("/qcow2/make/wrong", test_make_wrong);
    g_test_add_data_func("/qcow2/overlay/raw", "raw", test_overlay);
    g_test_add_data_func("/qcow2/overlay/qcow2", "qcow2", test_overlay);
    g_test_add_func("/qcow2/overlay/wrong", test_overlay_wrong);
    return g_test_run();
}
