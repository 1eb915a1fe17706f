/* SPDX-License-Identifier: Apache-2.0 */
/* node/peer.c - TCP between daemons. */
#include "node/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"

#define BACKLOG 64
#define RANDOM_MAX 64

int vt_peer_listen(guint port, GError **error)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((in_port_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_ANY)};
    const int yes = 1;
    vt_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) < 0 ||
        listen(fd, BACKLOG) < 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errno, "cannot listen on TCP port %u (PEER_PORT)",
                           port);
        return -1;
    }
    return vt_fd_steal(&fd);
}

void vt_peer_prepare(int fd)
{
    const int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
}

static char *format(const struct sockaddr_in *address)
{
    char text[INET_ADDRSTRLEN];
    if (address->sin_family != AF_INET ||
        !inet_ntop(AF_INET, &address->sin_addr, text, sizeof text))
        return NULL;
    return g_strdup(text);
}

char *vt_peer_remote(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    return getpeername(fd, (struct sockaddr *)&address, &size) == 0 ? format(&address) : NULL;
}

char *vt_peer_local(int fd)
{
    struct sockaddr_in address = {0};
    socklen_t size = sizeof address;
    return getsockname(fd, (struct sockaddr *)&address, &size) == 0 ? format(&address) : NULL;
}

GStrv vt_peer_lookup(const char *host, GError **error)
{
    const struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    g_autoptr(GStrvBuilder) out = g_strv_builder_new();
    int err = getaddrinfo(host, NULL, &hints, &found);
    if (err != 0) {
        vt_error_set(error, VT_ERROR_HOST, "cannot look up node '%s': %s", host, gai_strerror(err));
        return NULL;
    }
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        g_autofree char *text = format((const struct sockaddr_in *)(const void *)at->ai_addr);
        if (text)
            g_strv_builder_add(out, text);
    }
    freeaddrinfo(found);
    return g_strv_builder_end(out);
}

guint vt_peer_mtu(const char *address)
{
    struct ifaddrs *all = NULL;
    struct ifreq request = {0};
    vt_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || getifaddrs(&all) < 0)
        return 0;
    for (const struct ifaddrs *at = all; at; at = at->ifa_next) {
        g_autofree char *text = at->ifa_addr && at->ifa_addr->sa_family == AF_INET
                                    ? format((const struct sockaddr_in *)(const void *)at->ifa_addr)
                                    : NULL;
        if (g_strcmp0(text, address) == 0)
            g_strlcpy(request.ifr_name, at->ifa_name, sizeof request.ifr_name);
    }
    freeifaddrs(all);
    return request.ifr_name[0] && ioctl(fd, SIOCGIFMTU, &request) == 0 ? (guint)request.ifr_mtu : 0;
}

char *vt_peer_random(gsize size)
{
    guint8 bytes[RANDOM_MAX];
    g_assert(size <= sizeof bytes);
    if (getrandom(bytes, size, 0) != (ssize_t)size)
        return NULL;
    GString *text = g_string_new(NULL);
    for (gsize i = 0; i < size; i++)
        g_string_append_printf(text, "%02x", bytes[i]);
    explicit_bzero(bytes, sizeof bytes);
    return g_string_free(text, FALSE);
}
