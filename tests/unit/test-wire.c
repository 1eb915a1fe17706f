/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-wire.c - the codec and the table of frames, by vectors. */
#include <errno.h>
#include <glib.h>
#include <string.h>

#include "wire/frame.h"
#include "wire/wire.h"

#define BYTES(...) {__VA_ARGS__}, sizeof((guint8[]){__VA_ARGS__})

static void test_headers(void)
{
    static const struct {
        guint8 bytes[WIRE_HEADER_SIZE];
        int result;
        WireHeader header;
    } table[] = {
        {{0, 0, 0, 0, 1, 0, 0, 0}, 0, {0, 1, 0, 0}},
        {{0x34, 0x12, 0, 0, 48, 2, 31, 0}, 0, {0x1234, 48, 2, 31}},
        {{0, 0, 1, 0, 255, 255, 0, 0}, 0, {65536, 255, 255, 0}},
        {{1, 0, 1, 0, 48, 0, 0, 0}, -EMSGSIZE, {65537, 48, 0, 0}},
        {{255, 255, 255, 255, 48, 0, 0, 0}, -EMSGSIZE, {UINT32_MAX, 48, 0, 0}},
        {{0, 0, 0, 0, 48, 0, 32, 0}, -EPROTO, {0, 48, 0, 32}},
        {{0, 0, 0, 0, 48, 0, 0, 1}, -EPROTO, {0, 48, 0, 256}},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        WireHeader header;
        guint8 bytes[WIRE_HEADER_SIZE];
        g_assert_cmpint(wire_header_parse(table[i].bytes, &header), ==, table[i].result);
        g_assert_cmpmem(&header, sizeof header, &table[i].header, sizeof header);
        wire_header_format(&header, bytes);
        g_assert_cmpmem(bytes, sizeof bytes, table[i].bytes, sizeof bytes);
    }
}

static void test_numbers(void)
{
    static const guint8 wanted[] = {0x01, 0x03, 0x02, 0x07, 0x06, 0x05, 0x04, 0x0f,
                                    0x0e, 0x0d, 0x0c, 0x0b, 0x0a, 0x09, 0x88};
    guint8 buffer[sizeof wanted];
    WireWriter writer = wire_writer(buffer, sizeof buffer);
    wire_put_u8(&writer, 0x01);
    wire_put_u16(&writer, 0x0203);
    wire_put_u32(&writer, 0x04050607);
    wire_put_u64(&writer, 0x88090a0b0c0d0e0f);
    g_assert_true(writer.ok);
    g_assert_cmpmem(buffer, writer.used, wanted, sizeof wanted);

    WireReader reader = wire_reader(buffer, sizeof buffer);
    g_assert_cmphex(wire_get_u8(&reader), ==, 0x01);
    g_assert_cmphex(wire_get_u16(&reader), ==, 0x0203);
    g_assert_cmphex(wire_get_u32(&reader), ==, 0x04050607);
    g_assert_false(wire_reader_done(&reader));
    g_assert_cmphex(wire_get_u64(&reader), ==, 0x88090a0b0c0d0e0f);
    g_assert_true(wire_reader_done(&reader));
}

/* Too few bytes: 0, and nothing can be read any more, even what would fit. */
static void test_short_input(void)
{
    static const guint8 bytes[] = {1, 2, 3, 4, 5, 6, 7};
    WireReader reader = wire_reader(bytes, sizeof bytes);
    g_assert_cmphex(wire_get_u64(&reader), ==, 0);
    g_assert_false(reader.ok);
    g_assert_cmphex(wire_get_u8(&reader), ==, 0);
    g_assert_false(wire_reader_done(&reader));

    reader = wire_reader(NULL, 0);
    g_assert_true(wire_reader_done(&reader));
    g_assert_cmphex(wire_get_u16(&reader), ==, 0);
    g_assert_false(reader.ok);
}

static void test_full_output(void)
{
    guint8 buffer[8] = {0};
    WireWriter writer = wire_writer(buffer, 5);
    wire_put_u32(&writer, 0x01010101);
    wire_put_u16(&writer, 0xffff);
    wire_put_u8(&writer, 0xff); /* would fit, but comes too late */
    g_assert_false(writer.ok);
    g_assert_cmpuint(writer.used, ==, 4);
    g_assert_cmphex(buffer[4], ==, 0);
}

static void test_strings(void)
{
    static const struct {
        guint8 bytes[8];
        gsize size;
        gsize room;
        bool ok;
        const char *text;
    } table[] = {
        {BYTES(0, 0), 8, true, ""},
        {BYTES(3, 0, 'a', 'b', 'c'), 8, true, "abc"},
        {BYTES(3, 0, 'a', 'b', 'c'), 4, true, "abc"},
        {BYTES(3, 0, 'a', 'b', 'c'), 3, false, ""},
        {BYTES(3, 0, 'a', 'b'), 8, false, ""},
        {BYTES(3, 0, 'a', 0, 'c'), 8, false, ""},
        {BYTES(255, 255, 'a'), 8, false, ""},
        {BYTES(3), 8, false, ""},
    };
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        char text[8] = "unset";
        WireReader reader = wire_reader(table[i].bytes, table[i].size);
        wire_get_string(&reader, text, table[i].room);
        g_assert_cmpint(reader.ok, ==, table[i].ok);
        g_assert_cmpstr(text, ==, table[i].text);
    }
}

static void test_string_limit(void)
{
    char text[WIRE_STRING_MAX + 2], back[WIRE_STRING_MAX + 2];
    guint8 buffer[2 * sizeof text];
    memset(text, 'x', sizeof text);
    text[WIRE_STRING_MAX] = '\0';
    WireWriter writer = wire_writer(buffer, sizeof buffer);
    wire_put_string(&writer, text);
    wire_put_string(&writer, NULL);
    g_assert_true(writer.ok);
    WireReader reader = wire_reader(buffer, writer.used);
    wire_get_string(&reader, back, sizeof back);
    g_assert_cmpstr(back, ==, text);
    wire_get_string(&reader, back, sizeof back);
    g_assert_cmpstr(back, ==, "");
    g_assert_true(wire_reader_done(&reader));

    text[WIRE_STRING_MAX] = 'x';
    text[WIRE_STRING_MAX + 1] = '\0';
    wire_put_string(&writer, text);
    g_assert_false(writer.ok);
}

typedef struct {
    const char *what;
    WireSide sender;
    WireHeader header; /* its length is `size` */
    guint8 payload[40];
    gsize size;
    bool ok;
} FrameVector;

static const FrameVector frame_vectors[] = {
    {"hello", WIRE_ENGINE, {0, WIRE_HELLO}, BYTES(1, 2, 3, 4, 1, 0, 1, 0), true},
    {"hello of a newer peer",
     WIRE_AGENT,
     {0, WIRE_HELLO},
     BYTES(1, 2, 3, 4, 1, 0, 1, 0, 9, 9),
     true},
    {"short hello", WIRE_AGENT, {0, WIRE_HELLO}, BYTES(1, 2, 3, 4, 1, 0, 1), false},
    {"no type", WIRE_ENGINE, {0, 0}, {0}, 0, false},
    {"a gap in the types", WIRE_ENGINE, {0, 23}, {0}, 0, false},
    {"an unknown type", WIRE_ENGINE, {0, 73}, {0}, 0, false},
    {"a type of the run connection", WIRE_ENGINE, {0, 128}, {0}, 0, false},
    {"plan end", WIRE_ENGINE, {0, WIRE_PLAN_END}, {0}, 0, true},
    {"plan end with more", WIRE_ENGINE, {0, WIRE_PLAN_END}, BYTES(0), false},
    {"plan end with aux", WIRE_ENGINE, {0, WIRE_PLAN_END, 1}, {0}, 0, false},
    {"plan end with a session", WIRE_ENGINE, {0, WIRE_PLAN_END, 0, 1}, {0}, 0, false},
    {"plan end from the agent", WIRE_AGENT, {0, WIRE_PLAN_END}, {0}, 0, false},
    {"ready", WIRE_AGENT, {0, WIRE_READY}, {0}, 0, true},
    {"ready from the engine", WIRE_ENGINE, {0, WIRE_READY}, {0}, 0, false},
    {"step fail", WIRE_AGENT, {0, WIRE_STEP_FAIL}, BYTES(1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 'x'), true},
    {"step 0", WIRE_ENGINE, {0, WIRE_STEP, 0}, {0}, 0, false},
    {"step too high", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_ADDRESS + 1}, {0}, 0, false},
    {"host name", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_HOSTNAME}, BYTES(1, 0, 'h'), true},
    {"host name with NUL", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_HOSTNAME}, BYTES(1, 0, 0), false},
    {"host name with more",
     WIRE_ENGINE,
     {0, WIRE_STEP, WIRE_STEP_HOSTNAME},
     BYTES(1, 0, 'h', 0),
     false},
    {"append nothing", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_APPEND}, {0}, 0, true},
    {"no random bytes", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_RANDOM}, {0}, 0, false},
    {"clock",
     WIRE_ENGINE,
     {0, WIRE_STEP, WIRE_STEP_CLOCK},
     BYTES(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4),
     true},
    {"short clock",
     WIRE_ENGINE,
     {0, WIRE_STEP, WIRE_STEP_CLOCK},
     BYTES(1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3),
     false},
    {"symlink", WIRE_ENGINE, {0, WIRE_STEP, WIRE_STEP_SYMLINK}, BYTES(1, 0, 'a', 1, 0, 'b'), true},
    {"open",
     WIRE_ENGINE,
     {0, WIRE_OPEN, 1, 31},
     BYTES(1, 0, 0, 0, 1, 0, 0, 0, 18, 0, 0, 0, 24, 0, 80, 0, 1, 0, '/'),
     true},
    {"open with one pipe",
     WIRE_ENGINE,
     {0, WIRE_OPEN, 2},
     BYTES(1, 0, 0, 0, 1, 0, 0, 0, 18, 0, 0, 0, 24, 0, 80, 0, 1, 0, '/'),
     true},
    {"open with an unknown flag",
     WIRE_ENGINE,
     {0, WIRE_OPEN, 3},
     BYTES(1, 0, 0, 0, 1, 0, 0, 0, 18, 0, 0, 0, 24, 0, 80, 0, 1, 0, '/'),
     false},
    {"no groups", WIRE_ENGINE, {0, WIRE_GROUPS}, {0}, 0, true},
    {"two groups", WIRE_ENGINE, {0, WIRE_GROUPS}, BYTES(1, 0, 0, 0, 2, 0, 0, 0), true},
    {"half a group", WIRE_ENGINE, {0, WIRE_GROUPS}, BYTES(1, 0, 0, 0, 2, 0), false},
    {"empty word", WIRE_ENGINE, {0, WIRE_WORD, WIRE_WORD_PROGRAM}, {0}, 0, true},
    {"word with NUL", WIRE_ENGINE, {0, WIRE_WORD, WIRE_WORD_ARG}, BYTES('a', 0), false},
    {"word of no kind", WIRE_ENGINE, {0, WIRE_WORD, 3}, BYTES('a'), false},
    {"limit",
     WIRE_ENGINE,
     {0, WIRE_LIMIT, 15},
     BYTES(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
     true},
    {"limit too high",
     WIRE_ENGINE,
     {0, WIRE_LIMIT, 16},
     BYTES(0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0),
     false},
    {"signal 0", WIRE_ENGINE, {0, WIRE_SIGNAL, 0}, {0}, 0, false},
    {"signal 64", WIRE_ENGINE, {0, WIRE_SIGNAL, 64}, {0}, 0, true},
    {"signal 65", WIRE_ENGINE, {0, WIRE_SIGNAL, 65}, {0}, 0, false},
    {"exit", WIRE_AGENT, {0, WIRE_EXIT, WIRE_EXIT_STATUS}, BYTES(7, 0, 0, 0, 0, 0), true},
    {"exit of no kind", WIRE_AGENT, {0, WIRE_EXIT, 3}, BYTES(7, 0, 0, 0, 0, 0), false},
    {"stdin from the engine", WIRE_ENGINE, {0, WIRE_DATA, WIRE_STDIN}, BYTES(0), true},
    {"stdin from the agent", WIRE_AGENT, {0, WIRE_DATA, WIRE_STDIN}, BYTES(0), false},
    {"stdout from the agent", WIRE_AGENT, {0, WIRE_DATA, WIRE_STDOUT}, BYTES(0), true},
    {"stdout from the engine", WIRE_ENGINE, {0, WIRE_DATA, WIRE_STDOUT}, BYTES(0), false},
    {"data without data", WIRE_AGENT, {0, WIRE_DATA, WIRE_STDOUT}, {0}, 0, false},
    {"data of stream 3", WIRE_AGENT, {0, WIRE_DATA, 3}, BYTES(0), false},
    {"credit for stdin", WIRE_AGENT, {0, WIRE_CREDIT, WIRE_STDIN}, BYTES(1, 0, 0, 0), true},
    {"credit for its own data",
     WIRE_ENGINE,
     {0, WIRE_CREDIT, WIRE_STDIN},
     BYTES(1, 0, 0, 0),
     false},
    {"close of stderr by its reader", WIRE_ENGINE, {0, WIRE_CLOSE, WIRE_STDERR}, BYTES(0), true},
    {"close for no reason", WIRE_ENGINE, {0, WIRE_CLOSE, WIRE_STDIN}, BYTES(2), false},
    {"ping", WIRE_AGENT, {0, WIRE_PING}, BYTES(1, 2, 3, 4, 5, 6, 7, 8), true},
    {"long ping", WIRE_AGENT, {0, WIRE_PING}, BYTES(1, 2, 3, 4, 5, 6, 7, 8, 9), false},
    {"shutdown", WIRE_ENGINE, {0, WIRE_SHUTDOWN, WIRE_SHUTDOWN_POWEROFF}, {0}, 0, true},
    {"shutdown in a new way", WIRE_ENGINE, {0, WIRE_SHUTDOWN, 2}, {0}, 0, false},
    {"fault from the agent", WIRE_AGENT, {0, WIRE_FAULT, WIRE_FAULT_EXIT}, {0}, 0, false},
    {"error", WIRE_AGENT, {0, WIRE_ERROR}, BYTES(1, 0, 0, 0, 2, 0, 'n', 'o'), true},
};

static void test_frames(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(frame_vectors); i++) {
        const FrameVector *vector = &frame_vectors[i];
        WireHeader header = vector->header;
        header.length = (guint32)vector->size;
        int result = wire_frame_check(&header, vector->payload, vector->sender);
        if (result != (vector->ok ? 0 : -EPROTO))
            g_error("%s: %d", vector->what, result);
    }
}

/* What is too large for a vector. */
static void test_frame_limits(void)
{
    static const struct {
        WireHeader header;
        gsize most;
    } table[] = {
        {{0, WIRE_WORD, WIRE_WORD_ARG}, WIRE_WORD_MAX},
        {{0, WIRE_GROUPS}, WIRE_GROUPS_MAX * 4},
        {{0, WIRE_STEP, WIRE_STEP_RANDOM}, WIRE_RANDOM_MAX},
    };
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    memset(payload, 'x', WIRE_PAYLOAD_MAX);
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        WireHeader header = table[i].header;
        header.length = (guint32)table[i].most;
        g_assert_cmpint(wire_frame_check(&header, payload, WIRE_ENGINE), ==, 0);
        header.length += 4 - header.length % 4; /* the next that is a number of groups */
        g_assert_cmpint(wire_frame_check(&header, payload, WIRE_ENGINE), ==, -EPROTO);
    }
}

static void test_names(void)
{
    g_assert_cmpstr(wire_type_name(WIRE_DATA), ==, "DATA");
    g_assert_cmpstr(wire_type_name(0), ==, "?");
    g_assert_cmpstr(wire_type_name(4711), ==, "?");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wire/headers", test_headers);
    g_test_add_func("/wire/numbers", test_numbers);
    g_test_add_func("/wire/short-input", test_short_input);
    g_test_add_func("/wire/full-output", test_full_output);
    g_test_add_func("/wire/strings", test_strings);
    g_test_add_func("/wire/string-limit", test_string_limit);
    g_test_add_func("/wire/frames", test_frames);
    g_test_add_func("/wire/frame-limits", test_frame_limits);
    g_test_add_func("/wire/names", test_names);
    return g_test_run();
}
