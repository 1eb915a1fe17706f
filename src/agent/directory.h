/* SPDX-License-Identifier: Apache-2.0 */
/* agent/directory.h - a directory's names without the heap that opendir() needs. */
#pragma once

#include <stddef.h>

typedef struct {
    int fd;
    size_t at, used;
    char entries[4096];
} Directory;

/* Opens `path`. Returns 0 or -errno; only after 0 must it be closed. */
int directory_open(Directory *directory, const char *path);
/* The next name, "." and ".." left out, valid until the next call; NULL at the end or on an error.
 */
const char *directory_next(Directory *directory);
void directory_close(Directory *directory);
