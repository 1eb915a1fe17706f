/* SPDX-License-Identifier: Apache-2.0 */
/* agent/system.c - handing a guest over to its image's own init. */
#include "agent/system.h"

#include "agent/fd.h"
#include "agent/say.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ARGUMENT "vtorque.system="
#define ROOT "/newroot"

enum { COMMAND_LINE_MAX = 4096, VALUE_MAX = 64 };

/* Sets `value` to what stands behind ARGUMENT, "" if it is not there. */
static void read_argument(char value[VALUE_MAX])
{
    auto_fd fd = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    char line[COMMAND_LINE_MAX + 1], *word, *rest = line;
    ssize_t size = fd < 0 ? 0 : read(fd, line, COMMAND_LINE_MAX);

    value[0] = '\0';
    line[size > 0 ? size : 0] = '\0';
    while ((word = strsep(&rest, " \n")))
        if (strncmp(word, ARGUMENT, strlen(ARGUMENT)) == 0 &&
            strlen(word + strlen(ARGUMENT)) < VALUE_MAX)
            strcpy(value, word + strlen(ARGUMENT));
}

bool system_is_wanted(void)
{
    char value[VALUE_MAX];

    read_argument(value);
    return value[0] != '\0';
}

static int move_mounts(void)
{
    static const char *const moved[] = {"/dev", "/proc", "/sys", "/run"};
    char target[32];

    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        strcpy(stpcpy(target, ROOT), moved[i]);
        if (mount(moved[i], target, NULL, MS_MOVE, NULL) < 0)
            return -errno;
    }
    return 0;
}

static int execute_init(void)
{
    static const char *const programs[] = {"/sbin/init", "/usr/lib/systemd/systemd",
                                           "/lib/systemd/systemd", "/etc/init"};
    const char *const environment[] = {"HOME=/", "TERM=linux", NULL};

    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        const char *const arguments[] = {programs[i], NULL};

        execve(programs[i], (char *const *)arguments, (char *const *)environment);
        if (errno != ENOENT)
            return -errno;
    }
    return -ENOENT;
}

int system_enter(const char **what)
{
    char value[VALUE_MAX], *type;
    int error;

    read_argument(value);
    type = strchr(value, ',');
    *what = "read " ARGUMENT "DEVICE,TYPE";
    if (!type)
        return -EINVAL;
    *type++ = '\0';
    *what = "mount the image's root";
    if (mount(value, ROOT, type, MS_NOATIME, NULL) < 0)
        return -errno;
    *what = "move /dev, /proc, /sys and /run into the image's root";
    error = move_mounts();
    if (error)
        return error;
    *what = "enter the image's root";
    if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 ||
        chdir("/") < 0)
        return -errno;
    *what = "execute the image's init";
    return execute_init();
}

/* sd_notify(3) */
void system_announce_ready(void)
{
    static const char ready[] = "READY=1";
    const char *path = getenv("NOTIFY_SOCKET");
    size_t size = path ? strlen(path) : 0;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    auto_fd fd = -1;

    if (size == 0 || size >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, size);
    if (path[0] == '@')
        address.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || sendto(fd, ready, strlen(ready), MSG_NOSIGNAL, (const struct sockaddr *)&address,
                         (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size)) < 0)
        say("cannot tell init that the guest is prepared: %s", strerror(errno));
}
