/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-ssh.c - a job's ssh keys: the first vectors of RFC 8032, section 7.1. */
#include "job/ssh.h"

#include <string.h>

static const guint8 seed[2 * VT_SSH_SEED_SIZE] =
    "\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4"
    "\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60"
    "\x4c\xcd\x08\x9b\x28\xff\x96\xda\x9d\xb6\xc3\x46\xec\x11\x4e\x0f"
    "\x5b\x8a\x31\x9f\x35\xab\xa6\x24\xda\x8c\xf6\xed\x4f\xb8\xa6\xfb";

static const guint8 public_keys[2][32] = {
    "\xd7\x5a\x98\x01\x82\xb1\x0a\xb7\xd5\x4b\xfe\xd3\xc9\x64\x07\x3a"
    "\x0e\xe1\x72\xf3\xda\xa6\x23\x25\xaf\x02\x1a\x68\xf7\x07\x51\x1a",
    "\x3d\x40\x17\xc3\xe8\x43\x89\x5a\x92\xb7\x0a\xa7\x4d\x1b\x7e\xbc"
    "\x9c\x98\x2c\xcf\x2e\xc4\x96\x8c\xc0\xcd\x55\xf1\x2a\xf4\x66\x0c",
};

#define HEAD "\0\0\0\13ssh-ed25519\0\0\0\40"

static void check_public(const VtSshKey *key, const guint8 *expected)
{
    gsize size;
    g_assert_true(g_str_has_prefix(key->public_key, "ssh-ed25519 "));
    g_autofree guchar *blob = g_base64_decode(key->public_key + 12, &size);
    g_assert_cmpuint(size, ==, sizeof HEAD - 1 + 32);
    g_assert_cmpmem(blob, sizeof HEAD - 1, HEAD, sizeof HEAD - 1);
    g_assert_cmpmem(blob + sizeof HEAD - 1, 32, expected, 32);
}

/* The seed, and behind it the public key, are the 64 bytes before comment and padding. */
static void check_private(const VtSshKey *key, const guint8 *secret, const guint8 *expected)
{
    static const char tail[] = "\0\0\0\7vtorque\1";
    gsize size;
    g_auto(GStrv) lines = g_strsplit(key->private_key, "\n", -1);
    guint n = g_strv_length(lines);
    g_assert_cmpstr(lines[0], ==, "-----BEGIN OPENSSH PRIVATE KEY-----");
    g_assert_cmpstr(lines[n - 2], ==, "-----END OPENSSH PRIVATE KEY-----");
    g_autoptr(GString) text = g_string_new(NULL);
    for (guint i = 1; i < n - 2; i++)
        g_string_append(text, lines[i]);
    g_autofree guchar *file = g_base64_decode(text->str, &size);
    g_assert_cmpmem(file, 15, "openssh-key-v1", 15);
    guchar *end = memmem(file, size, tail, sizeof tail - 1);
    g_assert_nonnull(end);
    g_assert_cmpmem(end - 64, 32, secret, 32);
    g_assert_cmpmem(end - 32, 32, expected, 32);
}

static void test_vectors(void)
{
    VtSshKeys keys;
    vt_ssh_keys_make(&keys, seed);
    check_public(&keys.owner, public_keys[0]);
    check_public(&keys.host, public_keys[1]);
    check_private(&keys.owner, seed, public_keys[0]);
    check_private(&keys.host, seed + VT_SSH_SEED_SIZE, public_keys[1]);
    vt_ssh_keys_clear(&keys);
    g_assert_null(keys.owner.private_key);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/ssh/vectors", test_vectors);
    return g_test_run();
}
