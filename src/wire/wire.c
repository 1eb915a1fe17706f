/* SPDX-License-Identifier: Apache-2.0 */
/* wire/wire.c - integers, strings and headers to and from bytes, never past a buffer's end. */
#include "wire/wire.h"

#include <errno.h>
#include <string.h>

static void store(uint8_t *out, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load(const uint8_t *in, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size; i++)
        value |= (uint64_t)in[i] << (8 * i);
    return value;
}

void wire_header_format(const WireHeader *header, uint8_t out[WIRE_HEADER_SIZE])
{
    store(out, header->length, 4);
    out[4] = header->type;
    out[5] = header->aux;
    store(out + 6, header->session, 2);
}

int wire_header_parse(const uint8_t in[WIRE_HEADER_SIZE], WireHeader *header)
{
    header->length = (uint32_t)load(in, 4);
    header->type = in[4];
    header->aux = in[5];
    header->session = (uint16_t)load(in + 6, 2);
    if (header->length > WIRE_PAYLOAD_MAX)
        return -EMSGSIZE;
    if (header->session >= WIRE_SESSIONS_MAX)
        return -EPROTO;
    return 0;
}

WireReader wire_reader(const void *data, size_t size)
{
    return (WireReader){.at = data, .left = size, .ok = true};
}

/* The next `size` bytes, or NULL; once one was missing, all later ones are. */
static const uint8_t *take(WireReader *reader, size_t size)
{
    const uint8_t *at = reader->at;

    if (!reader->ok || reader->left < size) {
        reader->ok = false;
        return NULL;
    }
    reader->left -= size;
    if (size > 0)
        reader->at += size;
    return at;
}

static uint64_t get(WireReader *reader, size_t size)
{
    const uint8_t *at = take(reader, size);

    return at ? load(at, size) : 0;
}

uint8_t wire_get_u8(WireReader *reader)
{
    return (uint8_t)get(reader, 1);
}

uint16_t wire_get_u16(WireReader *reader)
{
    return (uint16_t)get(reader, 2);
}

uint32_t wire_get_u32(WireReader *reader)
{
    return (uint32_t)get(reader, 4);
}

uint64_t wire_get_u64(WireReader *reader)
{
    return get(reader, 8);
}

void wire_get_string(WireReader *reader, char *out, size_t size)
{
    size_t length = wire_get_u16(reader);
    const uint8_t *at = take(reader, length);

    if (size > 0)
        out[0] = '\0';
    if (!at || length == 0)
        return;
    if (length > WIRE_STRING_MAX || length >= size || memchr(at, '\0', length)) {
        reader->ok = false;
        return;
    }
    memcpy(out, at, length);
    out[length] = '\0';
}

bool wire_reader_done(const WireReader *reader)
{
    return reader->ok && reader->left == 0;
}

WireWriter wire_writer(void *buffer, size_t size)
{
    return (WireWriter){.start = buffer, .size = size, .ok = true};
}

/* Room for `size` more bytes, or NULL; once something did not fit, nothing more is written. */
static uint8_t *grow(WireWriter *writer, size_t size)
{
    uint8_t *at;

    if (!writer->ok || writer->size - writer->used < size) {
        writer->ok = false;
        return NULL;
    }
    at = writer->start + writer->used;
    writer->used += size;
    return at;
}

static void put(WireWriter *writer, uint64_t value, size_t size)
{
    uint8_t *at = grow(writer, size);

    if (at)
        store(at, value, size);
}

void wire_put_u8(WireWriter *writer, uint8_t value)
{
    put(writer, value, 1);
}

void wire_put_u16(WireWriter *writer, uint16_t value)
{
    put(writer, value, 2);
}

void wire_put_u32(WireWriter *writer, uint32_t value)
{
    put(writer, value, 4);
}

void wire_put_u64(WireWriter *writer, uint64_t value)
{
    put(writer, value, 8);
}

void wire_put_string(WireWriter *writer, const char *text)
{
    size_t length = text ? strlen(text) : 0;

    if (length > WIRE_STRING_MAX) {
        writer->ok = false;
        return;
    }
    wire_put_u16(writer, (uint16_t)length);
    wire_put_bytes(writer, text, length);
}

void wire_put_bytes(WireWriter *writer, const void *data, size_t size)
{
    uint8_t *at = size > 0 ? grow(writer, size) : NULL;

    if (at)
        memcpy(at, data, size);
}
