/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tests/fuzz/fuzz-wire-agent.c - the agent's buffers behind the check of frames: a session's setup,
 * its stdin.
 *
 * Input: frames of the engine, split up again by the agent's own link. Frames whose effect reaches
 * beyond the agent (plan, processes, ends) are checked and left out.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "agent/input.h"
#include "agent/link.h"
#include "agent/setup.h"
#include "wire/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    Link link;
    Setup setup;
    Input input;
    int feeder; /* the host's end of the port */
    int reader; /* the process's stdin */
} Target;

static void take(Target *target, const WireHeader *header, const uint8_t *payload)
{
    Setup *setup = &target->setup;
    static uint8_t sink[16384];

    if (header->type == WIRE_OPEN)
        setup_open(setup, header, payload);
    else if (header->type == WIRE_START && setup->is_open)
        setup_close(setup);
    else if (header->type == WIRE_GROUPS && setup->is_open)
        setup_add_groups(setup, header, payload);
    else if (header->type == WIRE_WORD && setup->is_open)
        setup_add_word(setup, header, payload);
    else if (header->type == WIRE_LIMIT && setup->is_open)
        setup_set_limit(setup, header, payload);
    else if (header->type == WIRE_DATA)
        input_take(&target->input, payload, header->length);
    else if (header->type == WIRE_CLOSE && header->aux == WIRE_STDIN)
        input_end(&target->input);
    input_pump(&target->input);
    input_take_credit(&target->input);
    if (read(target->reader, sink, sizeof sink) < 0)
        return;
}

static void take_frames(Target *target)
{
    const uint8_t *payload;
    WireHeader header;

    while (link_next(&target->link, &header, &payload) > 0)
        if (wire_frame_check(&header, payload, WIRE_ENGINE) == 0)
            take(target, &header, payload);
}

static void start(Target *target)
{
    int port[2], pipes[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, port) < 0 ||
        pipe2(pipes, O_NONBLOCK | O_CLOEXEC) < 0)
        abort();
    signal(SIGPIPE, SIG_IGN);
    link_init(&target->link, port[0]);
    target->feeder = port[1];
    target->reader = pipes[0];
    input_init(&target->input, pipes[1], false);
    target->setup.is_open = false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Target target;

    start(&target);
    while (size > 0) {
        ssize_t count = write(target.feeder, data, size > 4000 ? 4000 : size);

        if (count > 0) {
            data += count;
            size -= (size_t)count;
        }
        if (link_fill(&target.link) < 0 || (count < 0 && target.link.used == sizeof target.link.in))
            break; /* a header that may not be stands at the start */
        take_frames(&target);
    }
    input_clear(&target.input);
    close(target.link.fd);
    close(target.feeder);
    close(target.reader);
    return 0;
}
