/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/setup.h - what a session will be, gathered from the frames between OPEN and START.
 *
 * One at a time: it is the agent's largest buffer.
 */
#pragma once

#include "wire/wire.h"

#include <sys/resource.h>
#include <sys/types.h>

typedef struct {
    bool is_open;
    uint16_t session;
    bool has_terminal, is_joined;
    uid_t uid;
    gid_t gid;
    mode_t mask;
    uint16_t rows, columns;
    char directory[WIRE_STRING_MAX + 1];
    gid_t groups[WIRE_GROUPS_MAX];
    size_t group_count;
    struct rlimit limits[WIRE_LIMITS_MAX];
    uint32_t limits_set; /* bit n: limits[n] */
    const char *program; /* NULL: argv[0] */
    char *argv[WIRE_WORDS_MAX + 1],
        *envp[WIRE_WORDS_MAX + 1]; /* into `arena`, NULL at their ends */
    size_t arg_count, env_count;
    size_t arena_used;
    char arena[WIRE_ARENA_MAX];
} Setup;

/* Payloads have passed wire_frame_check(). The first begins a setup; the others add to it and
 * return false if it would exceed its limits. */
void setup_open(Setup *setup, const WireHeader *header, const uint8_t *payload);
bool setup_add_groups(Setup *setup, const WireHeader *header, const uint8_t *payload);
bool setup_add_word(Setup *setup, const WireHeader *header, const uint8_t *payload);
void setup_set_limit(Setup *setup, const WireHeader *header, const uint8_t *payload);

/* Done with it: gives its pages back. */
void setup_close(Setup *setup);
