/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-word.c - a request as one word: out and back, and all that is no word of ours. */
#include "job/word.h"

#include <string.h>

#include "base/base64.h"
#include "base/error.h"

static const struct {
    const char *option, *directive, *text;
} good[] = {
    {"", "", "v=1\n"},
    {"img=tiny", "", "v=1\nvm=img=tiny\n"},
    {"", "ram=1G,vcpus=2", "v=1\nvm=ram=1G,vcpus=2\n"},
    {"vcpus=3,vcpus=4", "ram=512,vcpus=2", "v=1\nvm=ram=512,vcpus=4\n"},
    {"img=x.y_z+1,ram=1gib,boot_timeout=5", "distro=Debian,arch=x86_64,fs_type=ramdisk,init=agent",
     "v=1\nvm=img=x.y_z+1,ram=1gib,boot_timeout=5,distro=Debian,arch=x86_64,fs_type=ramdisk,"
     "init=agent\n"},
    {"share_locks=remote", "share_locks=local", "v=1\nvm=share_locks=remote\n"},
};

static char *word_of(const void *text, gsize size)
{
    g_autofree char *word = vt_base64_encode(text, size);
    return g_strconcat(VT_WORD_PREFIX, word, NULL);
}

static void test_good(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        VtRequest option = {0}, directive = {0}, back = {0}, none = {0};
        GError *error = NULL;
        g_assert_true(!*good[i].option || vt_request_parse(&option, good[i].option, "here", NULL));
        g_assert_true(!*good[i].directive ||
                      vt_request_parse(&directive, good[i].directive, "there", NULL));
        g_autofree char *word = vt_word_format(&option, &directive, &error);
        g_assert_no_error(error);
        g_autofree char *wanted = word_of(good[i].text, strlen(good[i].text));
        g_assert_cmpstr(word, ==, wanted);
        g_assert_true(vt_word_parse(&back, word, "request", &error));
        g_assert_no_error(error);
        for (guint key = 0; key < VT_REQUEST_KEYS; key++) {
            bool asked = option.items[key].origin || directive.items[key].origin;
            g_assert_cmpstr(back.items[key].origin, ==, asked ? "request" : NULL);
        }
        g_autofree char *again = vt_word_format(&back, &none, NULL);
        g_assert_cmpstr(again, ==, word);
        vt_request_clear(&option);
        vt_request_clear(&directive);
        vt_request_clear(&back);
    }
}

#define TEXT(text) text, sizeof text - 1

static const struct {
    const char *text;
    gsize size;
    const char *message;
} wrong[] = {
    {TEXT(""), "request: not a request's word"},
    {TEXT("v=1"), "request: not a request's word"},
    {TEXT("v=1\nvm=img=tiny"), "request: not a request's word"},
    {TEXT("v=1\0\n"), "request: not a request's word"},
    {TEXT("v=1\nvm=img=tiny\0,ram=1G\n"), "request: not a request's word"},
    {TEXT("vm=img=tiny\n"), "request: *of a version that is not known here"},
    {TEXT("v=2\nvm=img=tiny\n"), "request: *of a version that is not known here"},
    {TEXT("v=10\n"), "request: *of a version that is not known here"},
    {TEXT("v=1\r\n"), "request: *of a version that is not known here"},
    {TEXT("\nv=1\n"), "request: *of a version that is not known here"},
    {TEXT("v=1\nv=1\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\n\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\nvm=img=tiny\nvm=ram=1G\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\nvm=img=tiny\n\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\nx=1\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\n vm=img=tiny\n"), "request: *lines that version 1 does not have"},
    {TEXT("v=1\nvm=\n"), "request: -vm '': must be key=value*"},
    {TEXT("v=1\nvm=vcpus=0\n"), "request: -vm vcpus '0': *"},
    {TEXT("v=1\nvm=vcpus=2,\n"), "request: -vm '': must be key=value*"},
    {TEXT("v=1\nvm=img=../x\n"), "request: -vm img '../x': *"},
    {TEXT("v=1\nvm=vrdma=true\n"), "request: -vm key 'vrdma' is not built yet; *"},
    {TEXT("v=1\nvm=img=\x1b[2J\n"), "request: -vm img '\\033?2J': *"},
};

static void check_wrong(const char *word, const char *message)
{
    VtRequest request = {0}, none = {0};
    g_autoptr(GError) error = NULL;
    g_assert_false(vt_word_parse(&request, word, "request", &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    if (!g_pattern_match_simple(message, error->message))
        g_error("'%s' is not '%s'", error->message, message);
    g_assert_cmpmem(&request, sizeof request, &none, sizeof none);
}

static void test_wrong(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autofree char *word = word_of(wrong[i].text, wrong[i].size);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        check_wrong(word, wrong[i].message);
    }
}

/* Not even base64url behind the prefix, or another prefix. */
static void test_no_word(void)
{
    static const char *const words[] = {
        "",
        "vtorque",
        "vtorque:",
        "dj0xCg",
        "VTORQUE:dj0xCg",
        " vtorque:dj0xCg",
        "vtorque:dj0xCg==",
        "vtorque:dj0x Cg",
        "vtorque:dj0xCh",
        "vtorque:dj0xCg,x",
        "vtorque:dj0xCg\n",
        "vtorque:/j0xCg",
    };
    for (gsize i = 0; i < G_N_ELEMENTS(words); i++)
        check_wrong(words[i], "request: not a request's word");
}

/* The longest word, and one byte more, both ways. */
static void test_limits(void)
{
    gsize rest = VT_WORD_TEXT_MAX - strlen("v=1\nvm=vcpus=1\n");
    g_autofree char *zeros = g_strnfill(rest, '0');
    g_autofree char *longest = g_strdup_printf("v=1\nvm=vcpus=%s1\n", zeros);
    g_autofree char *longer = g_strdup_printf("v=1\nvm=vcpus=%s01\n", zeros);
    g_autofree char *fits = word_of(longest, strlen(longest));
    g_autofree char *over = word_of(longer, strlen(longer));
    g_assert_cmpuint(strlen(fits), ==, VT_WORD_MAX);
    VtRequest request = {0}, none = {0};
    g_assert_true(vt_word_parse(&request, fits, "request", NULL));
    g_assert_cmpuint(request.items[VT_REQUEST_VCPUS].number, ==, 1);
    g_autofree char *again = vt_word_format(&none, &request, NULL);
    g_assert_cmpstr(again, ==, fits);
    check_wrong(over, "request: the request's word is too long");

    VtRequest more = {0};
    g_autoptr(GError) error = NULL;
    g_assert_true(vt_request_parse(&more, "ram=1G", "here", NULL));
    g_assert_null(vt_word_format(&more, &request, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    vt_request_clear(&request);
    vt_request_clear(&more);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/word/good", test_good);
    g_test_add_func("/word/wrong", test_wrong);
    g_test_add_func("/word/no-word", test_no_word);
    g_test_add_func("/word/limits", test_limits);
    return g_test_run();
}
