/* SPDX-License-Identifier: Apache-2.0 */
/* ctl/door.c - frames over the daemon's sockets, one after the other, each with a deadline. */
#include "ctl/door.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>

#include "ctl/auto.h"

#define RETRY_MS 50 /* between tries where no daemon listens: one that is restarted takes as long */

long long ctl_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static int connect_once(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ctl_autofd fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    /* Blocks while the backlog is full; a daemon that is stopped keeps nobody longer than this. */
    const struct timeval patience = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    return ctl_fd_steal(&fd);
}

int ctl_door_connect(const char *path, int patience_ms)
{
    long long deadline = ctl_now_ms() + patience_ms;
    for (;;) {
        int fd = connect_once(path);
        bool is_away = fd == -ENOENT || fd == -ECONNREFUSED || fd == -EAGAIN;
        if (!is_away || ctl_now_ms() >= deadline)
            return fd;
        nanosleep(&(struct timespec){.tv_nsec = RETRY_MS * 1000000L}, NULL);
    }
}

static int send_all(int fd, struct msghdr *message)
{
    while (message->msg_iovlen > 0) {
        ssize_t n = sendmsg(fd, message, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        /* The descriptors went with the first byte. */
        message->msg_control = NULL;
        message->msg_controllen = 0;
        while (message->msg_iovlen > 0 && (size_t)n >= message->msg_iov->iov_len) {
            n -= (ssize_t)message->msg_iov->iov_len;
            message->msg_iov++;
            message->msg_iovlen--;
        }
        if (message->msg_iovlen > 0) {
            message->msg_iov->iov_base = (char *)message->msg_iov->iov_base + n;
            message->msg_iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

int ctl_door_send(int fd, uint8_t type, uint8_t aux, const void *payload, size_t size,
                  const int *fds, int n)
{
    uint8_t bytes[WIRE_HEADER_SIZE];
    const WireHeader header = {.length = (uint32_t)size, .type = type, .aux = aux};
    struct iovec parts[] = {{bytes, sizeof bytes}, {(void *)(uintptr_t)payload, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(CTL_DOOR_FDS_MAX * sizeof(int))];
    } control = {0};
    if (size > WIRE_PAYLOAD_MAX || n > CTL_DOOR_FDS_MAX)
        return -EMSGSIZE;
    wire_header_format(&header, bytes);
    if (n > 0) {
        size_t length = (size_t)n * sizeof *fds;
        message.msg_control = &control;
        message.msg_controllen = CMSG_SPACE(length);
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(length), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, length);
    }
    return send_all(fd, &message);
}

int ctl_door_send_text(int fd, uint8_t type, uint8_t aux, const char *text)
{
    uint8_t payload[2 + WIRE_STRING_MAX];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_string(&writer, text);
    return writer.ok ? ctl_door_send(fd, type, aux, payload, writer.used, NULL, 0) : -EMSGSIZE;
}

static int read_by(int fd, void *data, size_t size, long long deadline)
{
    uint8_t *at = data;
    while (size > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        long long left = deadline - ctl_now_ms();
        int n = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -ETIMEDOUT;
        ssize_t got = recv(fd, at, size, 0);
        if (got < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ECONNRESET;
        at += got;
        size -= (size_t)got;
    }
    return 0;
}

int ctl_door_receive(int fd, WireHeader *header, void *payload, int timeout_ms)
{
    uint8_t bytes[WIRE_HEADER_SIZE];
    long long deadline = ctl_now_ms() + timeout_ms;
    int err = read_by(fd, bytes, sizeof bytes, deadline);
    if (err == 0)
        err = wire_header_parse(bytes, header);
    if (err == 0 && header->session != 0)
        err = -EPROTO;
    return err < 0 ? err : read_by(fd, payload, header->length, deadline);
}
