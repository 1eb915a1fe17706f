/* SPDX-License-Identifier: Apache-2.0 */
/* agent/network.c - interfaces and routes by ioctl. */
#include "agent/network.h"

#include "agent/fd.h"

#include <errno.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

enum { INDEX_MAX = 64 }; /* of interfaces: a new guest has three, and a kernel may make some more */

int network_link_up(const char *interface)
{
    auto_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};

    if (fd < 0)
        return -errno;
    if (strlen(interface) >= sizeof request.ifr_name)
        return -ENAMETOOLONG;
    strcpy(request.ifr_name, interface);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -errno;
    request.ifr_flags |= IFF_UP;
    return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static uint64_t hardware_address(const struct ifreq *request)
{
    uint64_t mac = 0;

    for (int i = 0; i < 6; i++)
        mac = mac << 8 | (uint8_t)request->ifr_hwaddr.sa_data[i];
    return mac;
}

/* True if there is one; its name is in `request` then. By number: to ask for a list of all takes 8 ms
 * of an emulated guest's start. */
static bool find_interface(int fd, uint64_t mac, struct ifreq *request)
{
    for (int i = 1; i <= INDEX_MAX; i++) {
        request->ifr_ifindex = i;
        if (ioctl(fd, SIOCGIFNAME, request) == 0 && ioctl(fd, SIOCGIFHWADDR, request) == 0 &&
            hardware_address(request) == mac)
            return true;
    }
    return false;
}

static struct sockaddr socket_address(uint32_t address)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(address)};
    struct sockaddr result;

    memcpy(&result, &in, sizeof result);
    return result;
}

static int add_default_route(int fd, uint32_t gateway)
{
    struct rtentry route = {
        .rt_dst = socket_address(0),
        .rt_genmask = socket_address(0),
        .rt_gateway = socket_address(gateway),
        .rt_flags = RTF_UP | RTF_GATEWAY,
    };

    return ioctl(fd, SIOCADDRT, &route) < 0 ? -errno : 0;
}

int network_set_address(uint64_t mac, uint32_t address, uint32_t prefix, uint32_t gateway)
{
    auto_fd fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    uint32_t mask = prefix == 0 ? 0 : 0xffffffffu << (32 - prefix);
    int error;

    if (fd < 0)
        return -errno;
    if (!find_interface(fd, mac, &request))
        return -ENODEV;
    request.ifr_addr = socket_address(address);
    if (ioctl(fd, SIOCSIFADDR, &request) < 0)
        return -errno;
    request.ifr_netmask = socket_address(mask);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        return -errno;
    error = network_link_up(request.ifr_name);
    return error || gateway == 0 ? error : add_default_route(fd, gateway);
}
