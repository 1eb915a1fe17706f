/* SPDX-License-Identifier: Apache-2.0 */
/* cli/session.h - vmgr's end of a session in a guest, or of what is spoken to as one is
 * (ctl/control.h). */
#pragma once

#include "cli/attach.h"
#include "cli/jobs.h"

/* A pty is for people: what comes from or goes into a file or a pipe stays as it is. */
bool vt_session_has_terminal(void);

/* A shell session of machine number `machine` (from 0) of `live`, in which the owner's login
 * shell runs, or executes `words` (NULL: none). `what` says of its attachment the streams and
 * the terminal, which may be NULL. Notes and what became of it are printed. Returns the exit
 * status, or -1. Blocks. */
int vt_session_shell(const VtLiveJob *live, guint8 machine, char *const *words, VtAttachment *what,
                     GError **error);

/* The attachment over the connection `fd`, which is taken over. As above. */
int vt_session_attach(VtAttachment *what, int fd);
