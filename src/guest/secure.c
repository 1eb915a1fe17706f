/* SPDX-License-Identifier: Apache-2.0 */
/* guest/secure.c - TLS 1.3 with a pre-shared key, by GnuTLS. */
#include "guest/secure.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <string.h>

/* A key's hash is SHA-256 for GnuTLS, so the ciphers are those of that. */
#define PRIORITIES                                                                                 \
    "NONE:+VERS-TLS1.3:+AES-128-GCM:+CHACHA20-POLY1305:+AEAD:+ECDHE-PSK:+GROUP-X25519:"            \
    "+GROUP-SECP256R1:+SIGN-EDDSA-ED25519:+CTYPE-X509:%NO_TICKETS"
#define IDENTITY "vtorque" /* the key is the connection's alone: there is nobody to tell apart */

struct VtSecure {
    gnutls_session_t session;
    gnutls_psk_client_credentials_t client;
    gnutls_psk_server_credentials_t server;
    guint8 key[VT_SECURE_KEY_SIZE];
    bool is_ready;
    gsize unsent; /* bytes of a write that the library has taken but not sent */
};

static int give_key(gnutls_session_t session, const char *identity, gnutls_datum_t *key)
{
    const VtSecure *secure = gnutls_session_get_ptr(session);
    if (strcmp(identity, IDENTITY) != 0)
        return -1;
    key->data = gnutls_malloc(VT_SECURE_KEY_SIZE);
    if (!key->data)
        return -1;
    memcpy(key->data, secure->key, VT_SECURE_KEY_SIZE);
    key->size = VT_SECURE_KEY_SIZE;
    return 0;
}

static bool set_credentials(VtSecure *secure, bool is_server)
{
    const gnutls_datum_t key = {secure->key, VT_SECURE_KEY_SIZE};
    if (is_server) {
        if (gnutls_psk_allocate_server_credentials(&secure->server) < 0)
            return false;
        gnutls_psk_set_server_credentials_function(secure->server, give_key);
        return gnutls_credentials_set(secure->session, GNUTLS_CRD_PSK, secure->server) >= 0;
    }
    return gnutls_psk_allocate_client_credentials(&secure->client) >= 0 &&
           gnutls_psk_set_client_credentials(secure->client, IDENTITY, &key, GNUTLS_PSK_KEY_RAW) >=
               0 &&
           gnutls_credentials_set(secure->session, GNUTLS_CRD_PSK, secure->client) >= 0;
}

void vt_secure_free(VtSecure *secure)
{
    if (!secure)
        return;
    gnutls_deinit(secure->session);
    if (secure->client)
        gnutls_psk_free_client_credentials(secure->client);
    if (secure->server)
        gnutls_psk_free_server_credentials(secure->server);
    explicit_bzero(secure->key, sizeof secure->key);
    g_free(secure);
}

VtSecure *vt_secure_new(int fd, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE])
{
    VtSecure *secure = g_new0(VtSecure, 1);
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS | GNUTLS_NO_SIGNAL |
                     (is_server ? GNUTLS_SERVER : GNUTLS_CLIENT);
    memcpy(secure->key, key, sizeof secure->key);
    if (gnutls_init(&secure->session, flags) < 0) {
        g_free(secure);
        return NULL;
    }
    gnutls_session_set_ptr(secure->session, secure);
    gnutls_transport_set_int(secure->session, fd);
    gnutls_handshake_set_timeout(secure->session, GNUTLS_INDEFINITE_TIMEOUT);
    if (gnutls_priority_set_direct(secure->session, PRIORITIES, NULL) < 0 ||
        !set_credentials(secure, is_server)) {
        vt_secure_free(secure);
        return NULL;
    }
    return secure;
}

/* What a call of the library returned, as read(2) would. An end without a goodbye is an end: what it
 * cuts off is a frame, and that is seen. */
static ssize_t judge(ssize_t n)
{
    if (n >= 0)
        return n;
    if (n == GNUTLS_E_PREMATURE_TERMINATION)
        return 0;
    errno = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? EAGAIN
            : n == GNUTLS_E_PULL_ERROR                       ? ECONNRESET
            : n == GNUTLS_E_PUSH_ERROR                       ? EPIPE
                                                             : EPROTO;
    return -1;
}

bool vt_secure_handshake(VtSecure *secure)
{
    if (secure->is_ready)
        return true;
    int err = gnutls_handshake(secure->session);
    secure->is_ready = err == GNUTLS_E_SUCCESS;
    if (!secure->is_ready)
        judge(err == 0 ? GNUTLS_E_AGAIN : err);
    if (!secure->is_ready && err == GNUTLS_E_PREMATURE_TERMINATION)
        errno = ECONNRESET;
    return secure->is_ready;
}

ssize_t vt_secure_read(VtSecure *secure, void *bytes, gsize size)
{
    if (!vt_secure_handshake(secure))
        return -1;
    return judge(gnutls_record_recv(secure->session, bytes, size));
}

ssize_t vt_secure_write(VtSecure *secure, const void *bytes, gsize size)
{
    if (!vt_secure_handshake(secure))
        return -1;
    /* What was taken before goes first, and counts for the bytes that are now offered again. */
    if (secure->unsent > 0) {
        ssize_t n = gnutls_record_send(secure->session, NULL, 0);
        if (n < 0)
            return judge(n);
        secure->unsent = 0;
        return n;
    }
    ssize_t n = gnutls_record_send(secure->session, bytes, size);
    if (n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED)
        secure->unsent = size;
    return judge(n);
}

bool vt_secure_has_pending(const VtSecure *secure)
{
    return gnutls_record_check_pending(secure->session) > 0;
}

/* The same for a channel. */
static ssize_t read_bytes(gpointer data, void *bytes, gsize size)
{
    return vt_secure_read(data, bytes, size);
}

static ssize_t write_bytes(gpointer data, const void *bytes, gsize size)
{
    return vt_secure_write(data, bytes, size);
}

static bool is_ready(gpointer data)
{
    return ((const VtSecure *)data)->is_ready;
}

static bool has_pending(gpointer data)
{
    return vt_secure_has_pending(data);
}

static void free_layer(gpointer data)
{
    vt_secure_free(data);
}

bool vt_channel_secure(VtChannel *channel, bool is_server, const guint8 key[VT_SECURE_KEY_SIZE])
{
    static const VtChannelLayer layer = {read_bytes, write_bytes, is_ready, has_pending,
                                         free_layer};
    VtSecure *secure = vt_secure_new(vt_channel_get_fd(channel), is_server, key);
    if (!secure)
        return false;
    vt_channel_set_layer(channel, &layer, secure);
    /* A client's first word goes out now. */
    return vt_secure_handshake(secure) || errno == EAGAIN;
}
