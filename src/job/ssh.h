/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job/ssh.h - the keys and files by which a job's guests let their owner in from one to the other.
 *
 * Pure. The keys live as long as the job: one is the owner's, one that of all the guests as hosts, so
 * that each knows the others beforehand and nobody else gets in.
 */
#pragma once

#include <glib.h>

#include "job/plan.h"

#define VT_SSH_SEED_SIZE 32 /* random bytes of one key */
#define VT_SSH_FOLDER "/run/vtorque/ssh"

typedef struct {
    char *private_key; /* a file of OpenSSH's */
    char *public_key;  /* "ssh-ed25519 BASE64" */
} VtSshKey;

typedef struct {
    VtSshKey owner, host;
} VtSshKeys;

/* Both keys (Ed25519) that follow from the `seed`. */
void vt_ssh_keys_make(VtSshKeys *keys, const guint8 seed[2 * VT_SSH_SEED_SIZE]);
void vt_ssh_keys_clear(VtSshKeys *keys);

/* True if the guests of `plan` let their owner in. The one for tests has nothing to do it with, and a
 * name with a sign of sshd's patterns in it cannot be named to sshd. */
bool vt_ssh_is_wanted(const VtJob *job, const VtPlan *plan);

/* sshd's own configuration, on machine `index`, and what stands before a guest's ssh_config. (transfer
 * full) */
char *vt_ssh_server_config(const VtJob *job, const VtPlan *plan, guint index);
char *vt_ssh_client_config(const VtPlan *plan);
/* The guests by name and address, with the key of all. (transfer full) */
char *vt_ssh_known_hosts(const VtPlan *plan, const VtSshKeys *keys);
