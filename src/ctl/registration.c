/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/registration.c - registrations: a file each, in a folder of root's. */
#include "ctl/registration.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/folder.h"
#include "ctl/live.h"

#define FOLDER "/run/vtorque/registered"
#define HEAD_MAX 128 /* bytes of the first line: boot id, expiry */

static int open_folder(bool make)
{
    if (make && mkdir("/run/vtorque", 0755) < 0 && errno != EEXIST)
        return -errno;
    return ctl_root_open(FOLDER, make);
}

/* Time that goes on while the machine sleeps, and that nobody sets. */
static long long now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec;
}

static int read_boot_id(char boot[CTL_BOOT_ID_SIZE])
{
    ctl_autofd fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, boot, CTL_BOOT_ID_SIZE - 1);
    if (n != CTL_BOOT_ID_SIZE - 1)
        return n < 0 ? -errno : -EIO;
    boot[n] = '\0';
    return 0;
}

static int write_all(int fd, const char *text)
{
    size_t left = strlen(text);
    for (ssize_t n; left > 0; text += n, left -= (size_t)n) {
        n = write(fd, text, left);
        if (n <= 0)
            return n < 0 ? -errno : -ENOSPC;
    }
    return 0;
}

int ctl_registration_write(const char *id, const char *text)
{
    char head[HEAD_MAX], boot[CTL_BOOT_ID_SIZE], name[CTL_ID_MAX + 2];
    if (!ctl_id_is_valid(id) || strlen(id) > CTL_ID_MAX - 1)
        return -EINVAL;
    int err = read_boot_id(boot);
    ctl_autofd folder = open_folder(true);
    if (err < 0 || folder < 0)
        return err < 0 ? err : folder;
    snprintf(head, sizeof head, "%s %lld\n", boot, now_s() + CTL_REGISTRATION_LIFE_S);
    /* No id begins so. */
    snprintf(name, sizeof name, "+%s", id);
    ctl_autofd fd =
        openat(folder, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    err = write_all(fd, head);
    err = err < 0 ? err : write_all(fd, text);
    if (err == 0 && renameat(folder, name, folder, id) < 0)
        err = -errno;
    if (err < 0)
        unlinkat(folder, name, 0);
    return err;
}

/* 0, or -ESTALE. */
static int check_head(const char *head)
{
    char boot[CTL_BOOT_ID_SIZE], *end = NULL;
    int err = read_boot_id(boot);
    size_t length = strlen(boot);
    if (err < 0)
        return err;
    if (strncmp(head, boot, length) != 0 || head[length] != ' ')
        return -ESTALE;
    long long until_s = strtoll(head + length + 1, &end, 10), left_s = until_s - now_s();
    return *end == '\n' && left_s > 0 && left_s <= CTL_REGISTRATION_LIFE_S ? 0 : -ESTALE;
}

/* The lines of the file `name`, behind its head. */
static int read_lines(int folder, const char *name, char *text)
{
    static char whole[HEAD_MAX + CTL_REGISTRATION_MAX];
    size_t used = 0;
    ctl_autofd fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (ssize_t n; (n = read(fd, whole + used, sizeof whole - 1 - used)) != 0; used += (size_t)n)
        if (n < 0)
            return -errno;
    whole[used] = '\0';
    const char *lines = strchr(whole, '\n');
    int err = lines ? check_head(whole) : -ESTALE;
    if (err == 0 && strlen(lines + 1) >= CTL_REGISTRATION_MAX)
        err = -EMSGSIZE;
    if (err == 0 && text)
        memcpy(text, lines + 1, strlen(lines + 1) + 1);
    return err;
}

int ctl_registration_read(const char *id, char *text)
{
    if (!ctl_id_is_valid(id))
        return -EINVAL;
    ctl_autofd folder = open_folder(false);
    int err = folder < 0 ? folder : read_lines(folder, id, text);
    if (err == -ESTALE)
        unlinkat(folder, id, 0);
    return err;
}

void ctl_registration_remove(const char *id)
{
    ctl_autofd folder = open_folder(false);
    if (folder >= 0 && ctl_id_is_valid(id))
        unlinkat(folder, id, 0);
}

void ctl_registration_sweep(void)
{
    ctl_autofd folder = open_folder(false);
    int copy = folder < 0 ? -1 : fcntl(folder, F_DUPFD_CLOEXEC, 3);
    DIR *entries = copy < 0 ? NULL : fdopendir(copy);
    for (struct dirent *entry; entries && (entry = readdir(entries)) != NULL;)
        if (ctl_id_is_valid(entry->d_name) && read_lines(folder, entry->d_name, NULL) == -ESTALE)
            unlinkat(folder, entry->d_name, 0);
    if (entries)
        closedir(entries);
}
