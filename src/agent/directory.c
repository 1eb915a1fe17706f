/* SPDX-License-Identifier: Apache-2.0 */
/* agent/directory.c - getdents64 into a fixed buffer. */
#include "agent/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As the kernel lays it out. */
typedef struct {
    uint64_t inode;
    int64_t offset;
    uint16_t size;
    uint8_t type;
    char name[];
} KernelEntry;

int directory_open(Directory *directory, const char *path)
{
    directory->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    directory->at = directory->used = 0;
    return directory->fd < 0 ? -errno : 0;
}

static const KernelEntry *next_entry(Directory *directory)
{
    const KernelEntry *entry;

    if (directory->at == directory->used) {
        long count =
            syscall(SYS_getdents64, directory->fd, directory->entries, sizeof directory->entries);
        if (count <= 0)
            return NULL;
        directory->at = 0;
        directory->used = (size_t)count;
    }
    entry = (const void *)(directory->entries + directory->at);
    directory->at += entry->size;
    return entry;
}

const char *directory_next(Directory *directory)
{
    const KernelEntry *entry;

    while ((entry = next_entry(directory)))
        if (strcmp(entry->name, ".") != 0 && strcmp(entry->name, "..") != 0)
            return entry->name;
    return NULL;
}

void directory_close(Directory *directory)
{
    close(directory->fd);
}
