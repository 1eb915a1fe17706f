/* SPDX-License-Identifier: Apache-2.0 */
/* node/credential.c - MUNGE credentials that root alone can open, by libmunge. */
#include "node/credential.h"

#include <munge.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define CIPHER MUNGE_CIPHER_AES128
#define MAC MUNGE_MAC_SHA256
#define TEXT_MAX 65536 /* bytes */

static bool set_option(munge_ctx_t context, munge_opt_t option, int value)
{
    return munge_ctx_set(context, option, value) == EMUNGE_SUCCESS;
}

/* NULL where libmunge takes none of it. */
static munge_ctx_t new_context(const char *socket, GError **error)
{
    munge_ctx_t context = munge_ctx_create();
    bool ok = context && set_option(context, MUNGE_OPT_CIPHER_TYPE, CIPHER) &&
              set_option(context, MUNGE_OPT_MAC_TYPE, MAC) &&
              set_option(context, MUNGE_OPT_UID_RESTRICTION, 0) &&
              (!socket || munge_ctx_set(context, MUNGE_OPT_SOCKET, socket) == EMUNGE_SUCCESS);
    if (ok)
        return context;
    vt_error_set(error, VT_ERROR_HOST, "MUNGE: cannot set up a credential");
    munge_ctx_destroy(context);
    return NULL;
}

static bool fail(GError **error, munge_ctx_t context, munge_err_t what)
{
    const char *detail = munge_ctx_strerror(context);
    const char *said = detail ? detail : munge_strerror(what);
    switch (what) {
    case EMUNGE_SOCKET:
    case EMUNGE_TIMEOUT:
        return vt_error_set(error, VT_ERROR_HOST, "munged does not answer on this node: %s", said);
    case EMUNGE_CRED_EXPIRED:
    case EMUNGE_CRED_REWOUND:
        return vt_error_set(error, VT_ERROR_BATCH,
                            "the credential is of another time: the clocks of the nodes differ, or "
                            "it was kept back (MUNGE: %s)",
                            said);
    case EMUNGE_CRED_REPLAYED:
        return vt_error_set(error, VT_ERROR_BATCH, "the credential was used before (MUNGE: %s)",
                            said);
    default:
        return vt_error_set(error, VT_ERROR_BATCH, "the credential is refused (MUNGE: %s)", said);
    }
}

char *vt_credential_seal(const char *socket, const char *text, GError **error)
{
    char *made = NULL, *credential = NULL;
    munge_ctx_t context = new_context(socket, error);
    if (!context)
        return NULL;
    munge_err_t err = munge_encode(&made, context, text, (int)strlen(text));
    if (err == EMUNGE_SUCCESS)
        credential = g_strdup(made);
    else
        fail(error, context, err);
    free(made);
    munge_ctx_destroy(context);
    return credential;
}

/* What was decoded says how it was sealed: a weaker way is none. */
static bool check(munge_ctx_t context, const char *text, int size, GError **error)
{
    int cipher = -1, mac = -1;
    munge_ctx_get(context, MUNGE_OPT_CIPHER_TYPE, &cipher);
    munge_ctx_get(context, MUNGE_OPT_MAC_TYPE, &mac);
    if (cipher != CIPHER || mac != MAC)
        return vt_error_set(error, VT_ERROR_BATCH,
                            "the credential is not sealed by AES-128 and SHA-256");
    return (size > 0 && size <= TEXT_MAX && !memchr(text, '\0', (size_t)size)) ||
           vt_error_set(error, VT_ERROR_BATCH, "the credential holds no text");
}

char *vt_credential_open_user(const char *socket, const char *credential, uid_t *uid,
                              GError **error)
{
    void *payload = NULL;
    char *text = NULL;
    int size = 0;
    gid_t gid;
    munge_ctx_t context = new_context(socket, error);
    if (!context)
        return NULL;
    munge_err_t err = munge_decode(credential, context, &payload, &size, uid, &gid);
    if (err != EMUNGE_SUCCESS)
        fail(error, context, err);
    else if (check(context, payload, size, error))
        text = g_strndup(payload, (gsize)size);
    if (payload)
        explicit_bzero(payload, (size_t)size);
    free(payload);
    munge_ctx_destroy(context);
    return text;
}

char *vt_credential_open(const char *socket, const char *credential, GError **error)
{
    uid_t uid = (uid_t)-1;
    char *text = vt_credential_open_user(socket, credential, &uid, error);
    if (!text || uid == 0)
        return text;
    vt_error_set(error, VT_ERROR_BATCH, "the credential is of uid %u, not of root", uid);
    explicit_bzero(text, strlen(text));
    g_free(text);
    return NULL;
}
