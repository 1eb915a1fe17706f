/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-console.c - the ring and what leaves it. */
#include "vm/console.h"

#include <string.h>

typedef struct {
    const char *name, *bytes;
    guint lines;
    const char *tail;
} Case;

static const Case cases[] = {
    {"nothing", "", 3, ""},
    {"no newline yet", "login:", 3, "> login:\n"},
    {"the last lines", "a\nb\nc\nd\n", 2, "> c\n> d\n"},
    {"fewer than asked for", "a\nb\n", 9, "> a\n> b\n"},
    {"none asked for", "a\nb\n", 0, ""},
    {"empty and blank lines", "a\n\n  \r\n\t\nb\n", 9, "> a\n> b\n"},
    {"carriage returns", "one\r\ntwo\rthree\n", 9, "> one\n> twothree\n"},
    {"colours", "\033[1;31mred\033[0m plain\n", 9, "> red plain\n"},
    {"cursor", "\033[2J\033[?25l\033[10;20Hx\n", 9, "> x\n"},
    {"title by BEL", "\033]0;evil title\ax\n", 9, "> x\n"},
    {"title by ST", "\033]0;evil title\033\\x\n", 9, "> x\n"},
    {"short escapes", "\0337\033cx\n", 9, "> x\n"},
    {"a sequence that never ends", "\033[1;\nnext\n\033]0;\nlast\n", 9, "> next\n> last\n"},
    {"unprintable", "a\001b\177c\303\244d\te\n", 9, "> a?b?c??d e\n"},
};

static void test_tail(gconstpointer data)
{
    const Case *test = data;
    g_autoptr(VtConsole) console = vt_console_new();

    vt_console_add(console, test->bytes, strlen(test->bytes));
    g_autofree char *tail = vt_console_tail(console, test->lines, "> ");
    g_assert_cmpstr(tail, ==, test->tail);
}

static void test_long_line(void)
{
    g_autoptr(VtConsole) console = vt_console_new();
    g_autofree char *line = g_strnfill(5000, 'x');
    g_autofree char *expected = g_strnfill(201, 'x');

    expected[200] = '\n';
    vt_console_add(console, line, 5000);
    g_autofree char *tail = vt_console_tail(console, 1, "");
    g_assert_cmpstr(tail, ==, expected);
}

/* However the bytes come, the ring holds the newest VT_CONSOLE_SIZE of them. */
static void test_wrap(void)
{
    const gsize pieces[] = {1, 7, 4096, VT_CONSOLE_SIZE, VT_CONSOLE_SIZE + 1, 3 * VT_CONSOLE_SIZE};
    g_autoptr(GString) all = g_string_new(NULL);

    for (guint i = 0; all->len < 4 * VT_CONSOLE_SIZE; i++)
        g_string_append_printf(all, "line %u\n", i);
    for (gsize i = 0; i < G_N_ELEMENTS(pieces); i++) {
        g_autoptr(VtConsole) console = vt_console_new();
        for (gsize at = 0; at < all->len; at += pieces[i])
            vt_console_add(console, all->str + at, MIN(pieces[i], all->len - at));
        g_autofree char *tail = vt_console_tail(console, G_MAXUINT, "");
        const char *newest = all->str + all->len - VT_CONSOLE_SIZE;
        g_assert_cmpuint(strlen(tail), <=, VT_CONSOLE_SIZE);
        g_assert_cmpuint(strlen(tail), >, VT_CONSOLE_SIZE - 20);
        g_assert_true(g_str_has_suffix(newest, tail));
    }
}

static void assert_panic(const VtConsole *console, const char *expected)
{
    g_autofree char *panic = vt_console_find_panic(console);
    g_assert_cmpstr(panic, ==, expected);
}

static void test_panic(void)
{
    static const char panic[] = "[ 1.5] Kernel panic - not syncing: Attempted to kill init!\n";
    g_autoptr(VtConsole) console = vt_console_new();
    g_autofree char *noise = g_strnfill(VT_CONSOLE_SIZE - 20, 'x');

    vt_console_add(console, "Kernel panic is a word\n", 23);
    assert_panic(console, NULL);
    /* Across the ring's end. */
    noise[VT_CONSOLE_SIZE - 21] = '\n';
    vt_console_add(console, noise, strlen(noise));
    vt_console_add(console, panic, strlen(panic));
    assert_panic(console, "Attempted to kill init!");
    vt_console_add(console, noise, strlen(noise));
    vt_console_add(console, noise, strlen(noise));
    assert_panic(console, NULL);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (gsize i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *path = g_strdup_printf("/console/tail/%s", cases[i].name);
        g_test_add_data_func(path, &cases[i], test_tail);
    }
    g_test_add_func("/console/long-line", test_long_line);
    g_test_add_func("/console/wrap", test_wrap);
    g_test_add_func("/console/panic", test_panic);
    return g_test_run();
}
