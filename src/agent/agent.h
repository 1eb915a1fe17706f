/* SPDX-License-Identifier: Apache-2.0 */
/*
 * agent/agent.h - the agent between its start and its end: one thread, one poll.
 *
 * Reads from: the host, which it trusts with everything, but whose frames it checks: a fault of
 * ours must be loud.
 */
#pragma once

#include "agent/link.h"
#include "agent/plan.h"
#include "agent/session.h"
#include "agent/setup.h"

typedef struct {
    bool is_init;    /* process 1 of the guest: powers it off at the end */
    bool is_greeted; /* the host's HELLO came */
    bool is_ready;   /* a plan was applied in full: sessions may start */
    bool is_resting; /* between REST and RESUME: nothing is sent */
    int child_fd;    /* signalfd of SIGCHLD */
    Link link;
    Plan plan;
    Setup setup;
    Session sessions[WIRE_SESSIONS_MAX];
} Agent;

/* `agent` is zeroed memory. Takes the port's descriptor. */
void agent_init(Agent *agent, int port, int child_fd, bool is_init);

/* Greets the host and serves it until one of both is through, which is a failure: the good end is a
 * SHUTDOWN that turns the machine off. What happened was said on the console by then. */
void agent_run(Agent *agent);
