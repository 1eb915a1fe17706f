/* SPDX-License-Identifier: Apache-2.0 */
/* wire/frame.c - the table of frames and the check against it. */
#include "wire/frame.h"

#include <errno.h>
#include <string.h>

enum { FROM_ENGINE = 1 << WIRE_ENGINE, FROM_AGENT = 1 << WIRE_AGENT, FROM_BOTH = 3 };

/* A payload's shape, a letter a field: y u8 reason of a CLOSE, h u16, u u32, q u64, s string; and
 * as the last: b any bytes, B at least one byte, w a word, g group ids, r random bytes, * whatever
 * a newer peer adds. */
typedef struct {
    const char *name;
    const char *shape;
    uint8_t senders, has_session, aux_min, aux_max;
} FrameRule;

static const FrameRule frame_rules[] = {
    [WIRE_HELLO] = {"HELLO", "uhh*", FROM_BOTH},
    [WIRE_STEP] = {"STEP", NULL, FROM_ENGINE, 0, WIRE_STEP_MKDIR, WIRE_STEP_ADDRESS},
    [WIRE_PLAN_END] = {"PLAN_END", "", FROM_ENGINE},
    [WIRE_READY] = {"READY", "", FROM_AGENT},
    [WIRE_STEP_FAIL] = {"STEP_FAIL", "uus", FROM_AGENT},
    [WIRE_OPEN] = {"OPEN", "uuuhhs", FROM_ENGINE, 1, 0, WIRE_OPEN_JOINED},
    [WIRE_GROUPS] = {"GROUPS", "g", FROM_ENGINE, 1},
    [WIRE_WORD] = {"WORD", "w", FROM_ENGINE, 1, WIRE_WORD_ARG, WIRE_WORD_PROGRAM},
    [WIRE_LIMIT] = {"LIMIT", "qq", FROM_ENGINE, 1, 0, WIRE_LIMITS_MAX - 1},
    [WIRE_START] = {"START", "", FROM_ENGINE, 1},
    [WIRE_SIGNAL] = {"SIGNAL", "", FROM_ENGINE, 1, 1, WIRE_SIGNAL_MAX},
    [WIRE_WINSIZE] = {"WINSIZE", "hh", FROM_ENGINE, 1},
    [WIRE_STARTED] = {"STARTED", "u", FROM_AGENT, 1},
    [WIRE_EXIT] = {"EXIT", "us", FROM_AGENT, 1, WIRE_EXIT_STATUS, WIRE_EXIT_FAILED},
    [WIRE_ENDED] = {"ENDED", "", FROM_AGENT, 1},
    [WIRE_DATA] = {"DATA", "B", FROM_BOTH, 1, WIRE_STDIN, WIRE_STDERR},
    [WIRE_CREDIT] = {"CREDIT", "u", FROM_BOTH, 1, WIRE_STDIN, WIRE_STDERR},
    [WIRE_CLOSE] = {"CLOSE", "y", FROM_BOTH, 1, WIRE_STDIN, WIRE_STDERR},
    [WIRE_PING] = {"PING", "q", FROM_BOTH},
    [WIRE_PONG] = {"PONG", "q", FROM_BOTH},
    [WIRE_REST] = {"REST", "", FROM_ENGINE},
    [WIRE_RESTED] = {"RESTED", "", FROM_AGENT},
    [WIRE_RESUME] = {"RESUME", "", FROM_ENGINE},
    [WIRE_SHUTDOWN] = {"SHUTDOWN", "", FROM_ENGINE, 0, 0, WIRE_SHUTDOWN_POWEROFF},
    [WIRE_BYE] = {"BYE", "", FROM_AGENT},
    [WIRE_FAULT] = {"FAULT", "", FROM_ENGINE, 0, 0, WIRE_FAULT_POWEROFF},
    [WIRE_ERROR] = {"ERROR", "us", FROM_BOTH},
};

static const char *const step_shapes[] = {
    [WIRE_STEP_MKDIR] = "uuus", [WIRE_STEP_FILE] = "uuus",   [WIRE_STEP_APPEND] = "b",
    [WIRE_STEP_SYMLINK] = "ss", [WIRE_STEP_MOUNT] = "qssss", [WIRE_STEP_BIND] = "qss",
    [WIRE_STEP_ROOT] = "s",     [WIRE_STEP_HOSTNAME] = "s",  [WIRE_STEP_CLOCK] = "qu",
    [WIRE_STEP_RANDOM] = "r",   [WIRE_STEP_LINK_UP] = "s",   [WIRE_STEP_COPY] = "s",
    [WIRE_STEP_ADDRESS] = "quuu",
};

static const FrameRule *find_rule(unsigned type)
{
    if (type >= sizeof frame_rules / sizeof *frame_rules || !frame_rules[type].name)
        return NULL;
    return &frame_rules[type];
}

const char *wire_type_name(unsigned type)
{
    const FrameRule *rule = find_rule(type);

    return rule ? rule->name : "?";
}

/* Each stream has one direction: data flows one way, its credits the other. */
static bool is_stream_right(const WireHeader *header, WireSide sender)
{
    bool is_input = header->aux == WIRE_STDIN;

    if (header->type == WIRE_DATA)
        return is_input == (sender == WIRE_ENGINE);
    if (header->type == WIRE_CREDIT)
        return is_input == (sender == WIRE_AGENT);
    return true;
}

static void skip_string(WireReader *reader)
{
    size_t length = wire_get_u16(reader);

    if (length > WIRE_STRING_MAX || length > reader->left ||
        (length > 0 && memchr(reader->at, '\0', length))) {
        reader->ok = false;
        return;
    }
    reader->at += length;
    reader->left -= length;
}

/* Takes all the rest, if it may be what `field` says. */
static void skip_rest(WireReader *reader, char field)
{
    size_t left = reader->left;

    if (field == 'B')
        reader->ok = reader->ok && left > 0;
    else if (field == 'w')
        reader->ok =
            reader->ok && left <= WIRE_WORD_MAX && !(left && memchr(reader->at, '\0', left));
    else if (field == 'g')
        reader->ok = reader->ok && left % 4 == 0 && left / 4 <= WIRE_GROUPS_MAX;
    else if (field == 'r')
        reader->ok = reader->ok && left > 0 && left <= WIRE_RANDOM_MAX;
    reader->left = 0;
}

static void skip_field(WireReader *reader, char field)
{
    switch (field) {
    case 'y':
        if (wire_get_u8(reader) > WIRE_CLOSE_ERROR)
            reader->ok = false;
        break;
    case 'h':
        wire_get_u16(reader);
        break;
    case 'u':
        wire_get_u32(reader);
        break;
    case 'q':
        wire_get_u64(reader);
        break;
    case 's':
        skip_string(reader);
        break;
    default:
        skip_rest(reader, field);
    }
}

int wire_frame_check(const WireHeader *header, const void *payload, WireSide sender)
{
    const FrameRule *rule = find_rule(header->type);
    WireReader reader = wire_reader(payload, header->length);
    const char *shape;

    if (!rule || !(rule->senders & 1 << sender) || !is_stream_right(header, sender))
        return -EPROTO;
    if (header->aux < rule->aux_min || header->aux > rule->aux_max)
        return -EPROTO;
    if (!rule->has_session && header->session != 0)
        return -EPROTO;
    shape = header->type == WIRE_STEP ? step_shapes[header->aux] : rule->shape;
    for (; *shape; shape++)
        skip_field(&reader, *shape);
    return wire_reader_done(&reader) ? 0 : -EPROTO;
}
