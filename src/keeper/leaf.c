/* SPDX-License-Identifier: Apache-2.0 */
/*
 * keeper/leaf.c - the job's leaf in each cgroup hierarchy.
 *
 * Reads from: /proc/self/{cgroup,mountinfo}, the starter's word. Trusts: its starter.
 */
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
#define FILE_MAX (LEAF_PATH_MAX + 32)

/* Controllers of version 1 in which the job gets a leaf, and those in whose cgroup it only lives. */
static const char *const led[] = {"memory", "pids", "cpuacct"};
static const char *const entered[] = {"cpuset", "cpu",     "devices", "freezer",
                                      "blkio",  "hugetlb", "net_cls", "perf_event"};
#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* One mount of a hierarchy. */
typedef struct {
    char root[LEAF_PATH_MAX]; /* of the hierarchy, as it is seen there */
    char mount[LEAF_PATH_MAX];
    const char *controller;
    bool is_led;
} Hierarchy;

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

static const char *find_word(const char *const words[], size_t n, const char *list)
{
    for (size_t i = 0; i < n; i++)
        if (list_has(list, words[i]))
            return words[i];
    return NULL;
}

/* Reads a line of mountinfo. False if it is no hierarchy in which a job has a place. */
static bool read_hierarchy(const char *line, Hierarchy *hierarchy)
{
    char type[64], options[512];
    const char *rest = strstr(line, " - ");
    if (!rest ||
        sscanf(line, "%*d %*d %*s %1023s %1023s", hierarchy->root, hierarchy->mount) != 2 ||
        sscanf(rest, " - %63s %*s %511s", type, options) != 2)
        return false;
    hierarchy->is_led = true;
    if (strcmp(type, "cgroup2") == 0) {
        hierarchy->controller = "";
        return true;
    }
    if (strcmp(type, "cgroup") != 0)
        return false;
    hierarchy->controller = find_word(led, LENGTH(led), options);
    if (hierarchy->controller)
        return true;
    hierarchy->is_led = false;
    hierarchy->controller = find_word(entered, LENGTH(entered), options);
    return hierarchy->controller != NULL;
}

/* The directory of the cgroup below which the job lives in this hierarchy. */
static bool find_parent(const Hierarchy *hierarchy, const LeafWish *wish, char path[LEAF_PATH_MAX])
{
    char own[LEAF_PATH_MAX];
    const char *below = wish->cgroup;
    if (!below) {
        size_t length = strcmp(hierarchy->root, "/") == 0 ? 0 : strlen(hierarchy->root);
        if (!own_path(hierarchy->controller, own))
            return false;
        below = own + (strncmp(own, hierarchy->root, length) == 0 ? length : 0);
    }
    int n = snprintf(path, LEAF_PATH_MAX, "%s%s", hierarchy->mount, below);
    if (n >= LEAF_PATH_MAX)
        return false;
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    return true;
}

static bool write_file(const char *dir, const char *name, const char *text)
{
    char path[FILE_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    ctl_autofd fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t size = (ssize_t)strlen(text);
    return fd >= 0 && write(fd, text, (size_t)size) == size;
}

static bool write_number(const char *dir, const char *name, unsigned long long number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", number);
    return write_file(dir, name, text);
}

static bool has_file(const char *dir, const char *name)
{
    char path[FILE_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* Swap is memory too: a job that was given so much shall not have it twice, on a disk. */
static bool limit_memory(const char *dir, bool is_v2, unsigned long long bytes)
{
    if (is_v2) {
        write_number(dir, "memory.swap.max", 0);
        return write_number(dir, "memory.max", bytes);
    }
    /* Where a job that is over its limit would wait for ever, it would inherit that. */
    write_file(dir, "memory.oom_control", "0");
    bool is_limited = write_number(dir, "memory.limit_in_bytes", bytes);
    write_number(dir, "memory.memsw.limit_in_bytes", bytes);
    return is_limited;
}

static void set_limits(Leaf *leaf, int index, const LeafWish *wish)
{
    const LeafPlace *place = &leaf->places[index];
    bool is_v2 = !*place->controller;
    if ((is_v2 || strcmp(place->controller, "memory") == 0) && wish->memory > 0 &&
        limit_memory(place->path, is_v2, wish->memory))
        leaf->memory = index;
    /* A co-mounted hierarchy goes by another controller's name: the file tells. */
    if (wish->tasks > 0 && write_number(place->path, "pids.max", wish->tasks))
        leaf->tasks = index;
}

/* Finds the file that counts kills by the kernel, from `path` upwards as far as `length` bytes of
 * it. */
static void find_events(Leaf *leaf, const char *path, size_t length, bool is_v2)
{
    const char *name = is_v2 ? "memory.events" : "memory.oom_control";
    char dir[LEAF_PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    while (strlen(dir) >= length && !leaf->events[0]) {
        if (has_file(dir, name))
            snprintf(leaf->events, sizeof leaf->events, "%s/%s", dir, name);
        char *slash = strrchr(dir, '/');
        if (!slash || slash == dir)
            return;
        *slash = '\0';
    }
}

/* Makes the leaf `place->path`. Returns 0 or -errno; -ENOENT: its parent is not there. */
static int make_directory(const LeafPlace *place)
{
    /* One of that name is a killed keeper's: the slot is ours, or the job. */
    if (mkdir(place->path, 0755) < 0 &&
        (errno != EEXIST || rmdir(place->path) < 0 || mkdir(place->path, 0755) < 0))
        return -errno;
    char procs[FILE_MAX];
    snprintf(procs, sizeof procs, "%s/cgroup.procs", place->path);
    if (access(procs, W_OK) == 0)
        return 0;
    int err = -errno;
    rmdir(place->path);
    return err;
}

/* The leaf's path, or that of the cgroup in which the job only lives. False if it is too long. */
static bool name_place(LeafPlace *place, const char *parent, const char *own, const LeafWish *wish)
{
    const char *name = "";
    if (place->is_made && wish->cgroup)
        name = LEAF_BELOW;
    else if (place->is_made)
        name = own;
    return snprintf(place->path, LEAF_PATH_MAX, "%s%s%s", parent, *name ? "/" : "", name) <
           LEAF_PATH_MAX;
}

static int make_place(Leaf *leaf, const Hierarchy *hierarchy, const char *parent, const char *name,
                      const LeafWish *wish)
{
    LeafPlace *place = &leaf->places[leaf->count];
    bool is_v2 = !*hierarchy->controller;
    *place = (LeafPlace){.controller = hierarchy->controller, .is_made = hierarchy->is_led};
    if (!name_place(place, parent, name, wish))
        return -ENAMETOOLONG;
    if (!hierarchy->is_led) {
        leaf->count += access(place->path, F_OK) == 0;
        return 0;
    }
    /* Only the root, which has no type, may have processes and hand controllers on: elsewhere +pids
     * would be taken and turn the cgroup into the root of a threaded tree, which nobody can enter.
     * Each by itself, for one may be missing. */
    if (is_v2 && !wish->cgroup && !has_file(parent, "cgroup.type")) {
        write_file(parent, "cgroup.subtree_control", "+memory");
        write_file(parent, "cgroup.subtree_control", "+pids");
    }
    int err = make_directory(place);
    if (err < 0)
        return err == -ENOENT ? 0 : err;
    if (is_v2) {
        leaf->v2 = open(place->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        leaf->v2_index = leaf->count;
    }
    set_limits(leaf, leaf->count++, wish);
    return 0;
}

static bool is_known(const Leaf *leaf, const char *controller)
{
    for (int i = 0; i < leaf->count; i++)
        if (strcmp(leaf->places[i].controller, controller) == 0)
            return true;
    return false;
}

/* The job's place in one hierarchy, if it has one there. Returns 0, or -errno that counts below a
 * named cgroup alone. */
static int make_one(Leaf *leaf, const Hierarchy *hierarchy, const char *name, const LeafWish *wish)
{
    char parent[LEAF_PATH_MAX];
    /* The same hierarchy may be mounted twice. */
    if (leaf->count == LEAVES_MAX || (!hierarchy->is_led && !wish->cgroup) ||
        is_known(leaf, hierarchy->controller) || !find_parent(hierarchy, wish, parent))
        return 0;
    int before = leaf->count;
    int err = make_place(leaf, hierarchy, parent, name, wish);
    bool is_v2 = !*hierarchy->controller;
    if (is_v2 || strcmp(hierarchy->controller, "memory") == 0)
        find_events(leaf, leaf->count > before ? leaf->places[before].path : parent,
                    strlen(hierarchy->mount), is_v2);
    return err;
}

static bool is_path(const char *cgroup)
{
    size_t length = strlen(cgroup);
    return cgroup[0] == '/' && length < LEAF_PATH_MAX && !strstr(cgroup, "/../") &&
           (length < 3 || strcmp(cgroup + length - 3, "/..") != 0);
}

static int count_made(const Leaf *leaf)
{
    int made = 0;
    for (int i = 0; i < leaf->count; i++)
        made += leaf->places[i].is_made;
    return made;
}

int leaf_make(int root, int slot, const LeafWish *wish, Leaf *leaf)
{
    struct stat st;
    char name[80];
    *leaf = LEAF_NONE;
    leaf->must_enter = wish->cgroup != NULL;
    if (wish->cgroup && !is_path(wish->cgroup))
        return -EINVAL;
    if (fstat(root, &st) < 0)
        return -errno;
    snprintf(name, sizeof name, "vtorque-%u-%d-%llx.%llx", geteuid(), slot,
             (unsigned long long)st.st_dev, (unsigned long long)st.st_ino);
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char line[4096];
    int err = 0;
    while (file && fgets(line, sizeof line, file)) {
        Hierarchy hierarchy;
        int one = read_hierarchy(line, &hierarchy) ? make_one(leaf, &hierarchy, name, wish) : 0;
        err = err < 0 ? err : one;
    }
    if (file)
        fclose(file);
    if (!wish->cgroup)
        return 0;
    return err < 0 ? err : count_made(leaf) == 0 ? -ENOENT : 0;
}

int leaf_enter(const Leaf *leaf, bool is_in_v2)
{
    int missed = 0;
    for (int i = 0; i < leaf->count; i++) {
        bool is_v2 = i == leaf->v2_index;
        if (is_v2 && is_in_v2)
            continue;
        /* Since Linux 5.5 a thread that moves itself alone needs no lock; a move by pid waits 10 ms
         * and more for one. */
        if (write_file(leaf->places[i].path, is_v2 ? "cgroup.procs" : "tasks", "0"))
            continue;
        /* Of a threaded or a foreign domain, or another's delegation: the job lives without this
         * leaf. */
        if (leaf->must_enter ||
            (errno != EOPNOTSUPP && errno != EBUSY && errno != EACCES && errno != EPERM))
            return -errno;
        missed |= 1 << i;
    }
    return missed;
}

void leaf_miss(Leaf *leaf, int missed)
{
    if (leaf->memory >= 0 && (missed & 1 << leaf->memory)) {
        leaf->memory = -1;
        leaf->events[0] = '\0';
    }
    if (leaf->tasks >= 0 && (missed & 1 << leaf->tasks))
        leaf->tasks = -1;
}

void leaf_explain(const Leaf *leaf, const LeafWish *wish, char *text, size_t size)
{
    static const char none[] = "nobody: no cgroup with that controller can be made here";
    snprintf(text, size, "memory held to %llu MiB by %s; processes and threads to %lu by %s",
             wish->memory >> 20, leaf->memory < 0 ? none : leaf->places[leaf->memory].path,
             wish->tasks, leaf->tasks < 0 ? none : leaf->places[leaf->tasks].path);
}

void leaf_remove(Leaf *leaf)
{
    for (int i = 0; i < leaf->count; i++)
        for (int tries = 0; leaf->places[i].is_made && rmdir(leaf->places[i].path) < 0 &&
                            errno == EBUSY && tries < REMOVE_TRIES;
             tries++)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    if (leaf->v2 >= 0)
        close(leaf->v2);
    *leaf = LEAF_NONE;
}
