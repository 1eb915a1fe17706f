/* SPDX-License-Identifier: Apache-2.0 */
/* net/nic.h - QEMU's end of a guest's network. */
#pragma once

#include <stdbool.h>

typedef enum {
    VT_NIC_NONE,
    VT_NIC_TAP,    /* a tap device that takes large segments and checksums left out */
    VT_NIC_SOCKET, /* a connected datagram socket to the switch: one frame a datagram */
    VT_NIC_OUTER,  /* the same to the relay, on the way out */
} VtNicKind;

typedef struct {
    VtNicKind kind;
    int fd;
} VtNic;

/* Bytes of a frame's payload. A tap's is Ethernet's, since large segments pass anyway; a socket takes
 * what a datagram of 64 KiB holds. With passt 9000 was the fastest: 20 to 60 MiB/s in, where 1500
 * had 5 to 17 and 65000, with whole windows sent twice (net/relay.c), 2 to 95. */
#define VT_NIC_TAP_MTU 1500
#define VT_NIC_SOCKET_MTU 65000
#define VT_NIC_OUTER_MTU 9000
