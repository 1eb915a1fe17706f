/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-base64.c - bytes as one word and back. */
#include "base/base64.h"

#include <string.h>

static const struct {
    const char *data;
    gsize size;
    const char *word;
} good[] = {
    {"", 0, ""},
    {"f", 1, "Zg"},
    {"fo", 2, "Zm8"},
    {"foo", 3, "Zm9v"},
    {"foobar", 6, "Zm9vYmFy"},
    {"\xfb\xff\xbf", 3, "-_-_"},
    {"\0\0", 2, "AAA"},
};

static void test_good(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        g_autofree char *word = vt_base64_encode(good[i].data, good[i].size);
        g_assert_cmpstr(word, ==, good[i].word);
        g_autoptr(GBytes) bytes = vt_base64_decode(word);
        g_assert_nonnull(bytes);
        gsize size;
        const char *data = g_bytes_get_data(bytes, &size);
        g_assert_cmpmem(data, size, good[i].data, good[i].size);
        g_assert_cmpint(data[size], ==, '\0');
    }
}

static void test_wrong(void)
{
    static const char *const wrong[] = {
        "Z",    "Zm9vY", /* no bytes have that length */
        "Zh",   "Zm9",   /* bits behind the last byte */
        "Zg==", "Zm8=",  "+/+/", "Zm 8", "Zm8\n", " Zm8", "Zm8.", "Zm\xc3\xa4",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++)
        g_assert_null(vt_base64_decode(wrong[i]));
}

/* Every length has its word, and no other. */
static void test_lengths(void)
{
    guint8 data[300];
    for (gsize i = 0; i < sizeof data; i++)
        data[i] = (guint8)(i * 7 + 3);
    for (gsize size = 0; size <= sizeof data; size++) {
        g_autofree char *word = vt_base64_encode(data, size);
        g_assert_cmpuint(strlen(word), ==, (size * 4 + 2) / 3);
        g_autoptr(GBytes) bytes = vt_base64_decode(word);
        gsize back;
        const void *same = g_bytes_get_data(bytes, &back);
        g_assert_cmpmem(same, back, data, size);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/base64/good", test_good);
    g_test_add_func("/base64/wrong", test_wrong);
    g_test_add_func("/base64/lengths", test_lengths);
    return g_test_run();
}
