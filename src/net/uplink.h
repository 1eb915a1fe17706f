/* SPDX-License-Identifier: Apache-2.0 */
/*
 * net/uplink.h - the way out of a job's guest: what a user of this machine reaches, from the inside
 * out.
 *
 * passt takes a guest's frames apart and speaks for it by sockets of its own, in the machine's network
 * namespace and as the job's owner: firewalls, accounting and routes take its traffic for the owner's.
 * Nothing reaches the guest that it did not ask for, for which net/relay.h is needed, too. passt is
 * executed at the guest's first frame: a start does not wait for it, and most jobs never say a word.
 *
 * Runs as: root or the user, in stage 2, before the job's network namespace is made; passt as the
 * owner, and then in a sandbox of its own. Reads from: guests (passt does). Trusts: passt to be what
 * the distribution ships, with nothing but the owner's rights.
 */
#pragma once

#include <glib.h>
#include <stdbool.h>
#include <sys/types.h>

#include "job/job.h"

#define VT_UPLINK_PROGRAM "/usr/bin/passt"

typedef struct {
    pid_t pid; /* the engine's to reap */
    int fd;    /* a stream socket to it */
    int log;   /* what it complains about; read without waiting */
} VtUplink;

#define VT_UPLINK_NONE ((VtUplink){.pid = -1, .fd = -1, .log = -1})

/* Why this machine, seen from this process's network namespace, cannot be an uplink; NULL if it can.
 * (borrowed) */
const char *vt_uplink_missing(void);

/* The name servers that this machine asks, as far as a guest reaches them: by IPv4, and not on the
 * loopback. Where systemd-resolved stands between, those behind it. VT_NAME_SERVERS_MAX at most.
 * (transfer full) */
GStrv vt_uplink_name_servers(void);

/* The list of domains that this machine looks names up in. (transfer full) */
GStrv vt_uplink_search_list(void);

/* Forks what becomes passt for one guest. Signals that batch systems send to whole cgroups do not end
 * it; that nothing holds the other end of its socket any longer does. */
bool vt_uplink_start(const VtOwner *owner, VtUplink *uplink, GError **error);
