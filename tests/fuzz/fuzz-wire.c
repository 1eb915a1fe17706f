/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz-wire.c - a stream of frames, as each side reads the other's.
 *
 * Input: one byte (even: the engine sent it, odd: the agent), then frames. What the check accepts
 * must be readable in full by the codec, and come out the same when written again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_header(const uint8_t *bytes, const WireHeader *header)
{
    uint8_t again[WIRE_HEADER_SIZE];

    wire_header_format(header, again);
    require(memcmp(again, bytes, sizeof again) == 0);
}

/* A frame of two numbers and a string, as most are at their end: read and written again. */
static void check_round_trip(const WireHeader *header, const uint8_t *payload)
{
    static uint8_t again[WIRE_PAYLOAD_MAX];
    char text[WIRE_STRING_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    WireWriter writer = wire_writer(again, sizeof again);

    wire_put_u32(&writer, wire_get_u32(&reader));
    if (header->type == WIRE_STEP_FAIL)
        wire_put_u32(&writer, wire_get_u32(&reader));
    wire_get_string(&reader, text, sizeof text);
    wire_put_string(&writer, text);
    require(wire_reader_done(&reader) && writer.ok && writer.used == header->length);
    require(memcmp(again, payload, writer.used) == 0);
}

/* Whatever the payload is, reading it as numbers and strings stays inside it. */
static void check_reader(const WireHeader *header, const uint8_t *payload)
{
    char text[16];
    WireReader reader = wire_reader(payload, header->length);

    while (reader.ok && reader.left > 0) {
        wire_get_u8(&reader);
        wire_get_string(&reader, text, sizeof text);
        require(memchr(text, '\0', sizeof text) != NULL);
        wire_get_u64(&reader);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    WireSide sender;
    WireHeader header;

    if (size == 0)
        return 0;
    sender = data[0] & 1 ? WIRE_AGENT : WIRE_ENGINE;
    data++;
    size--;
    while (size >= WIRE_HEADER_SIZE && wire_header_parse(data, &header) == 0) {
        const uint8_t *payload = data + WIRE_HEADER_SIZE;

        check_header(data, &header);
        if (size - WIRE_HEADER_SIZE < header.length)
            break;
        check_reader(&header, payload);
        if (wire_frame_check(&header, payload, sender) == 0) {
            require(strcmp(wire_type_name(header.type), "?") != 0);
            if (header.type == WIRE_STEP_FAIL || header.type == WIRE_ERROR ||
                header.type == WIRE_EXIT)
                check_round_trip(&header, payload);
        }
        data = payload + header.length;
        size -= WIRE_HEADER_SIZE + header.length;
    }
    return 0;
}
