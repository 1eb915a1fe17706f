/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/folder.h - run folders: one per job and node, named by its slot, alive while its lock is
 * held.
 *
 * Specification: doc/contracts/run-folder.md. Libc only; used by the keeper, who owns a folder, and
 * by whoever looks for jobs or sweeps what a killed keeper left.
 *
 * Theory of operation. A folder ROOT/<slot> holds `lock` (0600), on which the keeper has a POSIX
 * write lock for its whole life; `job` and `engine` (text), `leaf` (text) and the engine's socket
 * `control`. Invariants:
 *   1. Who holds the lock of a linked folder owns the slot.
 *   2. A folder whose lock nobody holds is a killed keeper's (or was just made): whoever takes its
 *      lock may empty it, once the engine named in it is dead.
 *   3. The lock file is unlinked last, so a taker can tell by its link count whether the folder is
 *      still one.
 * A process must open `lock` once only: closing any descriptor of it drops the lock (POSIX).
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#define CTL_SLOTS_MAX 256
#define CTL_FILE_MAX 4096 /* bytes of a text file in a run folder */

typedef struct {
    int root; /* descriptor of the folder of folders, not owned */
    int dir;  /* descriptor of the run folder */
    int lock; /* descriptor of the locked file */
    int slot;
} CtlFolder;

#define CTL_FOLDER_NONE ((CtlFolder){.root = -1, .dir = -1, .lock = -1, .slot = -1})

/* Path of the folder of folders for processes of this uid: root's is /run/vtorque/jobs, a user's
 * $XDG_RUNTIME_DIR/vtorque (if that is the user's own), else /tmp/vtorque-UID. Returns 0 or
 * -ENAMETOOLONG. */
int ctl_root_path(char *path, size_t size);

/* Opens `path`, making it (0700) if need be. Returns a descriptor; -ELOOP, -ENOTDIR, -EPERM if it
 * is a link, no directory, not ours or open to others; another -errno. With `make` false a missing
 * one is -ENOENT. */
int ctl_root_open(const char *path, bool make);

/* The same of ctl_root_path(), which must be there. */
int ctl_root_find(void);

/* Takes the first free slot of `root` from `first` on, which must be above all that this process has: makes its folder, takes its lock, empties what a killed
 * keeper left, whose engine is dead. Never waits. Returns 0, -EBUSY if all slots are taken, or
 * another -errno. */
int ctl_folder_take(int root, int first, CtlFolder *folder);

/* Empties and removes the folder and lets its lock go. */
void ctl_folder_remove(CtlFolder *folder);

#define CTL_SWEEP_MS 30000 /* for killed keepers' engines to free their memory */

/* Removes every folder in `root` whose keeper was killed, waiting `wait_ms` in all for their engines to
 * die; those that do not (a file system of a user's that never answers holds them) stay. Returns how
 * many, or -errno. */
int ctl_root_sweep(int root, int wait_ms);

/* Pid of the process that holds the lock of the folder `dir`; 0 if nobody does; -errno. Never call
 * it from the holder itself. */
pid_t ctl_folder_holder(int dir);

/* Opens ROOT/<slot>. Returns a descriptor or -errno. */
int ctl_folder_open(int root, int slot);

/* Writes a small text file (0600), whole or not at all. Returns 0 or -errno. */
int ctl_file_write(int dir, const char *name, const char *text);
/* Reads one, CTL_FILE_MAX - 1 bytes at most, into `text`, NUL added. Returns 0 or -errno. */
int ctl_file_read(int dir, const char *name, char text[CTL_FILE_MAX]);

/* The value behind `key` (with its "=") at the begin of a line of `text`, whole, into `value`. False if
 * there is none, or it is too long. */
bool ctl_text_find(const char *text, const char *key, char *value, size_t size);

/* Start time of process `pid` in clock ticks since boot (proc(5), field 22), or 0 if there is
 * none. */
unsigned long long ctl_process_start_time(pid_t pid);
