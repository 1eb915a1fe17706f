/* SPDX-License-Identifier: Apache-2.0 */
/* agent/port.c - looks below /sys/class/virtio-ports at each device event until the port has its
 * name. */
#include "agent/port.h"

#include "agent/directory.h"
#include "agent/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define PORTS "/sys/class/virtio-ports"

/* An event can be lost (a full socket) or absent (no netlink): look again after this time anyway.
 */
enum { LOOK_AGAIN_MS = 10 };

int port_events_open(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1 /* the kernel's own */};
    auto_fd fd =
        socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);

    if (fd < 0 || bind(fd, (const void *)&address, sizeof address) < 0)
        return -1;
    return fd_steal(&fd);
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for an event and takes all that are there: one look serves them all. */
static void wait_event(int events)
{
    struct pollfd watched = {.fd = events, .events = POLLIN};
    char event[4096];

    poll(&watched, 1, LOOK_AGAIN_MS);
    while (events >= 0 && recv(events, event, sizeof event, 0) > 0)
        ;
}

static bool has_our_name(const char *port)
{
    char path[320], name[sizeof PORT_NAME + 1];
    auto_fd fd = -1;
    ssize_t count;

    snprintf(path, sizeof path, PORTS "/%s/name", port);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    count = read(fd, name, sizeof name);
    return count == (ssize_t)sizeof PORT_NAME &&
           memcmp(name, PORT_NAME "\n", sizeof PORT_NAME) == 0;
}

/* Returns the descriptor, or -errno; -ENOENT: not there yet. */
static int find_port(void)
{
    char path[320];
    Directory ports;
    const char *name;
    int fd = -ENOENT;

    if (directory_open(&ports, PORTS) < 0)
        return -ENOENT;
    while (fd == -ENOENT && (name = directory_next(&ports)))
        if (has_our_name(name)) {
            snprintf(path, sizeof path, "/dev/%s", name);
            fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
            if (fd < 0)
                fd = -errno;
        }
    directory_close(&ports);
    return fd;
}

/* The port can have its name before it knows that the host's end is open; reading then would give
 * end-of-file. */
static bool has_host(int fd)
{
    struct pollfd port = {.fd = fd, .events = POLLIN};

    return poll(&port, 1, 0) >= 0 && !(port.revents & POLLHUP);
}

int port_open(int events, int timeout_ms)
{
    long deadline = now_ms() + timeout_ms;
    auto_fd fd = find_port();

    while (fd < 0 || !has_host(fd)) {
        if (fd < 0 && fd != -ENOENT)
            return fd;
        if (now_ms() >= deadline)
            return -ETIMEDOUT;
        wait_event(fd < 0 ? events : -1);
        if (fd < 0)
            fd = find_port();
    }
    return fd_steal(&fd);
}
