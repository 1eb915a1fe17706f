/* SPDX-License-Identifier: Apache-2.0 */
/* net/nic.h - QEMU's end of a guest's network. */
#pragma once

#include <stdbool.h>

typedef enum {
    VT_NIC_NONE,
    VT_NIC_TAP,    /* a tap device that takes large segments and checksums left out */
    VT_NIC_SOCKET, /* a connected datagram socket: one frame a datagram */
} VtNicKind;

typedef struct {
    VtNicKind kind;
    int fd;
} VtNic;

/* Bytes of a frame's payload. A tap's is Ethernet's, since large segments pass anyway; a socket takes
 * what a datagram of 64 KiB holds. */
#define VT_NIC_TAP_MTU 1500
#define VT_NIC_SOCKET_MTU 65000
