/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/live.c - jobs that live on this node. */
#include "ctl/live.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "ctl/auto.h"
#include "ctl/door.h"
#include "ctl/folder.h"

#define ANSWER_MS 2000 /* for an engine to take an order */
#define SLACK_MS 15000 /* beyond the grace: KILL, sync, freeing of the memory */
#define GONE_MS 5000

bool ctl_id_is_valid(const char *id)
{
    size_t length = strlen(id);
    return length >= 1 && length <= CTL_ID_MAX && strcmp(id, ".") != 0 && strcmp(id, "..") != 0 &&
           strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._[]-") ==
               length;
}

int ctl_live_load(int root, int slot, CtlLive *live)
{
    char text[CTL_FILE_MAX], number[32] = "";
    ctl_autofd dir = ctl_folder_open(root, slot);
    pid_t keeper = dir < 0 ? 0 : ctl_folder_holder(dir);
    if (keeper <= 0 || ctl_file_read(dir, "job", text) < 0)
        return -ENOENT;
    *live = (CtlLive){.slot = slot, .keeper = keeper, .owner = (uid_t)-1};
    if (!ctl_text_find(text, "id=", live->id, sizeof live->id))
        return -ENOENT;
    ctl_text_find(text, "name=", live->name, sizeof live->name);
    if (ctl_text_find(text, "started=", number, sizeof number))
        live->started = strtoll(number, NULL, 10);
    if (ctl_text_find(text, "owner=", number, sizeof number))
        live->owner = (uid_t)strtoul(number, NULL, 10);
    return 0;
}

int ctl_live_find(int root, const char *id, CtlLive *live)
{
    for (int slot = 0; slot < CTL_SLOTS_MAX; slot++)
        if (ctl_live_load(root, slot, live) == 0 && strcmp(live->id, id) == 0)
            return 0;
    return -ENOENT;
}

int ctl_live_connect(int root, int slot)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ctl_autofd dir = ctl_folder_open(root, slot);
    if (dir < 0)
        return dir;
    /* A stopped engine takes no connection: once enough wait, connect() would too. */
    ctl_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    /* The folder's own path may be longer than an address. */
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", dir);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return ctl_fd_steal(&fd);
}

/* True once `fd` is readable or at its end. */
static bool wait_for(int fd, int timeout_ms)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int n;
    do
        n = poll(&ready, 1, timeout_ms);
    while (n < 0 && errno == EINTR);
    return n > 0;
}

/* True if the engine has taken the order. */
static bool ask(int root, int slot, CtlEnd how)
{
    ctl_autofd fd = ctl_live_connect(root, slot);
    return fd >= 0 && ctl_door_send(fd, CTL_END, (uint8_t)how, NULL, 0, NULL, 0) == 0 &&
           wait_for(fd, ANSWER_MS);
}

int ctl_live_end(int root, const CtlLive *live, CtlEnd how, int grace_ms)
{
    ctl_autofd pidfd = (int)syscall(SYS_pidfd_open, live->keeper, 0);
    ctl_autofd dir = ctl_folder_open(root, live->slot);
    /* Asked again: only now is the pid surely the keeper's (F_GETLK, pidfd_open, F_GETLK). */
    if (pidfd < 0 || dir < 0 || ctl_folder_holder(dir) != live->keeper)
        return 0;
    if (ask(root, live->slot, how) &&
        wait_for(pidfd, (how == CTL_END_NOW ? 0 : grace_ms) + SLACK_MS))
        return 0;
    syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0);
    if (!wait_for(pidfd, GONE_MS))
        syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
    if (!wait_for(pidfd, GONE_MS))
        return -EBUSY;
    int swept = ctl_root_sweep(root, GONE_MS);
    if (swept < 0)
        return swept;
    ctl_autofd left = ctl_folder_open(root, live->slot);
    return left >= 0 && ctl_folder_holder(left) == 0 ? -EBUSY : 0;
}
