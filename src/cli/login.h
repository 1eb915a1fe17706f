/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/login.h - what is executed in the guest so that the job's script runs as after a login.
 *
 *   script alone            -bash -c 'exec "$0" "$@"' SCRIPT ARGUMENTS     (sh family)
 *                           -tcsh -c 'exec $argv:q' SCRIPT ARGUMENTS       (csh family: -c, since
 * -l stands alone) -S SHELL, sh family     -bash SCRIPT ARGUMENTS -S SHELL, csh family    -tcsh -c
 * 'exec $argv:q' SHELL SCRIPT ARGUMENTS -S another program      the login shell, which executes
 * PROGRAM SCRIPT ARGUMENTS
 *
 * A leading dash makes a login shell, which reads /etc/profile and the like. A script without #! is
 * run by the shell itself, since exec falls back to that.
 */
#pragma once

#include "cli/options.h"
#include "job/job.h"

typedef struct {
    char *program; /* path of what is executed */
    GStrv argv;
} VtLogin;

/* The command of `job` for what -S says, with the arguments `words` (NULL: none), which came from
 * `origin`. A login shell that is none here is replaced by
 * /bin/sh, which is told in `notes` (of char *). VT_ERROR_USER: -S names no program; `words` are more
 * than the wire takes. */
bool vt_login_load(VtLogin *login, const VtJob *job, const VtOptionText *shell, char *const *words,
                   const char *origin, GPtrArray *notes, GError **error);

/* A login shell of `job` at which somebody types, that which -S names (`shell`, NULL or no text:
 * the owner's), or `command` with `words` (NULL: none) executed by it. Of the job only the image
 * and the owner's shell count. Fails, and tells in `notes`, as above. */
bool vt_login_load_shell(VtLogin *login, const VtJob *job, const VtOptionText *shell,
                         const char *command, char *const *words, GPtrArray *notes, GError **error);

/* Frees what it holds; all zero afterwards. */
void vt_login_clear(VtLogin *login);
