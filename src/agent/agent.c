/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/agent.c - the loop.
 *
 * Theory of operation: each turn waits for the port, dead children and whatever the sessions wait
 * for; takes all whole frames; reaps; lets each session move what it can. At rest only the port and
 * children are looked at.
 */
#include "agent/agent.h"

#include "agent/dispatch.h"
#include "agent/say.h"
#include "wire/frame.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

enum { POLL_PORT, POLL_CHILDREN, POLL_SESSIONS };
enum { POLLS_MAX = POLL_SESSIONS + WIRE_SESSIONS_MAX * SESSION_POLLS };

void agent_init(Agent *agent, int port, int child_fd, bool is_init)
{
    agent->is_init = is_init;
    agent->child_fd = child_fd;
    link_init(&agent->link, port);
    for (uint16_t i = 0; i < WIRE_SESSIONS_MAX; i++)
        session_init(&agent->sessions[i], i);
}

static void send_hello(Agent *agent)
{
    WireWriter writer = link_writer(&agent->link);
    struct utsname name = {0};

    uname(&name);
    wire_put_u32(&writer, WIRE_MAGIC);
    wire_put_u16(&writer, WIRE_VERSION_MIN);
    wire_put_u16(&writer, WIRE_VERSION);
    wire_put_string(&writer, name.release);
    link_send(&agent->link, WIRE_HELLO, 0, 0, writer.used);
}

static void send_error(Agent *agent, WireError code, const WireHeader *header)
{
    WireWriter writer = link_writer(&agent->link);
    char text[128];

    snprintf(text, sizeof text, "cannot take %s (type %u, aux %u, session %u, %u bytes)",
             wire_type_name(header->type), header->type, header->aux, header->session,
             header->length);
    say("%s: error %u", text, code);
    wire_put_u32(&writer, code);
    wire_put_string(&writer, text);
    link_make_synchronous(&agent->link);
    link_send(&agent->link, WIRE_ERROR, 0, 0, writer.used);
}

/* Takes all whole frames. False if that was the end. */
static bool take_frames(Agent *agent)
{
    const uint8_t *payload;
    WireHeader header;
    int found, refused;

    while ((found = link_next(&agent->link, &header, &payload)) > 0) {
        refused = dispatch_frame(agent, &header, payload);
        if (refused > 0)
            send_error(agent, (WireError)refused, &header);
        if (refused)
            return false;
    }
    if (found < 0)
        send_error(agent, WIRE_ERROR_FRAME, &header);
    return found == 0;
}

static bool read_port(Agent *agent)
{
    int error = link_fill(&agent->link);

    if (error)
        say("the port to the host failed: %s", strerror(-error));
    return !error && take_frames(agent);
}

static Session *find_session(Agent *agent, pid_t pid)
{
    for (int i = 0; i < WIRE_SESSIONS_MAX; i++)
        if (agent->sessions[i].state >= SESSION_STARTING && agent->sessions[i].pid == pid)
            return &agent->sessions[i];
    return NULL;
}

/* One SIGCHLD can stand for many children; orphans are nobody's session. */
static void reap(Agent *agent)
{
    struct signalfd_siginfo ignored;
    int status;
    pid_t pid;

    while (read(agent->child_fd, &ignored, sizeof ignored) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        Session *session = find_session(agent, pid);

        if (session)
            session_reaped(session, status);
    }
}

static void prepare_polls(const Agent *agent, struct pollfd *polls)
{
    polls[POLL_PORT] = (struct pollfd){.fd = agent->link.fd, .events = POLLIN};
    polls[POLL_CHILDREN] = (struct pollfd){.fd = agent->child_fd, .events = POLLIN};
    for (int i = 0; i < WIRE_SESSIONS_MAX; i++)
        session_prepare_poll(&agent->sessions[i], polls + POLL_SESSIONS + i * SESSION_POLLS);
}

static bool turn(Agent *agent)
{
    struct pollfd polls[POLLS_MAX];

    prepare_polls(agent, polls);
    if (poll(polls, agent->is_resting ? POLL_SESSIONS : POLLS_MAX, -1) < 0)
        return errno == EINTR;
    if (polls[POLL_PORT].revents && !read_port(agent))
        return false;
    if (polls[POLL_CHILDREN].revents)
        reap(agent);
    for (int i = 0; i < WIRE_SESSIONS_MAX && !agent->is_resting; i++)
        session_pump(&agent->sessions[i], polls + POLL_SESSIONS + i * SESSION_POLLS, &agent->link);
    if (agent->link.error)
        say("cannot write to the host: %s", strerror(-agent->link.error));
    return !agent->link.error;
}

void agent_run(Agent *agent)
{
    send_hello(agent);
    while (turn(agent))
        ;
}
