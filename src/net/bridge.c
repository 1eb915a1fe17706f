/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/bridge.c - tap devices on a bridge, by ioctl.
 *
 * The host itself has no address there, and says nothing: IPv6, which would, is off.
 */
#include "net/bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"

#define TAP_FORMAT "vm%u"

static bool fail(GError **error, const char *act, const char *name)
{
    return vt_error_set_errno(error, VT_ERROR_HOST, errno, "the job's network: cannot %s '%s'", act,
                              name);
}

static bool bring_up(int fd, const char *name, GError **error)
{
    struct ifreq request = {0};
    g_strlcpy(request.ifr_name, name, sizeof request.ifr_name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return fail(error, "look at", name);
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) == 0 || fail(error, "bring up", name);
}

/* Not there: nor is IPv6. */
static void disable_ipv6(void)
{
    static const char *const files[] = {"/proc/sys/net/ipv6/conf/all/disable_ipv6",
                                        "/proc/sys/net/ipv6/conf/default/disable_ipv6"};
    for (gsize i = 0; i < G_N_ELEMENTS(files); i++) {
        vt_autofd fd = open(files[i], O_WRONLY | O_CLOEXEC);
        if (fd >= 0)
            (void)!write(fd, "1", 1);
    }
}

int vt_bridge_new_tap(guint index, GError **error)
{
    struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
    vt_autofd fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 && (errno == EACCES || errno == EPERM || errno == ENOENT || errno == ENODEV))
        return -1;
    g_snprintf(request.ifr_name, sizeof request.ifr_name, TAP_FORMAT, index);
    if (fd < 0 || ioctl(fd, TUNSETIFF, &request) < 0) {
        fail(error, "make the tap device", request.ifr_name);
        return -1;
    }
    return vt_fd_steal(&fd);
}

static bool add_device(int fd, const char *name, GError **error)
{
    struct ifreq request = {0};
    g_strlcpy(request.ifr_name, VT_BRIDGE, sizeof request.ifr_name);
    request.ifr_ifindex = (int)if_nametoindex(name);
    if (ioctl(fd, SIOCBRADDIF, &request) < 0)
        return fail(error, "add to the bridge", name);
    return bring_up(fd, name, error);
}

bool vt_bridge_join(guint n, GError **error)
{
    vt_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    disable_ipv6();
    if (fd < 0 || ioctl(fd, SIOCBRADDBR, VT_BRIDGE) < 0)
        return fail(error, "make the bridge", VT_BRIDGE);
    for (guint i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf(TAP_FORMAT, i);
        if (!add_device(fd, name, error))
            return false;
    }
    return bring_up(fd, VT_BRIDGE, error);
}

bool vt_bridge_add(const char *name, GError **error)
{
    vt_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? fail(error, "look at", name) : add_device(fd, name, error);
}

bool vt_bridge_bring_up(const char *name, GError **error)
{
    vt_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? fail(error, "look at", name) : bring_up(fd, name, error);
}

bool vt_bridge_set_mtu(guint n, guint mtu, GError **error)
{
    vt_autofd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (guint i = 0; i < n; i++) {
        struct ifreq request = {.ifr_mtu = (int)mtu};
        g_snprintf(request.ifr_name, sizeof request.ifr_name, TAP_FORMAT, i);
        if (ioctl(fd, SIOCSIFMTU, &request) < 0)
            return fail(error, "set the size of packets of", request.ifr_name);
    }
    return true;
}
