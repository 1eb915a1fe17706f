/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest/channel.h - frames of wire/wire.h over a stream socket, without blocking.
 *
 * Theory of operation. One watch reads into a buffer and hands out whole frames; one watch, there
 * only while something is queued, writes: what one event has queued leaves in one piece, which an
 * emulated guest takes in one interrupt. A channel that fails (end of stream, bad frame, full
 * queue) closes its socket, calls `closed` once and is mute from then on. A peer that is gone is no
 * failure of a send: what it said last is still read, up to its end. Runs in the default GLib main
 * context.
 *
 * Reads from: an agent (hostile), a run or control connection (the owner's). Trusts: nothing.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "wire/wire.h"

#define VT_CHANNEL_QUEUE_MAX (128u * 1024 * 1024) /* bytes; a script of the largest size twice */

typedef struct VtChannel VtChannel;

typedef struct {
    /* A frame; `payload` lives during the call. */
    void (*frame)(const WireHeader *header, const guint8 *payload, gpointer data);
    /* Nothing comes any more; `reason` is "" for an orderly end of stream. */
    void (*closed)(const char *reason, gpointer data);
    /* Bytes were written and `vt_channel_queued()` has become smaller. May be NULL. */
    void (*drained)(gpointer data);
} VtChannelHandlers;

/* Takes over `fd`, makes it non-blocking. */
VtChannel *vt_channel_new(int fd, const VtChannelHandlers *handlers, gpointer data);
/* Writes what the socket takes of the queue and closes it; calls nothing. Safe inside a handler. */
void vt_channel_free(VtChannel *channel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtChannel, vt_channel_free)

/* What stands between the frames and the socket. */
typedef struct {
    /* As read(2) and write(2) of a non-blocking descriptor */
    ssize_t (*read)(gpointer data, void *bytes, gsize size);
    ssize_t (*write)(gpointer data, const void *bytes, gsize size);
    /* Frames may leave; until then they wait, and what is read gets it there */
    bool (*is_ready)(gpointer data);
    /* Bytes wait that no poll(2) shows */
    bool (*has_pending)(gpointer data);
    void (*free)(gpointer data);
} VtChannelLayer;

/* Of a channel that nothing has been sent over. `layer` is static; `data` (transfer full). */
void vt_channel_set_layer(VtChannel *channel, const VtChannelLayer *layer, gpointer data);
/* The socket, borrowed; -1: it is closed. */
int vt_channel_get_fd(const VtChannel *channel);

#define VT_CHANNEL_FDS 2 /* descriptors that are kept until somebody takes them */

/* From now on descriptors that come with the bytes are kept, close-on-exec; those beyond
 * VT_CHANNEL_FDS are closed. Without this the kernel drops them all. */
void vt_channel_keep_fds(VtChannel *channel);
/* The oldest of them, or -1. (transfer full) */
int vt_channel_take_fd(VtChannel *channel);

/* Queues a frame, of WIRE_PAYLOAD_MAX bytes at most. Does nothing on a closed channel, or on NULL:
 * one that its own failure, during an earlier frame, made its owner free. */
void vt_channel_send(VtChannel *channel, guint8 type, guint8 aux, const void *payload, gsize size);
/* The same, of another session than 0. */
void vt_channel_send_to(VtChannel *channel, guint16 session, guint8 type, guint8 aux,
                        const void *payload, gsize size);
void vt_channel_send_u32(VtChannel *channel, guint8 type, guint8 aux, guint32 value);
/* `text` is cut to WIRE_STRING_MAX bytes. */
void vt_channel_send_text(VtChannel *channel, guint8 type, guint8 aux, const char *text);

/* Writes now what the socket takes, for who will not come back to the loop for a while. Does nothing on
 * NULL. */
void vt_channel_flush(VtChannel *channel);

gsize vt_channel_queued(const VtChannel *channel);
