/* SPDX-License-Identifier: Apache-2.0 */
/* agent/plan.c - one function for each kind of step. */
#include "agent/plan.h"

#include "agent/fd.h"
#include "agent/network.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef RNDRESEEDCRNG /* since Linux 4.17 */
#define RNDRESEEDCRNG _IO('R', 0x07)
#endif

typedef struct {
    uid_t uid;
    gid_t gid;
    mode_t mode;
} Owner;

/* Result of a system call as 0 or -errno. */
static int result(int returned)
{
    return returned < 0 ? -errno : 0;
}

/* Said in full before the step is tried; a name too long is cut. */
__attribute__((format(printf, 2, 3))) static void describe(Plan *plan, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(plan->what, sizeof plan->what, format, arguments);
    va_end(arguments);
}

static const char *get_text(Plan *plan, WireReader *reader, int index)
{
    wire_get_string(reader, plan->text[index], sizeof plan->text[index]);
    return plan->text[index];
}

static Owner get_owner(WireReader *reader)
{
    Owner owner;

    owner.uid = wire_get_u32(reader);
    owner.gid = wire_get_u32(reader);
    owner.mode = wire_get_u32(reader) & 07777;
    return owner;
}

/* Makes the directories above the last name of `path`, root's and 0755, where they are missing. */
static int make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        int error;

        *slash = '\0';
        error = mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        /* Read-only and refused are also said of a directory that is there already. */
        if (error && access(path, F_OK) == 0)
            error = 0;
        *slash = '/';
        if (error)
            return error;
    }
    return 0;
}

static bool is_directory(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static int apply_mkdir(Plan *plan, WireReader *reader)
{
    Owner owner = get_owner(reader);
    const char *path = get_text(plan, reader, 0);
    int error;

    describe(plan, "make directory '%s'", path);
    if (is_directory(path))
        return 0;
    error = make_parents(plan->text[0]);
    if (error)
        return error;
    if (mkdir(path, 0700) < 0 || chown(path, owner.uid, owner.gid) < 0 ||
        chmod(path, owner.mode) < 0)
        return -errno;
    return 0;
}

static int apply_file(Plan *plan, WireReader *reader)
{
    Owner owner = get_owner(reader);
    const char *path = get_text(plan, reader, 0);
    auto_fd fd = -1;

    describe(plan, "make file '%s'", path);
    strcpy(plan->file, path);
    if (unlink(path) < 0 && errno != ENOENT)
        return -errno;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    /* Mode last: chown takes setuid bits away. */
    if (fd < 0 || fchown(fd, owner.uid, owner.gid) < 0 || fchmod(fd, owner.mode) < 0)
        return -errno;
    return 0;
}

static int write_all(int fd, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, bytes, size);

        if (count < 0 && errno != EINTR)
            return -errno;
        if (count > 0) {
            bytes += count;
            size -= (size_t)count;
        }
    }
    return 0;
}

/* The file is opened anew for each piece: held open, a child forked meanwhile could make its
 * execution fail (ETXTBSY). */
static int apply_append(Plan *plan, WireReader *reader)
{
    auto_fd fd = -1;

    describe(plan, "write file '%s'", plan->file);
    if (!plan->file[0])
        return -ENOENT;
    fd = open(plan->file, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    return write_all(fd, reader->at, reader->left);
}

static int copy_bytes(int from, int to)
{
    uint8_t bytes[16384];
    size_t total = 0;

    for (;;) {
        ssize_t count = read(from, bytes, sizeof bytes);
        int error;

        if (count <= 0)
            return count < 0 ? -errno : 0;
        total += (size_t)count;
        error = total > WIRE_COPY_MAX ? -EFBIG : write_all(to, bytes, (size_t)count);
        if (error)
            return error;
    }
}

static int apply_copy(Plan *plan, WireReader *reader)
{
    const char *path = get_text(plan, reader, 0);
    auto_fd from = open(path, O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC), to = -1;

    describe(plan, "copy '%s' into '%s'", path, plan->file);
    if (from < 0)
        return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
    to = open(plan->file, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
    return to < 0 ? -errno : copy_bytes(from, to);
}

static int apply_symlink(Plan *plan, WireReader *reader)
{
    const char *path = get_text(plan, reader, 0);
    const char *target = get_text(plan, reader, 1);

    describe(plan, "make symbolic link '%s'", path);
    return result(symlink(target, path));
}

static int apply_mount(Plan *plan, WireReader *reader)
{
    unsigned long flags = wire_get_u64(reader);
    const char *type = get_text(plan, reader, 0);
    const char *source = get_text(plan, reader, 1);
    const char *target = get_text(plan, reader, 2);
    const char *data = get_text(plan, reader, 3);

    describe(plan, "mount %s on '%s'", type, target);
    return result(mount(source, target, type, flags, data[0] ? data : NULL));
}

/* Makes what can be mounted upon: a directory if `source` is one, else an empty file. */
static int make_target(const char *source, char *target)
{
    bool wants_directory = is_directory(source);
    auto_fd fd = -1;
    int error;

    if (access(target, F_OK) == 0)
        return 0;
    error = make_parents(target);
    if (error)
        return error;
    if (wants_directory)
        return result(mkdir(target, 0755));
    /* Without O_EXCL: `target` can be a link whose target is what is missing. */
    fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    return fd < 0 ? -errno : 0;
}

static int apply_bind(Plan *plan, WireReader *reader)
{
    unsigned long flags = wire_get_u64(reader);
    const char *source = get_text(plan, reader, 0);
    const char *target = get_text(plan, reader, 1);
    int error;

    describe(plan, "make '%s' to bind '%s' on", target, source);
    error = make_target(source, plan->text[1]);
    /* A file for which a read-only root has no place, or a link to nowhere, is left out. */
    if (error)
        return is_directory(source) ? error : 0;
    describe(plan, "bind '%s' on '%s'", source, target);
    if (mount(source, target, NULL, MS_BIND | (flags & MS_REC), NULL) < 0)
        return -errno;
    flags &= ~(unsigned long)(MS_REC | MS_BIND);
    if (!flags)
        return 0;
    return result(mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | flags, NULL));
}

static int apply_root(Plan *plan, WireReader *reader)
{
    /* /dev takes /dev/pts and /dev/shm along. */
    static const char *const moved[] = {"/dev", "/proc", "/sys", "/run"};
    const char *root = get_text(plan, reader, 0);
    char *target = plan->text[1];

    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        describe(plan, "move %s to '%s%s'", moved[i], root, moved[i]);
        if (snprintf(target, sizeof plan->text[1], "%s%s", root, moved[i]) > WIRE_STRING_MAX)
            return -ENAMETOOLONG;
        if (mount(moved[i], target, NULL, MS_MOVE, NULL) < 0)
            return -errno;
    }
    describe(plan, "make '%s' the root", root);
    if (chdir(root) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
        return -errno;
    return result(chdir("/"));
}

static int apply_hostname(Plan *plan, WireReader *reader)
{
    const char *name = get_text(plan, reader, 0);

    describe(plan, "set host name '%s'", name);
    return result(sethostname(name, strlen(name)));
}

static int apply_clock(Plan *plan, WireReader *reader)
{
    struct timespec now;

    now.tv_sec = (time_t)wire_get_u64(reader);
    now.tv_nsec = wire_get_u32(reader);
    describe(plan, "set the clock");
    return result(clock_settime(CLOCK_REALTIME, &now));
}

static int apply_random(Plan *plan, WireReader *reader)
{
    struct {
        int bits, size;
        uint8_t bytes[WIRE_RANDOM_MAX];
    } pool = {.bits = (int)reader->left * 8, .size = (int)reader->left};
    auto_fd fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    int error;

    describe(plan, "add entropy");
    memcpy(pool.bytes, reader->at, reader->left);
    error = fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 ? -errno : 0;
    explicit_bzero(pool.bytes, sizeof pool.bytes);
    if (!error)
        ioctl(fd, RNDRESEEDCRNG); /* an older kernel reseeds by itself, later */
    return error;
}

static int apply_link_up(Plan *plan, WireReader *reader)
{
    const char *interface = get_text(plan, reader, 0);

    describe(plan, "bring up interface '%s'", interface);
    return network_link_up(interface);
}

static int apply_address(Plan *plan, WireReader *reader)
{
    uint64_t mac = wire_get_u64(reader);
    uint32_t address = wire_get_u32(reader);
    uint32_t prefix = wire_get_u32(reader);
    uint32_t gateway = wire_get_u32(reader);

    describe(plan, "set the address of interface %012llx", (unsigned long long)mac);
    return prefix > 32 ? -EINVAL : network_set_address(mac, address, prefix, gateway);
}

int plan_apply(Plan *plan, WireStep step, const uint8_t *payload, size_t size)
{
    static int (*const appliers[])(Plan *, WireReader *) = {
        [WIRE_STEP_MKDIR] = apply_mkdir,     [WIRE_STEP_FILE] = apply_file,
        [WIRE_STEP_APPEND] = apply_append,   [WIRE_STEP_SYMLINK] = apply_symlink,
        [WIRE_STEP_MOUNT] = apply_mount,     [WIRE_STEP_BIND] = apply_bind,
        [WIRE_STEP_ROOT] = apply_root,       [WIRE_STEP_HOSTNAME] = apply_hostname,
        [WIRE_STEP_CLOCK] = apply_clock,     [WIRE_STEP_RANDOM] = apply_random,
        [WIRE_STEP_LINK_UP] = apply_link_up, [WIRE_STEP_COPY] = apply_copy,
        [WIRE_STEP_ADDRESS] = apply_address,
    };
    WireReader reader = wire_reader(payload, size);

    return appliers[step](plan, &reader);
}
