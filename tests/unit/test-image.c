/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/unit/test-image.c - the pool of images: one thing wrong each with its directories, records and
 * files, and what is said of it.
 *
 * The rows on owners run as root alone, those on what may not be read as an ordinary user alone.
 */
#include "image/pool.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/error.h"
#include "base/size.h"
#include "image/qcow2.h"

#define D16 "dddddddddddddddd"
#define DISK "sha256-" D16 D16 D16 D16
#define KERNEL "sha256-" D16 D16 D16 "dddddddddddddd01"
#define INITRAMFS "sha256-" D16 D16 D16 "dddddddddddddd02"
#define RAW "sha256-" D16 D16 D16 "dddddddddddddd03"
#define OTHER 12345u /* ids of nobody */
#define ANOTHER 23456u

#define RECORD(name, format, digest, size, more)                                                   \
    "{\"version\": 1, \"name\": \"" name "\", \"family\": \"debian\", \"arch\": \"x86_64\","       \
    " \"format\": \"" format "\", \"digest\": \"" digest "\", \"size\": " size ","                 \
    " \"root\": \"/dev/vda\", \"filesystem\": \"ext4\"," more                                      \
    " \"init\": [\"agent\"], \"description\": \"for tests\"}"
#define WITH_KERNEL " \"kernel\": \"" KERNEL "\", \"initramfs\": \"" INITRAMFS "\","
#define DEMO RECORD("demo", "qcow2", DISK, "1073741824", WITH_KERNEL)
#define PLAIN RECORD("plain", "raw", RAW, "1048576", "")

/* A pool of two images: BASE/up/pool/{demo,plain}.json. */
typedef struct {
    char *base, *pool;
} Place;

static char *below(const Place *place, const char *path)
{
    return g_build_filename(place->base, path, NULL);
}

static void put(const Place *place, const char *name, const char *text)
{
    g_autofree char *path = below(place, name);
    g_autoptr(GError) error = NULL;
    g_file_set_contents(path, text, -1, &error);
    g_assert_no_error(error);
    g_assert_cmpint(chmod(path, 0644), ==, 0);
}

static int create(const Place *place, const char *name, guint64 size)
{
    g_autofree char *path = below(place, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, (off_t)size), ==, 0);
    return fd;
}

static void place_init(Place *place)
{
    g_autoptr(GError) error = NULL;
    umask(022);
    /* Root's, and anybody may write: what a pool's path may lead through. */
    place->base = g_strdup("/tmp/vtorque-image-XXXXXX");
    g_assert_nonnull(g_mkdtemp_full(place->base, 0755));
    place->pool = below(place, "up/pool");
    g_assert_cmpint(g_mkdir_with_parents(place->pool, 0755), ==, 0);
    vt_autofd disk = create(place, "up/pool/" DISK, 0);
    vt_qcow2_make(disk, VT_GIB, &error);
    g_assert_no_error(error);
    close(create(place, "up/pool/" RAW, VT_MIB));
    put(place, "up/pool/" KERNEL, "kernel");
    put(place, "up/pool/" INITRAMFS, "initramfs");
    put(place, "up/pool/demo.json", DEMO);
    put(place, "up/pool/plain.json", PLAIN);
}

static void run(const char *program, const char *option, const char *word, const char *path)
{
    const char *argv[] = {program, option, word ? word : path, word ? path : NULL, NULL};
    int status = -1;
    g_spawn_sync(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL, &status,
                 NULL);
    g_assert_cmpint(status, ==, 0);
}

static void remove_all(const char *path)
{
    run("rm", "-r", NULL, path);
}

static void place_clear(Place *place)
{
    run("chmod", "-R", "u+rwX", place->base);
    remove_all(place->base);
    g_free(place->base);
    g_free(place->pool);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Place, place_clear)

typedef enum {
    NOTHING,
    MODE,    /* number */
    OWNER,   /* number */
    STICKY,  /* owner of that number; anybody may write, as to /tmp */
    LINK,    /* to text; what was there moves to NAME.real */
    FIFO,    /* in its place */
    FOLDER,  /* in its place */
    REMOVE,  /* and what is below */
    LENGTH,  /* number */
    TEXT,    /* text */
    HARD,    /* a second name */
    ACL,     /* that lets OTHER write */
    BACKING, /* names another file */
} Act;

typedef enum { ANYBODY, ROOT, USER } Who;

typedef struct {
    const char *name;
    Who who;
    Act act;
    const char *path; /* below BASE */
    guint number;
    const char *text;
    const char *why;       /* NULL: is taken */
    bool is_users;         /* the mistake: VT_ERROR_USER, not VT_ERROR_HOST */
    const char *open_path; /* below BASE, if not up/pool */
    const char *image;     /* if not demo */
    uid_t owner;           /* beside root; for ordinary users: themselves */
} Row;

#define POOL "up/pool"
#define MODE_WRONG "must not be writable by group or others"

static const Row rows[] = {
    {"good", ANYBODY, NOTHING, NULL, 0, NULL, NULL},
    {"good-raw", ANYBODY, NOTHING, NULL, 0, NULL, NULL, .image = "plain"},
    /* modes */
    {"record-0664", ANYBODY, MODE, POOL "/demo.json", 0664, NULL,
     "'demo.json' has mode 0664: " MODE_WRONG},
    {"record-0646", ANYBODY, MODE, POOL "/demo.json", 0646, NULL, MODE_WRONG},
    {"record-0444", ANYBODY, MODE, POOL "/demo.json", 0444, NULL, NULL},
    {"disk-0664", ANYBODY, MODE, POOL "/" DISK, 0664, NULL,
     "'" DISK "' has mode 0664: " MODE_WRONG},
    {"disk-0602", ANYBODY, MODE, POOL "/" DISK, 0602, NULL, MODE_WRONG},
    {"kernel-0666", ANYBODY, MODE, POOL "/" KERNEL, 0666, NULL, "'" KERNEL "' has mode 0666: "},
    {"initramfs-0620", ANYBODY, MODE, POOL "/" INITRAMFS, 0620, NULL,
     "'" INITRAMFS "' has mode 0620"},
    {"kernel-of-another-image", ANYBODY, MODE, POOL "/" KERNEL, 0666, NULL, NULL, .image = "plain"},
    {"pool-0775", ANYBODY, MODE, POOL, 0775, NULL, "/up/pool' has mode 0775: " MODE_WRONG},
    {"pool-0757", ANYBODY, MODE, POOL, 0757, NULL, MODE_WRONG},
    {"pool-1777", ANYBODY, MODE, POOL, 01777, NULL, "/up/pool' has mode 1777: " MODE_WRONG},
    {"pool-2775", ANYBODY, MODE, POOL, 02775, NULL, MODE_WRONG},
    {"above-0775", ANYBODY, MODE, "up", 0775, NULL, "/up' has mode 0775: " MODE_WRONG},
    {"above-0703", ANYBODY, MODE, "up", 0703, NULL, MODE_WRONG},
    {"above-1777-root", ROOT, MODE, "up", 01777, NULL, NULL},
    {"above-1777-user", USER, MODE, "up", 01777, NULL, "/up' has mode 1777: " MODE_WRONG},
    {"above-1777-of-other", ROOT, STICKY, "up", OTHER, NULL, "/up' belongs to uid 12345"},
    {"above-1777-of-owner", ROOT, STICKY, "up", OTHER, NULL, MODE_WRONG, .owner = OTHER},
    {"acl", ANYBODY, ACL, POOL "/" DISK, 0, NULL, "' has mode 0664: " MODE_WRONG},
    /* owners */
    {"record-of-other", ROOT, OWNER, POOL "/demo.json", OTHER, NULL,
     "'demo.json' belongs to uid 12345: must belong to root"},
    {"disk-of-other", ROOT, OWNER, POOL "/" DISK, OTHER, NULL, "' belongs to uid 12345"},
    {"kernel-of-other", ROOT, OWNER, POOL "/" KERNEL, OTHER, NULL, "' belongs to uid 12345"},
    {"initramfs-of-other", ROOT, OWNER, POOL "/" INITRAMFS, OTHER, NULL, "' belongs to uid 12345"},
    {"pool-of-other", ROOT, OWNER, POOL, OTHER, NULL, "/up/pool' belongs to uid 12345"},
    {"above-of-other", ROOT, OWNER, "up", OTHER, NULL, "/up' belongs to uid 12345"},
    {"far-above-of-other", ROOT, OWNER, "", OTHER, NULL, "' belongs to uid 12345"},
    {"record-of-owner", ROOT, OWNER, POOL "/demo.json", OTHER, NULL, NULL, .owner = OTHER},
    {"disk-of-owner", ROOT, OWNER, POOL "/" DISK, OTHER, NULL, NULL, .owner = OTHER},
    {"pool-of-owner", ROOT, OWNER, POOL, OTHER, NULL, NULL, .owner = OTHER},
    {"above-of-owner", ROOT, OWNER, "up", OTHER, NULL, NULL, .owner = OTHER},
    {"record-of-another", ROOT, OWNER, POOL "/demo.json", ANOTHER, NULL,
     "belongs to uid 23456: must belong to root or uid 12345", .owner = OTHER},
    {"above-of-another", ROOT, OWNER, "up", ANOTHER, NULL, "belongs to uid 23456", .owner = OTHER},
    {"record-of-overflow", ROOT, OWNER, POOL "/demo.json", 65534, NULL, "belongs to uid 65534"},
    {"above-of-overflow", ROOT, OWNER, "up", 65534, NULL, "belongs to uid 65534"},
    /* no files */
    {"record-is-link", ANYBODY, LINK, POOL "/demo.json", 0, "demo.json.real",
     "'demo.json' is a link"},
    {"disk-is-link", ANYBODY, LINK, POOL "/" DISK, 0, DISK ".real", "' is a link: must be a file"},
    {"disk-is-link-to-system", ANYBODY, LINK, POOL "/" DISK, 0, "/etc/passwd", "' is a link"},
    {"kernel-is-link", ANYBODY, LINK, POOL "/" KERNEL, 0, KERNEL ".real", "' is a link"},
    {"initramfs-is-link", ANYBODY, LINK, POOL "/" INITRAMFS, 0, "nowhere", "' is a link"},
    {"disk-of-two-names", ANYBODY, HARD, POOL "/" DISK, 0, NULL, NULL},
    {"record-is-fifo", ANYBODY, FIFO, POOL "/demo.json", 0, NULL, "'demo.json' is no file"},
    {"disk-is-fifo", ANYBODY, FIFO, POOL "/" DISK, 0, NULL, "' is no file"},
    {"record-is-folder", ANYBODY, FOLDER, POOL "/demo.json", 0, NULL, "'demo.json' is no file"},
    {"disk-is-folder", ANYBODY, FOLDER, POOL "/" DISK, 0, NULL, "' is no file"},
    {"disk-is-missing", ANYBODY, REMOVE, POOL "/" DISK, 0, NULL, "file '" DISK "' is not there"},
    {"kernel-is-missing", ANYBODY, REMOVE, POOL "/" KERNEL, 0, NULL, "file '" KERNEL "' is not"},
    {"initramfs-is-missing", ANYBODY, REMOVE, POOL "/" INITRAMFS, 0, NULL, "' is not there"},
    {"record-unreadable", USER, MODE, POOL "/demo.json", 0, NULL, "'demo.json': Permission denied"},
    {"disk-unreadable", USER, MODE, POOL "/" DISK, 0200, NULL, "Permission denied"},
    {"pool-closed", USER, MODE, POOL, 0600, NULL, "Permission denied"},
    {"above-closed", USER, MODE, "up", 0600, NULL, "/up/pool': Permission denied"},
    /* paths */
    {"pool-by-link", ANYBODY, LINK, POOL, 0, "pool.real", NULL},
    {"pool-by-absolute-link", ANYBODY, LINK, "up", 0, "%s/up.real", NULL},
    {"pool-by-link-of-other", ROOT, OWNER, "link", OTHER, POOL, "/link' belongs to uid 12345",
     .open_path = "link"},
    {"pool-by-link-of-owner", ROOT, OWNER, "link", OTHER, POOL, NULL, .open_path = "link",
     .owner = OTHER},
    {"pool-by-link-with-dots", ANYBODY, LINK, "link", 0, "up/../up/./pool/../pool", NULL,
     .open_path = "link"},
    {"pool-by-link-above-root", ANYBODY, LINK, "link", 0, "/../../..%s/up/pool", NULL,
     .open_path = "link"},
    {"link-to-itself", ANYBODY, LINK, "link", 0, "link", "/link': Too many levels",
     .open_path = "link"},
    {"link-to-itself-and-more", ANYBODY, LINK, "link", 0, "link/x", "/link': Too many levels",
     .open_path = "link"},
    {"link-through-a-file", ANYBODY, LINK, "link", 0, "up/pool/demo.json/..", "is not a directory",
     .open_path = "link"},
    {"link-through-open-folder", ANYBODY, MODE, "up", 0777, NULL, MODE_WRONG,
     .open_path = "up/../up/pool"},
    {"slashes", ANYBODY, NOTHING, NULL, 0, NULL, NULL, .open_path = "up///pool//"},
    {"pool-is-a-file", ANYBODY, NOTHING, NULL, 0, NULL, "' is not a directory",
     .open_path = "up/pool/demo.json"},
    {"pool-below-a-file", ANYBODY, NOTHING, NULL, 0, NULL, "' is not a directory",
     .open_path = "up/pool/demo.json/x"},
    {"pool-is-a-fifo", ANYBODY, FIFO, POOL, 0, NULL, "' is not a directory"},
    /* what is not there */
    {"no-pool", ANYBODY, REMOVE, POOL, 0, NULL, "there are none (make image)", true},
    {"nothing-above", ANYBODY, REMOVE, "up", 0, NULL, "there are none (make image)", true},
    {"pool-by-dead-link", ANYBODY, LINK, POOL, 0, "nowhere", "there are none", true},
    {"no-record", ANYBODY, REMOVE, POOL "/demo.json", 0, NULL, "no image 'demo' in pool '", true},
    {"no-record-but-another", ANYBODY, REMOVE, POOL "/demo.json", 0, NULL, "'; there are plain",
     true},
    {"name-in-capitals", ANYBODY, NOTHING, NULL, 0, NULL, "there are demo, plain", true,
     .image = "DEMO"},
    {"name-empty", ANYBODY, NOTHING, NULL, 0, NULL, "no image ''", true, .image = ""},
    {"name-of-path", ANYBODY, NOTHING, NULL, 0, NULL, "no image '../pool/demo'", true,
     .image = "../pool/demo"},
    {"name-of-dots", ANYBODY, NOTHING, NULL, 0, NULL, "no image '..'", true, .image = ".."},
    {"name-of-escapes", ANYBODY, NOTHING, NULL, 0, NULL, "no image '\\033[2J\\n'", true,
     .image = "\033[2J\n"},
    /* content */
    {"record-empty", ANYBODY, TEXT, POOL "/demo.json", 0, "", "not a JSON object"},
    {"record-of-another-name", ANYBODY, TEXT, POOL "/demo.json", 0, PLAIN, "it is called 'plain'"},
    {"record-too-long", ANYBODY, LENGTH, POOL "/demo.json", VT_RECORD_MAX + 1, NULL,
     "larger than 65536 bytes"},
    {"record-of-terabytes", ANYBODY, LENGTH, POOL "/demo.json", G_MAXUINT32, NULL,
     "larger than 65536 bytes"},
    {"disk-larger-than-record", ANYBODY, TEXT, POOL "/demo.json", 0,
     RECORD("demo", "qcow2", DISK, "536870912", ""),
     "has 1073741824 bytes, but its record says 536870912"},
    {"disk-smaller-than-record", ANYBODY, TEXT, POOL "/demo.json", 0,
     RECORD("demo", "qcow2", DISK, "2147483648", ""),
     "has 1073741824 bytes, but its record says 2147483648"},
    {"raw-longer", ANYBODY, LENGTH, POOL "/" RAW, 1048577, NULL,
     "has 1048577 bytes, but its record says 1048576", .image = "plain"},
    {"raw-shorter", ANYBODY, LENGTH, POOL "/" RAW, 1048064, NULL, "has 1048064 bytes",
     .image = "plain"},
    {"raw-called-qcow2", ANYBODY, TEXT, POOL "/plain.json", 0,
     RECORD("plain", "qcow2", RAW, "1048576", ""), "the qcow2 header is missing", .image = "plain"},
    /* A declared format is never second-guessed: the header is the disk's first bytes. */
    {"qcow2-called-raw", ANYBODY, TEXT, POOL "/plain.json", 0,
     RECORD("plain", "raw", DISK, "262144", ""), NULL, .image = "plain"},
    {"disk-cut-off", ANYBODY, LENGTH, POOL "/" DISK, 150000, NULL,
     "the qcow2 header has a table that is not in the file"},
    {"disk-empty", ANYBODY, LENGTH, POOL "/" DISK, 0, NULL, "the qcow2 header is missing"},
    {"disk-with-backing-file", ANYBODY, BACKING, POOL "/" DISK, 0, NULL,
     "the qcow2 header names a backing file"},
};

static void set_acl(const char *path)
{
    struct {
        guint32 version;
        struct {
            guint16 tag, perm;
            guint32 id;
        } entries[5];
    } acl = {2,
             {{1, 6, G_MAXUINT32},
              {2, 6, OTHER},
              {4, 4, G_MAXUINT32},
              {16, 6, G_MAXUINT32},
              {32, 4, G_MAXUINT32}}};
    /* A file system without ACLs lets nobody in by one: the mode alone stands for the row then. */
    if (setxattr(path, "system.posix_acl_access", &acl, sizeof acl, 0) < 0 && errno == EOPNOTSUPP)
        g_assert_cmpint(chmod(path, 0664), ==, 0);
    struct stat st;
    g_assert_cmpint(stat(path, &st), ==, 0);
    g_assert_cmpint(st.st_mode & 0777, ==, 0664);
}

static void make_link(const Place *place, const Row *row, const char *path)
{
    g_autofree char *real = g_strconcat(path, ".real", NULL);
    g_auto(GStrv) parts = g_strsplit(row->text, "%s", 2);
    g_autofree char *target = g_strjoinv(place->base, parts);
    if (access(path, F_OK) == 0)
        g_assert_cmpint(rename(path, real), ==, 0);
    g_assert_cmpint(symlink(target, path), ==, 0);
}

static void spoil(const Place *place, const Row *row)
{
    g_autofree char *path = row->path ? below(place, row->path) : NULL;
    g_autofree char *other = g_strconcat(path ? path : "", ".other", NULL);
    vt_autofd fd = -1;
    switch (row->act) {
    case NOTHING:
        return;
    case MODE:
        g_assert_cmpint(chmod(path, row->number), ==, 0);
        return;
    case OWNER:
        if (row->text)
            make_link(place, row, path);
        g_assert_cmpint(lchown(path, row->number, row->number), ==, 0);
        return;
    case STICKY:
        g_assert_cmpint(lchown(path, row->number, row->number), ==, 0);
        g_assert_cmpint(chmod(path, 01777), ==, 0);
        return;
    case LINK:
        make_link(place, row, path);
        return;
    case FIFO:
        remove_all(path);
        g_assert_cmpint(mkfifo(path, 0644), ==, 0);
        return;
    case FOLDER:
        remove_all(path);
        g_assert_cmpint(mkdir(path, 0755), ==, 0);
        return;
    case REMOVE:
        remove_all(path);
        return;
    case LENGTH:
        g_assert_cmpint(truncate(path, row->number), ==, 0);
        return;
    case TEXT:
        put(place, row->path, row->text);
        return;
    case HARD:
        g_assert_cmpint(link(path, other), ==, 0);
        return;
    case ACL:
        set_acl(path);
        return;
    case BACKING:
        fd = open(path, O_WRONLY | O_CLOEXEC);
        g_assert_cmpint(pwrite(fd, "\1", 1, 14), ==, 1);
        return;
    }
}

static void assert_fit(const VtPoolImage *image)
{
    const int files[] = {image->disk, image->kernel, image->initramfs};
    bool has_kernel = image->record->kernel != NULL;
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        g_assert_cmpint(files[i] >= 0, ==, i == 0 || has_kernel);
        if (files[i] < 0)
            continue;
        g_assert_cmpint(fcntl(files[i], F_GETFD), ==, FD_CLOEXEC);
        g_assert_cmpint(fcntl(files[i], F_GETFL) & (O_ACCMODE | O_NONBLOCK), ==, O_RDONLY);
    }
    char text[16] = "";
    if (has_kernel) {
        g_assert_cmpint(read(image->kernel, text, sizeof text), ==, 6);
        g_assert_cmpstr(text, ==, "kernel");
        g_assert_cmpint(read(image->initramfs, text, sizeof text), ==, 9);
        g_assert_cmpstr(text, ==, "initramfs");
    }
}

static void test_row(gconstpointer data)
{
    const Row *row = data;
    g_auto(Place) place = {0};
    g_auto(VtPoolImage) image = {0};
    g_autoptr(GError) error = NULL;
    place_init(&place);
    spoil(&place, row);
    g_autofree char *pool = below(&place, row->open_path ? row->open_path : POOL);
    uid_t owner = getuid() == 0 ? row->owner : getuid();
    bool ok = vt_pool_open(pool, row->image ? row->image : "demo", owner, &image, &error);
    if (!row->why) {
        g_assert_no_error(error);
        assert_fit(&image);
        return;
    }
    g_assert_false(ok);
    VtError code = row->is_users ? VT_ERROR_USER : VT_ERROR_HOST;
    g_assert_error(error, VT_ERROR, (int)code);
    g_test_message("%s", error->message);
    g_assert_nonnull(strstr(error->message, row->why));
    g_assert_null(strpbrk(error->message, "\n\033"));
    g_assert_null(image.record);
    g_assert_cmpint(image.disk & image.kernel & image.initramfs, ==, -1);
}

/* At most 20 names, in order. */
static void test_names(void)
{
    g_auto(Place) place = {0};
    g_auto(VtPoolImage) image = {0};
    g_autoptr(GError) error = NULL;
    place_init(&place);
    for (int i = 25; i > 0; i--) {
        g_autofree char *name = g_strdup_printf(POOL "/image%02d.json", i);
        put(&place, name, "");
    }
    put(&place, POOL "/.hidden.json", "");
    put(&place, POOL "/a name.json", "");
    put(&place, POOL "/.json", "");
    put(&place, POOL "/text", "");
    g_assert_false(vt_pool_open(place.pool, "none", getuid(), &image, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    g_assert_nonnull(strstr(error->message, "; there are demo, image01, image02, "));
    g_assert_true(g_str_has_suffix(error->message, ", image19, ..."));

    g_auto(GStrv) names = vt_pool_list(place.pool);
    g_assert_cmpuint(g_strv_length(names), ==, 27);
    g_assert_cmpstr(names[0], ==, "demo");
    g_assert_cmpstr(names[26], ==, "plain");
    g_auto(GStrv) none = vt_pool_list("/nowhere");
    g_assert_nonnull(none);
    g_assert_null(none[0]);
}

/* The record can be read where the disk is not fit; by the same rules. */
static void test_load(void)
{
    g_auto(Place) place = {0};
    g_autoptr(GError) error = NULL;
    place_init(&place);
    g_autofree char *disk = below(&place, POOL "/" DISK);
    g_autofree char *record = below(&place, POOL "/demo.json");
    g_assert_cmpint(unlink(disk), ==, 0);
    g_autoptr(VtRecord) found = vt_pool_load(place.pool, "demo", getuid(), &error);
    g_assert_no_error(error);
    g_assert_cmpstr(found->digest, ==, DISK);
    g_assert_cmpint(chmod(record, 0666), ==, 0);
    g_assert_null(vt_pool_load(place.pool, "demo", getuid(), &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_HOST);
}

static guint count_descriptors(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    guint n = 0;
    while (g_dir_read_name(dir))
        n++;
    return n;
}

/* None is left behind, neither of a good nor of a refused image. */
static void test_descriptors(void)
{
    g_auto(Place) place = {0};
    place_init(&place);
    guint before = count_descriptors();
    g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
    g_assert_true(vt_pool_open(place.pool, "demo", getuid(), &image, NULL));
    g_assert_cmpuint(count_descriptors(), ==, before + 3);
    vt_pool_image_clear(&image);
    g_assert_cmpuint(count_descriptors(), ==, before);
    g_assert_false(vt_pool_open(place.pool, "none", getuid(), &image, NULL));
    g_autofree char *initramfs = below(&place, POOL "/" INITRAMFS);
    g_assert_cmpint(unlink(initramfs), ==, 0);
    g_assert_false(vt_pool_open(place.pool, "demo", getuid(), &image, NULL));
    g_assert_cmpuint(count_descriptors(), ==, before);
}

static void write_map(const char *path, guint id)
{
    g_autofree char *text = g_strdup_printf("%u %u 1\n", id, id);
    vt_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(write(fd, text, strlen(text)), ==, (gssize)strlen(text));
}

static void enter_user_namespace(uid_t uid)
{
    gid_t gid = getgid();
    if (getuid() == 0) {
        gid = uid;
        g_assert_cmpint(setresgid(gid, gid, gid), ==, 0);
        g_assert_cmpint(setresuid(uid, uid, uid), ==, 0);
        prctl(PR_SET_DUMPABLE, 1);
    }
    g_assert_cmpint(unshare(CLONE_NEWUSER), ==, 0);
    write_map("/proc/self/uid_map", uid);
    vt_autofd fd = open("/proc/self/setgroups", O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(write(fd, "deny", 4), ==, 4);
    write_map("/proc/self/gid_map", gid);
}

static void change_owner(const Place *place, uid_t uid)
{
    g_autofree char *ids = g_strdup_printf("%u:%u", uid, uid);
    if (getuid() == 0)
        run("chown", "-R", ids, place->base);
}

/* An ordinary user's engine: root is nobody there, but its directories are still root's. Modes count
 * as ever. */
static void test_user_namespace(gconstpointer data)
{
    bool is_spoilt = data != NULL;
    uid_t uid = getuid() == 0 ? OTHER : getuid();
    g_auto(Place) place = {0};
    place_init(&place);
    change_owner(&place, uid);
    if (is_spoilt)
        g_assert_cmpint(chmod(place.pool, 0777), ==, 0);
    pid_t pid = fork();
    int status;
    g_assert_cmpint(pid, >=, 0);
    if (pid == 0) {
        g_auto(VtPoolImage) image = VT_POOL_IMAGE_NONE;
        g_autoptr(GError) error = NULL;
        enter_user_namespace(uid);
        bool ok = vt_pool_open(place.pool, "demo", uid, &image, &error);
        if (ok == is_spoilt)
            g_test_message("%s", error ? error->message : "taken");
        _exit(ok != is_spoilt ? 0 : 1);
    }
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpint(status, ==, 0);
}

/* The site's setting, the user's own pool, the built-in value. */
static void test_find(void)
{
    g_autoptr(VtSettings) none = vt_settings_parse("", 0, "none", NULL);
    const char *text = "VM_IMG_DIR=/site/pool\n";
    g_autoptr(VtSettings) site = vt_settings_parse(text, strlen(text), "site", NULL);
    g_autofree char *own = g_build_filename(g_get_user_cache_dir(), "vtorque", "images", NULL);
    g_autofree char *first = vt_pool_find(none);
    g_assert_cmpstr(first, ==, "/opt/vm-images");
    g_assert_cmpint(g_mkdir_with_parents(own, 0755), ==, 0);
    g_autofree char *second = vt_pool_find(none);
    g_assert_cmpstr(second, ==, own);
    g_autofree char *third = vt_pool_find(site);
    g_assert_cmpstr(third, ==, "/site/pool");
}

int main(int argc, char **argv)
{
    g_autofree char *cache = g_strdup("/tmp/vtorque-cache-XXXXXX");
    g_assert_nonnull(g_mkdtemp(cache));
    g_setenv("XDG_CACHE_HOME", cache, TRUE);
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autofree char *path = g_strdup_printf("/image/%s", rows[i].name);
        if (rows[i].who == ANYBODY || (rows[i].who == ROOT) == (getuid() == 0))
            g_test_add_data_func(path, &rows[i], test_row);
    }
    g_test_add_func("/image/names", test_names);
    g_test_add_func("/image/load", test_load);
    g_test_add_func("/image/descriptors", test_descriptors);
    g_test_add_data_func("/image/user-namespace/good", NULL, test_user_namespace);
    g_test_add_data_func("/image/user-namespace/spoilt", rows, test_user_namespace);
    g_test_add_func("/image/find", test_find);
    int status = g_test_run();
    remove_all(cache);
    return status;
}
