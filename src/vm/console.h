/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm/console.h - the newest bytes of a guest's serial console, in a ring of fixed size.
 *
 * Reads from: the guest. Trusts: nothing; what leaves by vt_console_tail() is printable ASCII.
 */
#pragma once

#include <glib.h>

#define VT_CONSOLE_SIZE 65536

typedef struct VtConsole VtConsole;

VtConsole *vt_console_new(void);
void vt_console_free(VtConsole *console);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VtConsole, vt_console_free)

void vt_console_add(VtConsole *console, const void *data, gsize size);

/* The last `lines` non-empty lines, 200 characters of each at most, each after `prefix` and ended
 * by a newline; escape sequences and carriage returns left out, other unprintable bytes as '?'. ""
 * if there are none. (transfer full) */
char *vt_console_tail(const VtConsole *console, guint lines, const char *prefix);

/* Why the kernel panicked, in print, as far as its "Kernel panic" line is in the ring; NULL if
 * there is none. (transfer full) */
char *vt_console_find_panic(const VtConsole *console);
