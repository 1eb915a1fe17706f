/* SPDX-License-Identifier: Apache-2.0 */
/* agent/init.c - file systems, console and modules of a guest that has nothing yet. */
#include "agent/init.h"

#include "agent/fd.h"
#include "agent/say.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* The order file's size: some 60 names. */
enum { ORDER_MAX = 4096 };
enum { PCI_DEVICES_MAX = 64, PCI_NUMBER_MAX = 8 };

/* The numbers of what is on the bus, as the kernel shows them: "0x1041". */
typedef struct {
    char numbers[PCI_DEVICES_MAX][PCI_NUMBER_MAX];
    int count;
} PciDevices;

typedef struct {
    const char *type, *target, *data;
    unsigned long flags;
    bool is_vital;
} InitMount;

static const InitMount init_mounts[] = {
    {"devtmpfs", "/dev", "mode=0755", MS_NOSUID, true},
    {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, true},
    {"devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC, false},
    {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, false},
    {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV, false},
};

/* What udev makes elsewhere; shells need the first for <(...). */
static const struct {
    const char *path, *target;
} init_links[] = {
    {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},
    {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"},
};

static int mount_one(const InitMount *entry)
{
    mkdir(entry->target, 0755);
    if (mount(entry->type, entry->target, entry->type, entry->flags, entry->data) < 0 &&
        errno != EBUSY) /* the kernel can have mounted /dev already */
        return -errno;
    return 0;
}

/* Descriptors 0 to 2 exist from here on, so that no stream of a session ever gets such a number. */
static void open_console(void)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY);

    if (fd < 0)
        fd = open("/dev/null", O_RDWR);
    for (int i = 0; i <= 2; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
}

int init_mount(void)
{
    int first_error = 0;

    umask(022);
    for (size_t i = 0; i < sizeof init_mounts / sizeof *init_mounts; i++) {
        int error = mount_one(&init_mounts[i]);

        if (i == 0)
            open_console();
        if (!error)
            continue;
        say("cannot mount %s on %s: %s", init_mounts[i].type, init_mounts[i].target,
            strerror(-error));
        if (init_mounts[i].is_vital && !first_error)
            first_error = error;
    }
    for (size_t i = 0; i < sizeof init_links / sizeof *init_links; i++)
        if (symlink(init_links[i].target, init_links[i].path) < 0 && errno != EEXIST)
            say("cannot make %s: %s", init_links[i].path, strerror(errno));
    return first_error;
}

static void read_device(int folder, const char *name, PciDevices *devices)
{
    char path[sizeof((struct dirent *)0)->d_name + sizeof "/device"];
    auto_fd fd = -1;
    ssize_t size;

    snprintf(path, sizeof path, "%s/device", name);
    fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    size = fd < 0 ? 0 : read(fd, devices->numbers[devices->count], PCI_NUMBER_MAX);
    if (size <= 1)
        return;
    devices->numbers[devices->count][size - 1] = '\0'; /* in place of the line's end */
    devices->count++;
}

static void pci_list(PciDevices *devices)
{
    DIR *folder = opendir("/sys/bus/pci/devices");
    struct dirent *entry;

    devices->count = 0;
    while (folder && devices->count < PCI_DEVICES_MAX && (entry = readdir(folder)))
        if (entry->d_name[0] != '.')
            read_device(dirfd(folder), entry->d_name, devices);
    if (folder)
        closedir(folder);
}

static bool pci_has(const PciDevices *devices, const char *number)
{
    for (int i = 0; i < devices->count; i++)
        if (strcmp(devices->numbers[i], number) == 0)
            return true;
    return false;
}

static void load_module(int folder, const char *name)
{
    auto_fd fd = openat(folder, name, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST))
        say("module %s: %s", name, strerror(errno));
    unlinkat(folder, name, 0);
}

/* "NAME" or "NAME DEVICE": the second only where such a device of PCI is there. */
static void load_line(int folder, const PciDevices *devices, char *line)
{
    char *name = strsep(&line, " ");

    if (line && !pci_has(devices, line))
        unlinkat(folder, name, 0);
    else
        load_module(folder, name);
}

void init_load_modules(void)
{
    PciDevices devices;
    auto_fd folder = open("/modules", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    auto_fd fd = folder < 0 ? -1 : openat(folder, "order", O_RDONLY | O_CLOEXEC);
    char order[ORDER_MAX + 1], *rest = order, *line;
    ssize_t size;

    if (fd < 0) /* a kernel with everything built in */
        return;
    size = read(fd, order, ORDER_MAX);
    if (size < 0) {
        say("cannot read /modules/order: %s", strerror(errno));
        return;
    }
    order[size] = '\0';
    pci_list(&devices);
    while ((line = strsep(&rest, "\n")))
        if (line[0])
            load_line(folder, &devices, line);
    unlinkat(folder, "order", 0);
}
