/* SPDX-License-Identifier: Apache-2.0 */
/* keeper/leaf.c - the job's leaf in each cgroup hierarchy. */
#include "keeper/leaf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ctl/auto.h"

/* Of 1 ms: a dead process leaves its cgroup a moment after wait() has seen it. */
#define REMOVE_TRIES 2000

/* True if the comma list `list` has the word `word`. */
static bool list_has(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ',') && (at[length] == '\0' || at[length] == ','))
            return true;
    return false;
}

/* Path of this process in the hierarchy with `controller` ("" for version 2), from
 * /proc/self/cgroup. */
static bool own_path(const char *controller, char path[LEAF_PATH_MAX])
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    char line[LEAF_PATH_MAX + 128];
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        char *list = strchr(line, ':');
        char *at = list ? strchr(list + 1, ':') : NULL;
        if (!at)
            continue;
        *at++ = '\0';
        at[strcspn(at, "\n")] = '\0';
        found = *controller ? list_has(list + 1, controller) : list[1] == '\0';
        if (found)
            snprintf(path, LEAF_PATH_MAX, "%s", at);
    }
    if (file)
        fclose(file);
    return found;
}

/* The controller of version 1 that this mount is wanted for, "" for version 2, NULL for neither. */
static const char *wanted(const char *type, const char *options)
{
    static const char *const controllers[] = {"memory", "pids", "cpuacct"};
    if (strcmp(type, "cgroup2") == 0)
        return "";
    if (strcmp(type, "cgroup") != 0)
        return NULL;
    for (size_t i = 0; i < sizeof controllers / sizeof *controllers; i++)
        if (list_has(options, controllers[i]))
            return controllers[i];
    return NULL;
}

/* Makes the leaf in the hierarchy mounted at `mount`, whose root there is `root`. */
static void make_one(Leaf *leaf, const char *mount, const char *root, const char *controller,
                     int slot)
{
    char own[LEAF_PATH_MAX];
    if (leaf->count == LEAVES_MAX || !own_path(controller, own))
        return;
    const char *below = own;
    size_t length = strcmp(root, "/") == 0 ? 0 : strlen(root);
    if (strncmp(own, root, length) == 0)
        below += length;
    char *path = leaf->path[leaf->count];
    int n = snprintf(path, LEAF_PATH_MAX, "%s%s%svtorque-%u-%d", mount, below,
                     below[0] && below[strlen(below) - 1] == '/' ? "" : "/", geteuid(), slot);
    if (n >= LEAF_PATH_MAX)
        return;
    /* One of that name is a killed keeper's: the slot is ours. */
    if (mkdir(path, 0755) < 0 && (errno != EEXIST || rmdir(path) < 0 || mkdir(path, 0755) < 0))
        return;
    char procs[LEAF_PATH_MAX + 16];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", path);
    if (access(procs, W_OK) < 0) {
        rmdir(path);
        return;
    }
    if (!*controller) {
        leaf->v2 = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        leaf->v2_index = leaf->count;
    }
    leaf->count++;
}

void leaf_make(int slot, Leaf *leaf)
{
    *leaf = LEAF_NONE;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096], root[LEAF_PATH_MAX], mount[LEAF_PATH_MAX], type[64], options[512];
    while (file && fgets(line, sizeof line, file)) {
        char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*d %*d %*s %1023s %1023s", root, mount) != 2 ||
            sscanf(rest, " - %63s %*s %511s", type, options) != 2)
            continue;
        const char *controller = wanted(type, options);
        if (controller)
            make_one(leaf, mount, root, controller, slot);
    }
    if (file)
        fclose(file);
}

int leaf_enter(const Leaf *leaf, bool is_in_v2)
{
    for (int i = 0; i < leaf->count; i++) {
        char file[LEAF_PATH_MAX + 16];
        bool is_v2 = i == leaf->v2_index;
        if (is_v2 && is_in_v2)
            continue;
        /* Since Linux 5.5 a thread that moves itself alone needs no lock; a move by pid waits 10 ms
         * and more for one. */
        snprintf(file, sizeof file, "%s/%s", leaf->path[i], is_v2 ? "cgroup.procs" : "tasks");
        ctl_autofd fd = open(file, O_WRONLY | O_CLOEXEC);
        if (fd >= 0 && write(fd, "0", 1) == 1)
            continue;
        /* Of a threaded or a foreign domain, or another's delegation: the job lives without this
         * leaf. */
        if (errno != EOPNOTSUPP && errno != EBUSY && errno != EACCES && errno != EPERM)
            return -errno;
    }
    return 0;
}

void leaf_remove(Leaf *leaf)
{
    for (int i = 0; i < leaf->count; i++)
        for (int tries = 0; rmdir(leaf->path[i]) < 0 && errno == EBUSY && tries < REMOVE_TRIES;
             tries++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (leaf->v2 >= 0)
        close(leaf->v2);
    *leaf = LEAF_NONE;
}
