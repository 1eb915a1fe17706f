/* SPDX-License-Identifier: Apache-2.0 */
/* node/peer.c - TCP to and between daemons. */
#include "node/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <glib-unix.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/hex.h"

#define BACKLOG 64
#define RANDOM_MAX 64
#define CONNECT_MS 10000
#define RETRY_US 100000

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
    const int yes = 1, silence_s = 30, tries = 4;
    const unsigned cut_ms = 120000;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &silence_s, sizeof silence_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &silence_s, sizeof silence_s);
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &cut_ms, sizeof cut_ms);
}

static int connect_to(const char *address, guint port, GError **error)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((in_port_t)port)};
    int errnum = 0;
    socklen_t size = sizeof errnum;
    vt_autofd fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    inet_pton(AF_INET, address, &to.sin_addr);
    if (fd < 0 ||
        (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS))
        errnum = errno;
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    if (errnum == 0 && poll(&ready, 1, CONNECT_MS) <= 0)
        errnum = ETIMEDOUT;
    if (errnum == 0)
        getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &size);
    if (errnum != 0) {
        vt_error_set_errno(error, VT_ERROR_HOST, errnum,
                           "vTorque's daemon there cannot be reached (%s, port %u)", address, port);
        return -1;
    }
    g_unix_set_fd_nonblocking(fd, FALSE, NULL);
    vt_peer_prepare(fd);
    return vt_fd_steal(&fd);
}

char *vt_peer_read_text(const WireHeader *header, const guint8 *payload)
{
    char text[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, text, sizeof text);
    return g_strescape(reader.ok ? text : "it gave no reason", "\n");
}

/* What it says first. */
static bool read_greeting(int fd, guint8 *payload, char **nonce, bool *is_closed, GError **error)
{
    WireHeader header;
    char text[2 * VT_PEER_NONCE_SIZE + 1];
    int err = ctl_door_receive(fd, &header, payload, VT_PEER_SPEAK_MS);
    *is_closed = err == -ECONNRESET;
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err, VT_PEER_NO_ANSWER);
    if (header.type == VT_PEER_REFUSED) {
        g_autofree char *why = vt_peer_read_text(&header, payload);
        return vt_error_set(error, VT_ERROR_HOST, "%s", why);
    }
    WireReader reader = wire_reader(payload, header.length);
    guint16 lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);
    wire_get_string(&reader, text, sizeof text);
    /* It becomes a line of what is sealed. */
    bool is_nonce = vt_hex_is_valid(text, sizeof text - 1);
    if (header.type != VT_PEER_GREETING || !reader.ok || !is_nonce)
        return vt_error_set(error, VT_ERROR_HOST, "what listens there is no vTorque");
    if (lowest > VT_PEER_VERSION || highest < VT_PEER_VERSION)
        return vt_error_set(error, VT_ERROR_HOST, "vTorque there speaks versions %u to %u, here %u",
                            lowest, highest, VT_PEER_VERSION);
    *nonce = g_strdup(text);
    return true;
}

int vt_peer_call(const char *address, guint port, char **nonce, GError **error)
{
    gint64 deadline_us = g_get_monotonic_time() + CONNECT_MS * G_GINT64_CONSTANT(1000);
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    for (;;) {
        g_clear_error(error);
        vt_autofd fd = connect_to(address, port, error);
        bool is_closed = false;
        if (fd >= 0 && read_greeting(fd, payload, nonce, &is_closed, error))
            return vt_fd_steal(&fd);
        if ((fd >= 0 && !is_closed) || g_get_monotonic_time() >= deadline_us)
            return -1;
        g_usleep(RETRY_US);
    }
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
    char *text = vt_hex_format(bytes, size);
    explicit_bzero(bytes, sizeof bytes);
    return text;
}
