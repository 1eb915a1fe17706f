/* SPDX-License-Identifier: Apache-2.0 */
/* guest/channel.c - frames over a stream socket, without blocking. */
#include "guest/channel.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

#define READ_SIZE (2 * (WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX))
#define QUEUE_COMPACT (1024 * 1024) /* written bytes that may lie at the queue's start */

struct VtChannel {
    int fd;
    VtChannelHandlers handlers;
    gpointer data;
    GByteArray *queue; /* its first `sent` bytes are written */
    gsize sent;
    guint8 *input;
    gsize filled;
    guint reader, writer;        /* GLib sources, 0 = none */
    const VtChannelLayer *layer; /* NULL: none */
    gpointer layer_data;
    bool keeps_fds;
    int fds[VT_CHANNEL_FDS]; /* the first `n_fds`, oldest first */
    guint n_fds;
    guint users; /* calls that are under way: freed by the last */
    bool freed;
};

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data);

static void close_socket(VtChannel *channel)
{
    g_clear_handle_id(&channel->reader, g_source_remove);
    g_clear_handle_id(&channel->writer, g_source_remove);
    vt_fd_clear(&channel->fd);
}

static void enter(VtChannel *channel)
{
    channel->users++;
}

static void leave(VtChannel *channel)
{
    if (--channel->users > 0 || !channel->freed)
        return;
    for (guint i = 0; i < channel->n_fds; i++)
        close(channel->fds[i]);
    if (channel->layer)
        channel->layer->free(channel->layer_data);
    g_byte_array_unref(channel->queue);
    g_free(channel->input);
    g_free(channel);
}

VtChannel *vt_channel_new(int fd, const VtChannelHandlers *handlers, gpointer data)
{
    VtChannel *channel = g_new0(VtChannel, 1);
    channel->fd = fd;
    channel->handlers = *handlers;
    channel->data = data;
    channel->queue = g_byte_array_new();
    channel->input = g_malloc(READ_SIZE);
    g_unix_set_fd_nonblocking(fd, TRUE, NULL);
    channel->reader = g_unix_fd_add(fd, G_IO_IN | G_IO_HUP | G_IO_ERR, on_readable, channel);
    return channel;
}

static void fail(VtChannel *channel, const char *reason)
{
    if (channel->fd < 0)
        return;
    close_socket(channel);
    if (!channel->freed)
        channel->handlers.closed(reason, channel->data);
}

/* Hands out all whole frames of the buffer. */
static void dispatch(VtChannel *channel)
{
    gsize at = 0;
    while (channel->filled - at >= WIRE_HEADER_SIZE && channel->fd >= 0) {
        WireHeader header;
        if (wire_header_parse(channel->input + at, &header) < 0) {
            fail(channel, "bad frame");
            return;
        }
        if (channel->filled - at < WIRE_HEADER_SIZE + header.length)
            break;
        channel->handlers.frame(&header, channel->input + at + WIRE_HEADER_SIZE, channel->data);
        at += WIRE_HEADER_SIZE + header.length;
    }
    memmove(channel->input, channel->input + at, channel->filled - at);
    channel->filled -= at;
}

/* Keeps the descriptors of `message` that there is room for. */
static void keep_fds(VtChannel *channel, struct msghdr *message)
{
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        gsize n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (gsize i = 0; i < n; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (channel->n_fds < VT_CHANNEL_FDS)
                channel->fds[channel->n_fds++] = fd;
            else
                close(fd);
        }
    }
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data);

/* A watch of a socket that is writable while nothing may be written yet would fire for ever. */
static void watch_queue(VtChannel *channel)
{
    bool is_ready = !channel->layer || channel->layer->is_ready(channel->layer_data);
    if (channel->fd >= 0 && channel->writer == 0 && is_ready && vt_channel_queued(channel) > 0)
        channel->writer = g_unix_fd_add(channel->fd, G_IO_OUT | G_IO_ERR, on_writable, channel);
}

static ssize_t read_some(VtChannel *channel)
{
    struct iovec part = {channel->input + channel->filled, READ_SIZE - channel->filled};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(VT_CHANNEL_FDS * sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (channel->layer)
        return channel->layer->read(channel->layer_data, part.iov_base, part.iov_len);
    if (!channel->keeps_fds)
        return read(channel->fd, part.iov_base, part.iov_len);
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t n = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC);
    if (n >= 0)
        keep_fds(channel, &message);
    return n;
}

static gboolean on_readable(gint fd, GIOCondition condition, gpointer data)
{
    VtChannel *channel = data;
    enter(channel);
    do {
        ssize_t n = read_some(channel);
        if (n > 0) {
            channel->filled += (gsize)n;
            dispatch(channel);
        } else if (n == 0) {
            fail(channel, "");
        } else if (errno != EAGAIN && errno != EINTR) {
            fail(channel, errno == ECONNRESET ? "" : g_strerror(errno));
        }
    } while (channel->fd >= 0 && channel->layer &&
             channel->layer->has_pending(channel->layer_data));
    if (channel->layer)
        watch_queue(channel);
    leave(channel);
    return G_SOURCE_CONTINUE; /* if it was removed meanwhile, this is not looked at */
}

void vt_channel_set_layer(VtChannel *channel, const VtChannelLayer *layer, gpointer data)
{
    channel->layer = layer;
    channel->layer_data = data;
}

int vt_channel_get_fd(const VtChannel *channel)
{
    return channel->fd;
}

void vt_channel_keep_fds(VtChannel *channel)
{
    channel->keeps_fds = true;
}

int vt_channel_take_fd(VtChannel *channel)
{
    if (channel->n_fds == 0)
        return -1;
    int fd = channel->fds[0];
    channel->n_fds--;
    memmove(channel->fds, channel->fds + 1, channel->n_fds * sizeof fd);
    return fd;
}

/* Writes what the socket takes. */
static void flush_queue(VtChannel *channel)
{
    while (channel->fd >= 0 && channel->sent < channel->queue->len) {
        const guint8 *bytes = channel->queue->data + channel->sent;
        gsize size = channel->queue->len - channel->sent;
        ssize_t n = channel->layer ? channel->layer->write(channel->layer_data, bytes, size)
                                   : send(channel->fd, bytes, size, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        /* The reader learns it, behind what is still to be read. */
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            n = (ssize_t)(channel->queue->len - channel->sent);
        if (n < 0 && errno != EAGAIN)
            fail(channel, g_strerror(errno));
        if (n < 0)
            break;
        channel->sent += (gsize)n;
    }
    if (channel->sent == channel->queue->len)
        g_byte_array_set_size(channel->queue, 0), channel->sent = 0;
    else if (channel->sent >= QUEUE_COMPACT)
        g_byte_array_remove_range(channel->queue, 0, (guint)channel->sent), channel->sent = 0;
}

void vt_channel_flush(VtChannel *channel)
{
    if (!channel)
        return;
    enter(channel);
    flush_queue(channel);
    leave(channel);
}

void vt_channel_free(VtChannel *channel)
{
    if (!channel)
        return;
    enter(channel);
    channel->freed = true;
    flush_queue(channel);
    close_socket(channel);
    leave(channel);
}

static gboolean on_writable(gint fd, GIOCondition condition, gpointer data)
{
    VtChannel *channel = data;
    enter(channel);
    flush_queue(channel);
    if (channel->fd >= 0 && channel->queue->len == 0)
        g_clear_handle_id(&channel->writer, g_source_remove);
    if (channel->fd >= 0 && !channel->freed && channel->handlers.drained)
        channel->handlers.drained(channel->data);
    leave(channel);
    return G_SOURCE_CONTINUE;
}

void vt_channel_send(VtChannel *channel, guint8 type, guint8 aux, const void *payload, gsize size)
{
    vt_channel_send_to(channel, 0, type, aux, payload, size);
}

void vt_channel_send_to(VtChannel *channel, guint16 session, guint8 type, guint8 aux,
                        const void *payload, gsize size)
{
    g_assert(size <= WIRE_PAYLOAD_MAX);
    if (!channel || channel->fd < 0)
        return;
    guint8 bytes[WIRE_HEADER_SIZE];
    WireHeader header = {.length = (guint32)size, .type = type, .aux = aux, .session = session};
    wire_header_format(&header, bytes);
    enter(channel);
    if (vt_channel_queued(channel) + sizeof bytes + size > VT_CHANNEL_QUEUE_MAX) {
        fail(channel, "too much is waiting to be sent");
    } else {
        g_byte_array_append(channel->queue, bytes, sizeof bytes);
        if (size > 0)
            g_byte_array_append(channel->queue, payload, (guint)size);
        watch_queue(channel);
    }
    leave(channel);
}

void vt_channel_send_u32(VtChannel *channel, guint8 type, guint8 aux, guint32 value)
{
    guint8 payload[4];
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_u32(&writer, value);
    vt_channel_send(channel, type, aux, payload, sizeof payload);
}

void vt_channel_send_text(VtChannel *channel, guint8 type, guint8 aux, const char *text)
{
    guint8 payload[2 + WIRE_STRING_MAX];
    g_autofree char *cut = g_strndup(text, WIRE_STRING_MAX);
    WireWriter writer = wire_writer(payload, sizeof payload);
    wire_put_string(&writer, cut);
    vt_channel_send(channel, type, aux, payload, writer.used);
}

gsize vt_channel_queued(const VtChannel *channel)
{
    return channel->queue->len - channel->sent;
}
