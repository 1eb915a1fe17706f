/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-directive.c - #PBS lines as Torque's qsub finds them, and words as a shell cuts
 * them. */
#include "job/directive.h"

#include <string.h>

#include "base/error.h"
#include "job/words.h"

/* Directives as text: "LINE:word|word;LINE:..." */
static char *show(const GPtrArray *directives)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < directives->len; i++) {
        const VtDirective *directive = directives->pdata[i];
        g_autofree char *words = g_strjoinv("|", directive->words);
        g_string_append_printf(text, "%s%u:%s", i ? ";" : "", directive->line, words);
    }
    return g_string_free(text, FALSE);
}

static const struct {
    const char *script, *expected;
} good[] = {
    {"", ""},
    {"#!/bin/sh\necho\n", ""},
    {"#!/bin/sh\n#PBS -N x\n", "2:-N|x"},
    {"#PBS -N x", "1:-N|x"},
    {"#PBS -N x\r\n#PBS -j oe\r\n", "1:-N|x;2:-j|oe"},
    {"#PBS\t-N x -l walltime=5,mem=1gb\n", "1:-N|x|-l|walltime=5,mem=1gb"},
    {"  \t#PBS -N x\n", "1:-N|x"},
    {"\n\n# text\n   # more\n:label\n#PBS -N x\n", "6:-N|x"},
    {"echo\n#PBS -N x\n", ""},
    {" :\n#PBS -N x\n", ""},
    {"#PBS -N x\necho; #PBS -N y\n#PBS -N z\n", "1:-N|x"},
    {"#PBS -F \"a 'b c'\" -v 'X=1 2'\n", "1:-F|a 'b c'|-v|X=1 2"},
    {"#PBS -N x # why\n", "1:-N|x"},
    {"#PBS -N x#1\n", "1:-N|x#1"},
    {"#PBS -v A=\\#\n", "1:-v|A=#"},
    {"#PBS -N x \\\n -j oe\necho\n#PBS -S /x\n", "1:-N|x|-j|oe"},
    {"#PBS -v A=1,\\\nB=2\\\n,C=3\n#PBS -V\n", "1:-v|A=1,B=2,C=3;4:-V"},
    {"#PBS -N \\\r\nx\r\n", "1:-N|x"},
    {"#PBS-N x\n", "1:-N|x"},
    {"#PBS\n", "1:"},
    {"# PBS -N x\n##PBS -N y\n#pbs -N z\n", ""},
    {"#PBS -vm ram=1G,vcpus=2\n#PBS -vm=img=tiny\n", "1:-vm|ram=1G,vcpus=2;2:-vm=img=tiny"},
    {"\xef\xbb\xbf#PBS -N x\n", ""},
    {"#PBS -N \xff\xfe\n", "1:-N|\xff\xfe"},
};

static void test_good(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(good); i++) {
        GError *error = NULL;
        g_autoptr(GPtrArray) directives = vt_directives_parse(
            good[i].script, strlen(good[i].script), VT_DIRECTIVE_PREFIX, &error);
        g_assert_no_error(error);
        g_autofree char *shown = show(directives);
        g_assert_cmpstr(shown, ==, good[i].expected);
    }
}

static const struct {
    const char *script;
    gsize size;
    const char *message;
} wrong[] = {
    {"#!/bin/sh\n#PBS -N 'x\n", 20, "script line 2: quote ' is not closed"},
    {"#PBS -N \"x\n", 11, "script line 1: quote \" is not closed"},
    {"#PBS -N x\\\n", 11, "script line 1: directive goes on * past the script's end"},
    {"#PBS -N x\\", 10, "script line 1: directive goes on * past the script's end"},
    {"\n#PBS -N x\0y\n", 13, "script line 2: directive has a NUL byte"},
};

static void test_wrong(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(wrong); i++) {
        g_autoptr(GError) error = NULL;
        g_assert_null(
            vt_directives_parse(wrong[i].script, wrong[i].size, VT_DIRECTIVE_PREFIX, &error));
        g_assert_error(error, VT_ERROR, VT_ERROR_USER);
        if (!g_pattern_match_simple(wrong[i].message, error->message))
            g_error("'%s' is not '%s'", error->message, wrong[i].message);
    }
}

static void test_long(void)
{
    g_autofree char *fill = g_strnfill(VT_DIRECTIVE_MAX, 'x');
    g_autofree char *script = g_strdup_printf("#PBS %s\n", fill);
    g_autofree char *comment = g_strdup_printf("# %s\n#PBS -N x\n", fill);
    g_autoptr(GError) error = NULL;
    g_assert_null(vt_directives_parse(script, strlen(script), VT_DIRECTIVE_PREFIX, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    g_autoptr(GPtrArray) directives =
        vt_directives_parse(comment, strlen(comment), VT_DIRECTIVE_PREFIX, NULL);
    g_assert_cmpuint(directives->len, ==, 1);
}

/* NUL bytes outside directives are the script's own matter. */
static void test_binary(void)
{
    static const char script[] = "#\0\n#PBS -N x\n\0\n#PBS -N y\n";
    g_autoptr(GPtrArray) directives =
        vt_directives_parse(script, sizeof script - 1, VT_DIRECTIVE_PREFIX, NULL);
    g_assert_cmpuint(directives->len, ==, 1);
}

/* Another prefix takes the place of #PBS; what stands behind it is kept as it is, on one line. */
static void test_prefix(void)
{
    static const struct {
        const char *prefix, *script, *texts;
    } rows[] = {
        {"#PBS", "#PBS  -N 'a  b' # why\n#VM -j oe\n", "[  -N 'a  b' # why]"},
        {"#VM", "#PBS -N x\n  #VM -j oe\n", "[ -j oe]"},
        {"#PBS", "#PBS -v A=1,\\\nB=2\\\r\n,C=3 \n", "[ -v A=1,B=2,C=3 ]"},
        {"#", "#!/bin/sh\n#-N x\n", "[!/bin/sh][-N x]"},
        {"", "#PBS -N x\n", ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        const char *script = rows[i].script;
        g_autoptr(GString) texts = g_string_new(NULL);
        g_autoptr(GPtrArray) directives =
            vt_directives_parse(script, strlen(script), rows[i].prefix, NULL);
        for (guint k = 0; k < directives->len; k++)
            g_string_append_printf(texts, "[%s]", ((VtDirective *)directives->pdata[k])->text);
        g_assert_cmpstr(texts->str, ==, rows[i].texts);
    }
}

static const struct {
    const char *text, *expected; /* NULL: refused */
} lists[] = {
    {"A,B=1", "A|B=1"},
    {"A=a b,B", "A=a b|B"},
    {"A=1\\,2,B", "A=1,2|B"},
    {"A='1,2',B", "A=1,2|B"},
    {",,A,,", "A"},
    {"A=\"x\\\"y\"", "A=x\"y"},
    {"", ""},
    {"A='1", NULL},
    {"A=\\", "A=\\"},
};

static void test_lists(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_auto(GStrv) words = vt_words_split_list(lists[i].text, NULL);
        g_autofree char *shown = words ? g_strjoinv("|", words) : NULL;
        g_assert_cmpstr(shown, ==, lists[i].expected);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/directive/good", test_good);
    g_test_add_func("/directive/wrong", test_wrong);
    g_test_add_func("/directive/long", test_long);
    g_test_add_func("/directive/binary", test_binary);
    g_test_add_func("/directive/prefix", test_prefix);
    g_test_add_func("/words/lists", test_lists);
    return g_test_run();
}
