/* SPDX-License-Identifier: Apache-2.0 */
/* reach/call.c - a user's credential for one connection. */
#include "reach/call.h"

#include <string.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/hex.h"
#include "node/credential.h"
#include "node/order.h"
#include "node/peer.h"

#define ANSWER_MS (2 * VT_PEER_SPEAK_MS) /* munged is asked there */

static char *find_address(const char *host, GError **error)
{
    g_auto(GStrv) found = vt_peer_lookup(host, error);
    if (found && found[0] && !g_str_has_prefix(found[0], "127."))
        return g_strdup(found[0]);
    if (found)
        vt_error_set(error, VT_ERROR_HOST, "its name has no address here that leads to it: %s",
                     found[0] ? found[0] : "none");
    return NULL;
}

static char *seal(const VtCall *call, const char *address, char *nonce, char *digits,
                  GError **error)
{
    const VtOrder order = {.receiver = (char *)address, .nonce = nonce, .key = digits};
    g_autofree char *text = vt_order_format(&order, VT_ORDER_USER);
    char *credential = vt_credential_seal(call->munge_socket, text, error);
    explicit_bzero(text, strlen(text));
    return credential;
}

static bool show(int fd, const char *credential, GError **error)
{
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    WireHeader header = {0};
    int err = ctl_door_send(fd, VT_PEER_USER, 0, credential, strlen(credential), NULL, 0);
    if (err == 0)
        err = ctl_door_receive(fd, &header, payload, ANSWER_MS);
    if (err < 0)
        return vt_error_set_errno(error, VT_ERROR_HOST, -err, VT_PEER_NO_ANSWER);
    if (header.type == VT_PEER_TAKEN)
        return true;
    g_autofree char *text = vt_peer_read_text(&header, payload);
    return vt_error_set(error, header.aux == VT_PEER_NO_JOB ? VT_ERROR_USER : VT_ERROR_BATCH, "%s",
                        header.type == VT_PEER_REFUSED ? text : VT_PEER_NO_ANSWER);
}

int vt_call_node(const VtCall *call, guint8 key[VT_SECURE_KEY_SIZE], GError **error)
{
    g_autofree char *nonce = NULL, *address = find_address(call->host, error);
    g_autofree char *digits = vt_peer_random(VT_SECURE_KEY_SIZE);
    vt_autofd fd = address && digits ? vt_peer_call(address, call->port, &nonce, error) : -1;
    g_autofree char *credential = fd < 0 ? NULL : seal(call, address, nonce, digits, error);
    if (!credential || !show(fd, credential, error))
        return -1;
    vt_hex_parse(digits, key, VT_SECURE_KEY_SIZE);
    explicit_bzero(digits, strlen(digits));
    return vt_fd_steal(&fd);
}
