/* SPDX-License-Identifier: Apache-2.0 */
/*
 * reach/main.c - vtorque-reach: the two ends of a user's connection to a job on another node.
 *
 * Theory of operation. `vtorque-reach HOST PORT [MUNGE-SOCKET]`, which vmgr starts: standard input is a socket
 * of vmgr's, which gets a CTL_ANSWER when the way is there, else a CTL_REFUSED that says why
 * (aux as in VT_PEER_REFUSED), and is from then
 * on one of the node's user.sock. `vtorque-reach --serve`, which the node's daemon becomes
 * (node/caller.h): standard input is the connection. It looks at the type of the first frame, connects to
 * user.sock and copies. Whichever socket ends first, the other end's is next, and so both programs end.
 *
 * Runs as: the user, at both ends; at the job's node without groups. Reads from: another node. Trusts: who
 * has the key.
 */
#include <glib-unix.h>
#include <poll.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/hex.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "node/caller.h"
#include "reach/call.h"
#include "reach/pump.h"

#define CALL_S 90      /* a name service, a connection, a greeting, an answer */
#define HANDSHAKE_S 10 /* and the first frame behind it */

static void wait_for(int fd, short events)
{
    struct pollfd ready = {.fd = fd, .events = events};
    poll(&ready, 1, -1);
}

static bool shake_hands(int fd, VtSecure *secure)
{
    while (!vt_secure_handshake(secure)) {
        if (errno != EAGAIN)
            return false;
        wait_for(fd, POLLIN);
    }
    return true;
}

/* What a connection is for (doc/contracts/ctl.md). A run connection is of the job's own node. */
static bool is_open_to_others(guint8 type)
{
    return type == CTL_DOOR_LIST || type == CTL_DOOR_END || type == CTL_DOOR_CONTROL;
}

static bool read_first(VtPump *pump)
{
    WireHeader header;
    while (pump->first_size < WIRE_HEADER_SIZE) {
        ssize_t n = vt_secure_read(pump->secure, pump->first + pump->first_size,
                                   WIRE_HEADER_SIZE - pump->first_size);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return false;
        if (n > 0)
            pump->first_size += (gsize)n;
        else
            wait_for(pump->far, POLLIN);
    }
    return wire_header_parse(pump->first, &header) == 0 && is_open_to_others(header.type);
}

static bool read_key(guint8 key[VT_SECURE_KEY_SIZE])
{
    char digits[2 * VT_SECURE_KEY_SIZE];
    if (pread(VT_REACH_KEY_FD, digits, sizeof digits, 0) != sizeof digits)
        return false;
    vt_hex_parse(digits, key, VT_SECURE_KEY_SIZE);
    explicit_bzero(digits, sizeof digits);
    return dup2(STDERR_FILENO, VT_REACH_KEY_FD) >= 0;
}

/* The daemon has closed, dropped and limited what it could; a program that may start none is after its own
 * start. */
static int serve(void)
{
    const struct rlimit none = {0, 0};
    guint8 key[VT_SECURE_KEY_SIZE];
    alarm(HANDSHAKE_S);
    prctl(PR_SET_NAME, VT_REACH_PROGRAM); /* it was executed by descriptor */
    if (getuid() == 0 || setrlimit(RLIMIT_NPROC, &none) < 0 || !read_key(key) ||
        !g_unix_set_fd_nonblocking(STDIN_FILENO, TRUE, NULL))
        return VT_EXIT_FAILED;
    g_autoptr(VtSecure) secure = vt_secure_new(STDIN_FILENO, true, key);
    explicit_bzero(key, sizeof key);
    VtPump pump = {.far = STDIN_FILENO, .secure = secure};
    if (!secure || !shake_hands(STDIN_FILENO, secure) || !read_first(&pump))
        return VT_EXIT_FAILED;
    vt_autofd near = ctl_door_connect(CTL_DOOR_USER, 0);
    if (near < 0 || !g_unix_set_fd_nonblocking(near, TRUE, NULL))
        return VT_EXIT_FAILED;
    alarm(0);
    pump.near = near;
    vt_pump_run(&pump);
    return 0;
}

static int tell(guint8 aux, const char *why)
{
    ctl_door_send_text(STDIN_FILENO, CTL_REFUSED, aux, why);
    return VT_EXIT_FAILED;
}

static int call(const VtCall *node)
{
    guint8 key[VT_SECURE_KEY_SIZE];
    g_autoptr(GError) error = NULL;
    alarm(CALL_S);
    vt_autofd far = vt_call_node(node, key, &error);
    if (far < 0)
        return tell(error->code == VT_ERROR_USER ? VT_PEER_NO_JOB : 0, error->message);
    g_autoptr(VtSecure) secure = vt_secure_new(far, false, key);
    explicit_bzero(key, sizeof key);
    if (!secure || !g_unix_set_fd_nonblocking(far, TRUE, NULL) || !shake_hands(far, secure))
        return tell(0, "what answers there is not the node's daemon");
    alarm(0);
    if (ctl_door_send(STDIN_FILENO, CTL_ANSWER, 0, NULL, 0, NULL, 0) < 0 ||
        !g_unix_set_fd_nonblocking(STDIN_FILENO, TRUE, NULL))
        return VT_EXIT_FAILED;
    const VtPump pump = {.far = far, .near = STDIN_FILENO, .secure = secure};
    vt_pump_run(&pump);
    return 0;
}

int main(int argc, char **argv)
{
    guint64 port = 0;
    if (argc == 2 && strcmp(argv[1], VT_REACH_SERVE) == 0)
        return serve();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        g_print(VT_REACH_PROGRAM " (vTorque) " VT_VERSION "\n");
        return 0;
    }
    if (argc < 3 || argc > 4 || !g_ascii_string_to_unsigned(argv[2], 10, 1, 65535, &port, NULL)) {
        g_printerr(VT_REACH_PROGRAM ": is started by vmgr and vtorqued\n");
        return VT_EXIT_USAGE;
    }
    const VtCall node = {argv[1], (guint)port, argc == 4 ? argv[3] : NULL};
    return call(&node);
}
