/* SPDX-License-Identifier: Apache-2.0 */
/* agent/setup.c - words into one arena, numbers into arrays. */
#include "agent/setup.h"

#include <string.h>
#include <sys/mman.h>

void setup_open(Setup *setup, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);

    setup->is_open = true;
    setup->session = header->session;
    setup->has_terminal = header->aux == WIRE_OPEN_PTY;
    setup->is_joined = header->aux == WIRE_OPEN_JOINED;
    setup->uid = wire_get_u32(&reader);
    setup->gid = wire_get_u32(&reader);
    setup->mask = wire_get_u32(&reader) & 0777;
    setup->rows = wire_get_u16(&reader);
    setup->columns = wire_get_u16(&reader);
    wire_get_string(&reader, setup->directory, sizeof setup->directory);
    setup->group_count = 0;
    setup->limits_set = 0;
    setup->program = NULL;
    setup->arg_count = setup->env_count = setup->arena_used = 0;
    setup->argv[0] = setup->envp[0] = NULL;
}

bool setup_add_groups(Setup *setup, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    size_t count = header->length / 4;

    if (count > WIRE_GROUPS_MAX - setup->group_count)
        return false;
    while (count-- > 0)
        setup->groups[setup->group_count++] = wire_get_u32(&reader);
    return true;
}

static void append(char **words, size_t *count, char *word)
{
    words[(*count)++] = word;
    words[*count] = NULL;
}

bool setup_add_word(Setup *setup, const WireHeader *header, const uint8_t *payload)
{
    char *word = setup->arena + setup->arena_used;
    size_t size = (size_t)header->length + 1;

    if (size > WIRE_ARENA_MAX - setup->arena_used ||
        setup->arg_count + setup->env_count == WIRE_WORDS_MAX)
        return false;
    memcpy(word, payload, header->length);
    word[header->length] = '\0';
    setup->arena_used += size;
    if (header->aux == WIRE_WORD_PROGRAM)
        setup->program = word;
    else if (header->aux == WIRE_WORD_ARG)
        append(setup->argv, &setup->arg_count, word);
    else
        append(setup->envp, &setup->env_count, word);
    return true;
}

static rlim_t get_limit(WireReader *reader)
{
    uint64_t value = wire_get_u64(reader);

    return value == UINT64_MAX ? RLIM_INFINITY : value;
}

void setup_set_limit(Setup *setup, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    struct rlimit *limit = &setup->limits[header->aux];

    limit->rlim_cur = get_limit(&reader);
    limit->rlim_max = get_limit(&reader);
    setup->limits_set |= 1u << header->aux;
}

void setup_close(Setup *setup)
{
    uintptr_t page = 4096, from = ((uintptr_t)setup + page - 1) & ~(page - 1);
    uintptr_t to = (uintptr_t)(setup + 1) & ~(page - 1);

    setup->is_open = false;
    if (setup->arena_used > page)
        madvise((void *)from, to - from, MADV_DONTNEED);
}
