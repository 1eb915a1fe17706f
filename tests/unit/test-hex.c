/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-hex.c - hexadecimal digits. */
#include "base/hex.h"

static void test_bytes(void)
{
    static const guint8 bytes[] = {0x00, 0x0f, 0xa0, 0xff, 0x12};
    guint8 back[sizeof bytes];
    g_autofree char *digits = vt_hex_format(bytes, sizeof bytes);
    g_assert_cmpstr(digits, ==, "000fa0ff12");
    vt_hex_parse(digits, back, sizeof back);
    g_assert_cmpmem(back, sizeof back, bytes, sizeof bytes);
}

static void test_valid(void)
{
    static const struct {
        const char *text;
        gsize digits;
        bool is_valid;
    } rows[] = {
        {"", 0, true},     {"0f", 2, true},  {"0f", 3, false},
        {"0f0", 2, false}, {"0F", 2, false}, {"0g", 2, false},
        {" f", 2, false},  {"0x", 2, false}, {"\xc3\xa4", 2, false},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        g_assert_true(vt_hex_is_valid(rows[i].text, rows[i].digits) == rows[i].is_valid);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/hex/bytes", test_bytes);
    g_test_add_func("/hex/valid", test_valid);
    return g_test_run();
}
