/* SPDX-License-Identifier: Apache-2.0 */
/* net/netlink.c - netlink by libnl, whose sockets children would have. */
#include "net/netlink.h"

#include <fcntl.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>

#include "base/error.h"

bool vt_netlink_fail(GError **error, const char *what, int err)
{
    return vt_error_set(error, VT_ERROR_HOST, "the network between the job's nodes: %s: %s", what,
                        nl_geterror(err));
}

/* A negative number of libnl's, or 0 and a socket. */
static int open_socket(int protocol, struct nl_sock **socket)
{
    *socket = nl_socket_alloc();
    int err = *socket ? nl_connect(*socket, protocol) : -NLE_NOMEM;
    if (err == 0)
        fcntl(nl_socket_get_fd(*socket), F_SETFD, FD_CLOEXEC);
    else
        nl_socket_free(g_steal_pointer(socket));
    return err;
}

struct nl_sock *vt_netlink_open(GError **error)
{
    struct nl_sock *socket;
    int err = open_socket(NETLINK_ROUTE, &socket);
    if (err < 0)
        vt_netlink_fail(error, "netlink", err);
    return socket;
}

struct nl_sock *vt_netlink_open_generic(const char *name, int *family)
{
    struct nl_sock *socket;
    *family = open_socket(NETLINK_GENERIC, &socket) == 0 ? genl_ctrl_resolve(socket, name) : -1;
    if (*family >= 0)
        return socket;
    nl_socket_free(socket);
    return NULL;
}

bool vt_netlink_has_generic(const char *name)
{
    int family;
    struct nl_sock *socket = vt_netlink_open_generic(name, &family);
    nl_socket_free(socket);
    return socket != NULL;
}
