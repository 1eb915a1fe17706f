/* SPDX-License-Identifier: Apache-2.0 */
/* agent/dispatch.c - one taker for each type of frame. */
#include "agent/dispatch.h"

#include "agent/ending.h"
#include "agent/say.h"
#include "agent/system.h"
#include "wire/frame.h"

#include <string.h>

typedef int (*Taker)(Agent *agent, const WireHeader *header, const uint8_t *payload);

static int take_hello(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    uint32_t magic = wire_get_u32(&reader);
    uint16_t lowest = wire_get_u16(&reader), highest = wire_get_u16(&reader);

    if (agent->is_greeted || magic != WIRE_MAGIC)
        return WIRE_ERROR_FRAME;
    if (lowest > WIRE_VERSION || highest < WIRE_VERSION_MIN)
        return WIRE_ERROR_VERSION;
    agent->is_greeted = true;
    return 0;
}

static int take_step(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    Plan *plan = &agent->plan;
    uint32_t index = plan->count++;
    WireWriter writer;
    int error;

    if (plan->has_failed)
        return 0;
    error = plan_apply(plan, (WireStep)header->aux, payload, header->length);
    if (!error)
        return 0;
    plan->has_failed = true;
    writer = link_writer(&agent->link);
    wire_put_u32(&writer, index);
    wire_put_u32(&writer, (uint32_t)-error);
    wire_put_string(&writer, plan->what);
    link_send(&agent->link, WIRE_STEP_FAIL, 0, 0, writer.used);
    return 0;
}

static int take_plan_end(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (agent->plan.has_failed)
        return 0;
    if (!agent->is_ready && !agent->is_init)
        system_announce_ready();
    agent->is_ready = true;
    link_send_empty(&agent->link, WIRE_READY, 0, 0);
    return 0;
}

static int take_open(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    Session *session = &agent->sessions[header->session];

    if (!agent->is_ready || agent->setup.is_open || session->state != SESSION_FREE)
        return WIRE_ERROR_STATE;
    setup_open(&agent->setup, header, payload);
    session_open(session, agent->setup.has_terminal);
    return 0;
}

static bool is_being_set_up(const Agent *agent, const WireHeader *header)
{
    return agent->setup.is_open && agent->setup.session == header->session;
}

static int take_groups(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (!is_being_set_up(agent, header))
        return WIRE_ERROR_STATE;
    return setup_add_groups(&agent->setup, header, payload) ? 0 : WIRE_ERROR_LIMIT;
}

static int take_word(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (!is_being_set_up(agent, header))
        return WIRE_ERROR_STATE;
    return setup_add_word(&agent->setup, header, payload) ? 0 : WIRE_ERROR_LIMIT;
}

static int take_limit(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (!is_being_set_up(agent, header))
        return WIRE_ERROR_STATE;
    setup_set_limit(&agent->setup, header, payload);
    return 0;
}

static int take_start(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (!is_being_set_up(agent, header) || agent->setup.arg_count == 0)
        return WIRE_ERROR_STATE;
    session_start(&agent->sessions[header->session], &agent->setup, &agent->link);
    setup_close(&agent->setup);
    return 0;
}

static int take_signal(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    session_signal(&agent->sessions[header->session], header->aux);
    return 0;
}

static int take_winsize(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);
    uint16_t rows = wire_get_u16(&reader), columns = wire_get_u16(&reader);

    session_resize(&agent->sessions[header->session], rows, columns);
    return 0;
}

static int take_data(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    Session *session = &agent->sessions[header->session];

    return session_take_input(session, payload, header->length) ? 0 : WIRE_ERROR_LIMIT;
}

static int take_credit(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    WireReader reader = wire_reader(payload, header->length);

    session_take_credit(&agent->sessions[header->session], (WireStream)header->aux,
                        wire_get_u32(&reader));
    return 0;
}

static int take_close(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    session_close(&agent->sessions[header->session], (WireStream)header->aux);
    return 0;
}

static int take_ping(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    memcpy(link_payload(&agent->link), payload, header->length);
    link_send(&agent->link, WIRE_PONG, 0, 0, header->length);
    return 0;
}

static int take_pong(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    return 0;
}

static int take_rest(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    link_send_empty(&agent->link, WIRE_RESTED, 0, 0);
    agent->is_resting = true;
    return 0;
}

static int take_resume(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (!agent->is_resting)
        return WIRE_ERROR_STATE;
    agent->is_resting = false;
    return 0;
}

static int take_shutdown(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    if (ending_kill_all(agent->is_init) > 0)
        say("a process could not be killed");
    for (int i = 0; i < WIRE_SESSIONS_MAX; i++)
        session_drop(&agent->sessions[i]);
    setup_close(&agent->setup);
    agent->is_resting = false;
    ending_sync();
    if (header->aux == WIRE_SHUTDOWN_POWEROFF)
        link_make_synchronous(&agent->link);
    link_send_empty(&agent->link, WIRE_BYE, 0, 0);
    if (header->aux == WIRE_SHUTDOWN_POWEROFF)
        ending_power_off();
    return 0;
}

static int take_fault(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    ending_fault((WireFault)header->aux);
    return 0;
}

static int take_error(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    char text[256] = "";
    WireReader reader = wire_reader(payload, header->length);
    unsigned code = wire_get_u32(&reader);

    wire_get_string(&reader, text, sizeof text);
    say("the host refused a frame (%u): %s", code, text);
    return DISPATCH_OVER;
}

/* What may come when: HELLO first and once, and at rest only what ends it. */
static bool is_timely(const Agent *agent, WireType type)
{
    if (!agent->is_greeted)
        return type == WIRE_HELLO || type == WIRE_ERROR;
    if (agent->is_resting)
        return type == WIRE_RESUME || type == WIRE_SHUTDOWN || type == WIRE_FAULT ||
               type == WIRE_ERROR;
    return true;
}

int dispatch_frame(Agent *agent, const WireHeader *header, const uint8_t *payload)
{
    static const Taker takers[] = {
        [WIRE_HELLO] = take_hello,     [WIRE_STEP] = take_step,     [WIRE_PLAN_END] = take_plan_end,
        [WIRE_OPEN] = take_open,       [WIRE_GROUPS] = take_groups, [WIRE_WORD] = take_word,
        [WIRE_LIMIT] = take_limit,     [WIRE_START] = take_start,   [WIRE_SIGNAL] = take_signal,
        [WIRE_WINSIZE] = take_winsize, [WIRE_DATA] = take_data,     [WIRE_CREDIT] = take_credit,
        [WIRE_CLOSE] = take_close,     [WIRE_PING] = take_ping,     [WIRE_PONG] = take_pong,
        [WIRE_REST] = take_rest,       [WIRE_RESUME] = take_resume, [WIRE_SHUTDOWN] = take_shutdown,
        [WIRE_FAULT] = take_fault,     [WIRE_ERROR] = take_error,
    };

    if (wire_frame_check(header, payload, WIRE_ENGINE) < 0)
        return WIRE_ERROR_FRAME;
    if (!is_timely(agent, (WireType)header->type))
        return WIRE_ERROR_STATE;
    return takers[header->type](agent, header, payload);
}
