/* SPDX-License-Identifier: Apache-2.0 */
/* net/generic.c - generic netlink by libnl. */
#include "net/generic.h"

#include <fcntl.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

struct nl_sock *vt_generic_open(const char *name, int *family)
{
    struct nl_sock *socket = nl_socket_alloc();
    *family = -1;
    if (socket && genl_connect(socket) == 0) {
        fcntl(nl_socket_get_fd(socket), F_SETFD, FD_CLOEXEC);
        *family = genl_ctrl_resolve(socket, name);
    }
    if (*family >= 0)
        return socket;
    nl_socket_free(socket);
    return NULL;
}

bool vt_generic_has(const char *name)
{
    int family;
    struct nl_sock *socket = vt_generic_open(name, &family);
    nl_socket_free(socket);
    return socket != NULL;
}
