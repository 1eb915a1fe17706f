/* SPDX-License-Identifier: Apache-2.0 */
/* agent/link.c - the port's bytes to and from frames. */
#include "agent/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

void link_init(Link *link, int fd)
{
    link->fd = fd;
    link->error = 0;
    link->at = link->used = 0;
}

int link_fill(Link *link)
{
    ssize_t count;

    memmove(link->in, link->in + link->at, link->used - link->at);
    link->used -= link->at;
    link->at = 0;
    count = read(link->fd, link->in + link->used, sizeof link->in - link->used);
    if (count == 0)
        return -EPIPE;
    if (count < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    link->used += (size_t)count;
    return 0;
}

int link_next(Link *link, WireHeader *header, const uint8_t **payload)
{
    const uint8_t *frame = link->in + link->at;
    size_t left = link->used - link->at;
    int error;

    if (left < WIRE_HEADER_SIZE)
        return 0;
    error = wire_header_parse(frame, header);
    if (error)
        return error;
    if (left - WIRE_HEADER_SIZE < header->length)
        return 0;
    *payload = frame + WIRE_HEADER_SIZE;
    link->at += WIRE_HEADER_SIZE + header->length;
    return 1;
}

/* Returns 0 when the port takes bytes again, -EPIPE if nobody is at its other end. */
static int wait_writable(Link *link)
{
    struct pollfd port = {.fd = link->fd, .events = POLLOUT};

    if (poll(&port, 1, -1) < 0 && errno != EINTR)
        return -errno;
    return port.revents & (POLLHUP | POLLERR) ? -EPIPE : 0;
}

static int write_all(Link *link, const uint8_t *bytes, size_t size)
{
    while (size > 0) {
        ssize_t count = write(link->fd, bytes, size);
        int error = 0;

        if (count > 0) {
            bytes += count;
            size -= (size_t)count;
        } else if (count == 0 || errno == EAGAIN) {
            error = wait_writable(link);
        } else if (errno != EINTR) {
            error = -errno;
        }
        if (error)
            return error;
    }
    return 0;
}

uint8_t *link_payload(Link *link)
{
    return link->out + WIRE_HEADER_SIZE;
}

WireWriter link_writer(Link *link)
{
    return wire_writer(link_payload(link), WIRE_PAYLOAD_MAX);
}

void link_send(Link *link, WireType type, uint8_t aux, uint16_t session, size_t length)
{
    WireHeader header = {
        .length = (uint32_t)length, .type = (uint8_t)type, .aux = aux, .session = session};

    if (link->error)
        return;
    wire_header_format(&header, link->out);
    link->error = write_all(link, link->out, WIRE_HEADER_SIZE + length);
}

void link_send_empty(Link *link, WireType type, uint8_t aux, uint16_t session)
{
    link_send(link, type, aux, session, 0);
}

void link_send_u32(Link *link, WireType type, uint8_t aux, uint16_t session, uint32_t value)
{
    WireWriter writer = link_writer(link);

    wire_put_u32(&writer, value);
    link_send(link, type, aux, session, writer.used);
}

void link_make_synchronous(Link *link)
{
    /* A blocking write waits in the driver until the host has consumed the buffer. */
    int flags = fcntl(link->fd, F_GETFL);

    if (flags >= 0)
        fcntl(link->fd, F_SETFL, flags & ~O_NONBLOCK);
}
