/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-size.c - numbers, sizes and durations. */
#include "base/size.h"

#define BAD G_MAXUINT64

typedef struct {
    const char *text;
    guint64 value; /* BAD: refused */
} Row;

static const Row sizes[] = {
    {"512", 512 * VT_MIB},
    {"1K", VT_KIB},
    {"2m", 2 * VT_MIB},
    {"3G", 3 * VT_GIB},
    {"4T", 4 * VT_TIB},
    {"1KiB", VT_KIB},
    {"1mib", VT_MIB},
    {"1GiB", VT_GIB},
    {"1TIB", VT_TIB},
    {"0", 0},
    {"17592186044415M", 17592186044415u * VT_MIB},
    {"17592186044416M", BAD},
    {"18446744073709551615K", BAD},
    {"18446744073709551616", BAD},
    {"99999999999999999999T", BAD},
    {"", BAD},
    {"G", BAD},
    {"-1G", BAD},
    {"+1G", BAD},
    {" 1G", BAD},
    {"1G ", BAD},
    {"1 G", BAD},
    {"1.5G", BAD},
    {"1GB", BAD},
    {"1Gi", BAD},
    {"1iB", BAD},
    {"1E", BAD},
    {"0x10", BAD},
};

static const Row qsub_sizes[] = {
    {"100", 100},        {"100b", 100},       {"10w", 80},         {"1kb", VT_KIB},
    {"1kw", 8 * VT_KIB}, {"2MB", 2 * VT_MIB}, {"4gb", 4 * VT_GIB}, {"4g", 4 * VT_GIB},
    {"1tw", 8 * VT_TIB}, {"", BAD},           {"gb", BAD},         {"4gib", BAD},
    {"4gbb", BAD},       {"-4gb", BAD},       {"16777216tb", BAD}, {"2305843009213693952w", BAD},
};

static const Row durations[] = {
    {"0", 0},
    {"90", 90},
    {"01:30", 90},
    {"1:0:0", 3600},
    {"24:00:00", 86400},
    {"90:00", 5400},
    {"", BAD},
    {":", BAD},
    {"1:", BAD},
    {":1", BAD},
    {"1:2:3:4", BAD},
    {"1:-2", BAD},
    {"1.5", BAD},
    {"1h", BAD},
    {"18446744073709551615:00", BAD},
    {"18446744073709551616", BAD},
};

static bool parse_mib(const char *text, guint64 *bytes)
{
    return vt_size_parse(text, VT_MIB, bytes);
}

static void check(const Row *rows, gsize n, bool (*parse)(const char *, guint64 *))
{
    for (gsize i = 0; i < n; i++) {
        guint64 value = 4711;
        bool ok = parse(rows[i].text, &value);
        g_test_message("'%s'", rows[i].text);
        g_assert_cmpint(ok, ==, rows[i].value != BAD);
        g_assert_cmpuint(value, ==, ok ? rows[i].value : 4711);
    }
}

static void test_sizes(void)
{
    check(sizes, G_N_ELEMENTS(sizes), parse_mib);
}

static void test_qsub_sizes(void)
{
    check(qsub_sizes, G_N_ELEMENTS(qsub_sizes), vt_size_parse_qsub);
}

static void test_durations(void)
{
    check(durations, G_N_ELEMENTS(durations), vt_duration_parse);
}

static void test_mib(void)
{
    g_assert_cmpuint(vt_size_to_mib(0), ==, 0);
    g_assert_cmpuint(vt_size_to_mib(1), ==, 1);
    g_assert_cmpuint(vt_size_to_mib(VT_MIB), ==, 1);
    g_assert_cmpuint(vt_size_to_mib(VT_MIB + 1), ==, 2);
    g_assert_cmpuint(vt_size_to_mib(G_MAXUINT64), ==, 17592186044416u);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/size/vm", test_sizes);
    g_test_add_func("/size/qsub", test_qsub_sizes);
    g_test_add_func("/size/duration", test_durations);
    g_test_add_func("/size/mib", test_mib);
    return g_test_run();
}
