/* SPDX-License-Identifier: Apache-2.0 */
/* job/ssh_key.c - Ed25519 keys in OpenSSH's format (PROTOCOL.key). */
#include <nettle/eddsa.h>
#include <string.h>

#include "job/ssh.h"

#define KEY_TYPE "ssh-ed25519"
#define MAGIC "openssh-key-v1"
#define BLOCK 8 /* what the private part is padded to */
#define LINE 70 /* characters of base64 */

static void put_u32(GByteArray *out, guint32 value)
{
    guint32 big = GUINT32_TO_BE(value);
    g_byte_array_append(out, (const guint8 *)&big, sizeof big);
}

static void put(GByteArray *out, const void *bytes, gsize size)
{
    put_u32(out, (guint32)size);
    g_byte_array_append(out, bytes, (guint)size);
}

static void put_text(GByteArray *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_public(GByteArray *out, const guint8 public_key[ED25519_KEY_SIZE])
{
    put_text(out, KEY_TYPE);
    put(out, public_key, ED25519_KEY_SIZE);
}

/* Not encrypted, and so twice the same number, by which a wrong key would be seen. */
static GByteArray *private_part(const guint8 *seed, const guint8 *public_key)
{
    GByteArray *out = g_byte_array_new();
    guint8 both[2 * ED25519_KEY_SIZE];
    memcpy(both, seed, ED25519_KEY_SIZE);
    memcpy(both + ED25519_KEY_SIZE, public_key, ED25519_KEY_SIZE);
    put_u32(out, 0);
    put_u32(out, 0);
    put_public(out, public_key);
    put(out, both, sizeof both);
    put_text(out, "vtorque");
    for (guint8 i = 1; out->len % BLOCK != 0; i++)
        g_byte_array_append(out, &i, 1);
    explicit_bzero(both, sizeof both);
    return out;
}

static char *armour(const GByteArray *bytes)
{
    g_autofree char *text = g_base64_encode(bytes->data, bytes->len);
    GString *out = g_string_new("-----BEGIN OPENSSH PRIVATE KEY-----\n");
    for (const char *at = text; *at; at += MIN(strlen(at), LINE))
        g_string_append_printf(out, "%.*s\n", LINE, at);
    g_string_append(out, "-----END OPENSSH PRIVATE KEY-----\n");
    return g_string_free(out, FALSE);
}

static void make_key(VtSshKey *key, const guint8 *seed)
{
    guint8 public_key[ED25519_KEY_SIZE];
    g_autoptr(GByteArray) file = g_byte_array_new(), blob = g_byte_array_new();
    ed25519_sha512_public_key(public_key, seed);
    g_autoptr(GByteArray) secret = private_part(seed, public_key);
    put_public(blob, public_key);
    g_byte_array_append(file, (const guint8 *)MAGIC, sizeof MAGIC);
    put_text(file, "none");
    put_text(file, "none");
    put_text(file, "");
    put_u32(file, 1);
    put(file, blob->data, blob->len);
    put(file, secret->data, secret->len);
    g_autofree char *encoded = g_base64_encode(blob->data, blob->len);
    *key = (VtSshKey){.private_key = armour(file),
                      .public_key = g_strconcat(KEY_TYPE " ", encoded, NULL)};
}

void vt_ssh_keys_make(VtSshKeys *keys, const guint8 seed[2 * VT_SSH_SEED_SIZE])
{
    make_key(&keys->owner, seed);
    make_key(&keys->host, seed + VT_SSH_SEED_SIZE);
}

void vt_ssh_keys_clear(VtSshKeys *keys)
{
    g_free(keys->owner.private_key);
    g_free(keys->owner.public_key);
    g_free(keys->host.private_key);
    g_free(keys->host.public_key);
    *keys = (VtSshKeys){0};
}
