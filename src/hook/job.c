/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hook/job.c - what Torque says of a job: by arguments, environment, node file and its own
 * configuration.
 *
 * Reads from: text of which the user controls much: the values of resources are not escaped, so
 * that one may hold what looks like another. What is found twice counts as the least.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ctl/auto.h"
#include "ctl/mom.h"
#include "hook/hook.h"

#define PREFIX "vtorque:"
#define MEMORY_MIB_MAX (1ULL << 40)
#define RESOURCES_MAX 2048   /* bytes that Torque gives a hook; what does not fit is left out */
#define ENTRY_MAX 64         /* bytes of an entry that is a limit */
#define FILE_MAX (64 * 1024) /* bytes of a node file, of mom's configuration */

const char *hook_resources(const Hook *hook)
{
    /* Facts of Torque: argument 5 of prologues, 6 of epilogues. */
    int index = strncmp(hook->name, "prologue", 8) == 0 ? 5 : 6;
    return hook->argc > index ? hook->argv[index] : "";
}

/* True if `text` begins with a request word, which ends at one of `ends`. */
static bool take_word(Hook *hook, const char *text, const char *ends)
{
    size_t length = strcspn(text, ends);
    if (strncmp(text, PREFIX, sizeof PREFIX - 1) != 0 || length >= sizeof hook->request)
        return false;
    memcpy(hook->request, text, length);
    hook->request[length] = '\0';
    return true;
}

/* The value of `key` (with its "=") in a list, at or behind `list`; NULL without one. */
static const char *find_resource(const char *list, const char *key)
{
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, key, strlen(key)) == 0)
            return at + strlen(key);
    }
    return NULL;
}

void hook_find_request(Hook *hook)
{
    static const char ends[] = "+%,";
    const char *other = find_resource(hook_resources(hook), "other=");
    for (const char *part = getenv("PBS_RESOURCE_GRES"); part; part = strpbrk(part, ends)) {
        part += strspn(part, ends);
        if (take_word(hook, part, ends))
            return;
    }
    if (other)
        take_word(hook, other, ",");
}

/* Reads a whole small file into `text`. */
static bool read_file(const char *path, char text[FILE_MAX])
{
    ctl_autofd fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    size_t used = 0;
    ssize_t n = 0;
    while (fd >= 0 && used < FILE_MAX - 1 && (n = read(fd, text + used, FILE_MAX - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    return fd >= 0 && n == 0;
}

int hook_limit_s(void)
{
    static char text[FILE_MAX];
    /* Root's hooks are called in mom_priv. */
    return ctl_mom_limit_s(read_file(CTL_MOM_CONFIG, text) ? text : "");
}

bool hook_is_alone(const Hook *hook)
{
    char own[300];
    /* Root's hooks are called in mom_priv, which has files for each job of the node: ID.SC, ID.JB. */
    DIR *folder = opendir("jobs");
    bool is_alone = folder != NULL;
    int length = snprintf(own, sizeof own, "%s.", hook->argv[1]);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.' && strncmp(entry->d_name, own, (size_t)length) != 0)
            is_alone = false;
    }
    if (folder)
        closedir(folder);
    return is_alone;
}

/* MiB of Torque's SIZE, rounded down, but at least 1; 0 for what is none. */
static unsigned long long parse_size_mib(const char *text)
{
    char *end;
    unsigned long long value = strtoull(text, &end, 10), bytes = 1;
    if (end == text || *text == '-')
        return 0;
    switch (*end | 0x20) {
    case 'k':
        bytes = 1ULL << 10;
        break;
    case 'm':
        bytes = 1ULL << 20;
        break;
    case 'g':
        bytes = 1ULL << 30;
        break;
    case 't':
        bytes = 1ULL << 40;
        break;
    default:
        break;
    }
    end += bytes > 1;
    bytes *= (*end | 0x20) == 'w' ? 8 : 1;
    if (value > UINT64_MAX / bytes)
        return 0;
    /* Less than one is not nothing, which would be no limit. */
    unsigned long long mib = value * bytes >> 20;
    return mib > 0 ? mib : 1;
}

/* Seconds of Torque's [[HH:]MM:]SS; 0 for what is none. */
static unsigned long long parse_duration_s(const char *text)
{
    unsigned long long seconds = 0;
    for (int part = 0; part < 3; part++) {
        char *end;
        unsigned long long value = strtoull(text, &end, 10);
        if (end == text || !isdigit((unsigned char)*text) || value > INT_MAX)
            return 0;
        seconds = seconds * 60 + value;
        if (*end != ':')
            return seconds > INT_MAX ? INT_MAX : seconds;
        text = end + 1;
    }
    return 0;
}

/* The least value of `key` (with its "=") in the resource list, by `parse`; 0: none. */
static unsigned long long find_least(const Hook *hook, const char *key,
                                     unsigned long long (*parse)(const char *text))
{
    unsigned long long least = 0;
    for (const char *at = hook_resources(hook); (at = find_resource(at, key)) != NULL;) {
        unsigned long long value = parse(at);
        if (value > 0 && (least == 0 || value < least))
            least = value;
    }
    return least;
}

/* The lesser of the two limits of memory in MiB; 0: none. */
static unsigned long long find_memory_mib(const Hook *hook, const char *key, const char *other)
{
    unsigned long long mib = find_least(hook, key, parse_size_mib);
    unsigned long long other_mib = find_least(hook, other, parse_size_mib);
    if (mib == 0 || (other_mib > 0 && other_mib < mib))
        mib = other_mib;
    return mib > MEMORY_MIB_MAX ? 0 : mib;
}

/* The nodes of the job, each once, in the order in which the node file names them first. */
typedef struct {
    int lines, n;
    struct {
        const char *name; /* in the text; not terminated */
        size_t length;
        int cores;
    } nodes[HOOK_NODES_MAX];
} NodeFile;

/* False if it has a node too many. */
static bool add_line(NodeFile *file, const char *line, size_t length)
{
    int i = 0;
    while (i < file->n &&
           (file->nodes[i].length != length || strncmp(file->nodes[i].name, line, length) != 0))
        i++;
    if (i == HOOK_NODES_MAX)
        return false;
    if (i == file->n) {
        file->nodes[file->n].name = line;
        file->nodes[file->n++].length = length;
    }
    file->nodes[i].cores++;
    file->lines++;
    return true;
}

/* False: there is no such file, or it is none that the batch system writes. What is read lies in
 * `text`. */
static bool read_nodes(const char *path, char text[FILE_MAX], NodeFile *file)
{
    *file = (NodeFile){0};
    if (!path || !read_file(path, text))
        return false;
    for (const char *at = text; *at;) {
        size_t length = strcspn(at, "\n");
        if (length == 0 || !add_line(file, at, length))
            return false;
        at += length;
        at += *at == '\n';
    }
    return true;
}

/* A positive number; 0 for what is none. */
static int number_of(const char *name)
{
    const char *text = getenv(name);
    char *end = NULL;
    long number = text ? strtol(text, &end, 10) : 0;
    return text && *text && !*end && number > 0 && number <= INT_MAX ? (int)number : 0;
}

/* Torque says no PBS_NP of a job without -l nodes, which has one slot (seen). The list of resources is no
 * witness: values of the user's own may look like another. */
static int count_slots(void)
{
    return getenv("PBS_NP") ? number_of("PBS_NP") : 1;
}

/* At most: two parts of -l nodes may have come to one node. The parts are counted, each a number of nodes or
 * a name, for PBS_NUM_NODES of hooks is 0 where the first is a name (seen). */
static int count_nodes(int slots)
{
    static const char ends[] = ":+#";
    const char *at = getenv("PBS_RESOURCE_NODES");
    int n = 0;
    if (!at || !*at)
        return slots;
    for (; *at && n < slots; at += *at == '+') {
        char *end;
        unsigned long number = strtoul(at, &end, 10);
        bool is_number = *at >= '0' && *at <= '9' && (!*end || strchr(ends, *end));
        if (is_number && number > (unsigned long)(slots - n))
            return slots;
        n += is_number ? (int)number : 1;
        at += strcspn(at, "+");
    }
    return n;
}

/* A cgroup that the batch system has made for the job: where this process is, if that is it. */
static bool find_cgroup(const Hook *hook, char *path, unsigned size)
{
    static char text[FILE_MAX];
    char wanted[300];
    snprintf(wanted, sizeof wanted, "/torque/%s", hook->argv[1]);
    if (!read_file("/proc/self/cgroup", text))
        return false;
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) != NULL;) {
        char *place = strchr(line, ':');
        place = place ? strchr(place + 1, ':') : NULL;
        size_t length = place ? strlen(++place) : 0, end = strlen(wanted);
        if (length >= end && length < size && strcmp(place + length - end, wanted) == 0) {
            memcpy(path, place, length + 1);
            return true;
        }
    }
    return false;
}

/* The same on a further node, where this process is still in the batch daemon's own. */
static bool find_other_cgroup(const Hook *hook, char *path, unsigned size)
{
    char place[2100];
    int n = snprintf(path, size, "/torque/%s", hook->argv[1]);
    int m = snprintf(place, sizeof place, "/sys/fs/cgroup/memory%s", path);
    return n > 0 && (unsigned)n < size && m > 0 && (unsigned)m < sizeof place &&
           access(place, F_OK) == 0;
}

typedef struct {
    char *text;
    unsigned used, size;
    bool ok;
} Lines;

/* A value that no order may hold is left out: the daemon then says what is missing. */
static void add(Lines *lines, const char *key, const char *value)
{
    for (const char *at = value ? value : ""; *at; at++)
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            return;
    if (!value)
        return;
    int n = snprintf(lines->text + lines->used, lines->size - lines->used, "%s=%s\n", key, value);
    lines->ok = lines->ok && n > 0 && (unsigned)n < lines->size - lines->used;
    if (lines->ok)
        lines->used += (unsigned)n;
}

/* 0: nothing to say. */
static void add_number(Lines *lines, const char *key, unsigned long long number)
{
    char text[32];
    snprintf(text, sizeof text, "%llu", number);
    if (number > 0)
        add(lines, key, text);
}

/* HOST:CORES of each node, with commas between. */
static void add_hosts(Lines *lines, const NodeFile *file)
{
    static char hosts[HOOK_NODES_MAX * 80];
    size_t used = 0;
    for (int i = 0; i < file->n; i++) {
        int n = snprintf(hosts + used, sizeof hosts - used, "%s%.*s:%d", i > 0 ? "," : "",
                         (int)file->nodes[i].length, file->nodes[i].name, file->nodes[i].cores);
        if (n < 0 || (size_t)n >= sizeof hosts - used) {
            lines->ok = false;
            return;
        }
        used += (size_t)n;
    }
    add(lines, "hosts", hosts);
}

/* What the batch system says of a job on each of its nodes. It splits `mem` and `vmem` evenly. */
static void add_job(Lines *lines, const Hook *hook, unsigned nodes)
{
    static char cgroup[2048];
    unsigned long long memory_mib = find_memory_mib(hook, "mem=", "vmem=");
    add(lines, "version", "1");
    add(lines, "id", hook->argv[1]);
    add(lines, "user", hook->argv[2]);
    add(lines, "name", hook->argv[4]);
    add(lines, "queue", hook->argv[6]);
    add(lines, "request", hook->request);
    add(lines, "work_dir", getenv("PBS_O_WORKDIR"));
    add_number(lines, "memory_mib", memory_mib > 0 && memory_mib < nodes ? 1 : memory_mib / nodes);
    add_number(lines, "core_memory_mib", find_memory_mib(hook, "pmem=", "pvmem="));
    add_number(lines, "cput_s", find_least(hook, "cput=", parse_duration_s));
    bool has_cgroup =
        find_cgroup(hook, cgroup, sizeof cgroup) || find_other_cgroup(hook, cgroup, sizeof cgroup);
    add(lines, "cgroup", has_cgroup ? cgroup : NULL);
}

static const char *check_call(const Hook *hook)
{
    if (hook->argc < 7)
        return "the batch system called the prologue with too few arguments";
    if (strlen(hook_resources(hook)) + ENTRY_MAX >= RESOURCES_MAX)
        return "the job's resources are so long that the batch system may leave out its limits";
    return NULL;
}

const char *hook_format_order(const Hook *hook, char *text, unsigned size)
{
    static char nodes[FILE_MAX];
    static NodeFile file;
    Lines lines = {.text = text, .size = size, .ok = true};
    const char *problem = check_call(hook);
    if (problem)
        return problem;
    /* Torque writes the user's own list of hosts over the node file, if the job has one: of two nodes granted it
     * may name one of them twice (Torque's source, start_exec.c). */
    if (getenv("BEOWULF_JOB_MAP"))
        return "the job's variable BEOWULF_JOB_MAP puts other nodes in the place of what the batch "
               "system granted";
    if (!read_nodes(getenv("PBS_NODEFILE"), nodes, &file) || file.lines < 1 ||
        file.lines != count_slots() || file.n > count_nodes(file.lines))
        return "the job's node file is not what the batch system granted";
    add_job(&lines, hook, (unsigned)file.n);
    add(&lines, "node_file", getenv("PBS_NODEFILE"));
    add_number(&lines, "cores", (unsigned)file.nodes[0].cores);
    if (file.n > 1)
        add_hosts(&lines, &file);
    add(&lines, "ticket", hook->ticket[0] ? hook->ticket : NULL);
    return lines.ok ? NULL : "the job's order is too long";
}

const char *hook_format_registration(const Hook *hook, char *text, unsigned size)
{
    Lines lines = {.text = text, .size = size, .ok = true};
    const char *problem = check_call(hook);
    int slots = count_slots(), nodes = count_nodes(slots);
    if (problem)
        return problem;
    if (nodes < 2)
        return "the batch system did not say how many nodes the job has";
    add_job(&lines, hook, (unsigned)nodes);
    add(&lines, "leader", getenv("PBS_MSHOST"));
    add_number(&lines, "node", (unsigned)number_of("PBS_NODENUM"));
    add_number(&lines, "nodes", (unsigned)nodes);
    add_number(&lines, "np", (unsigned)slots);
    return lines.ok ? NULL : "the job's registration is too long";
}
