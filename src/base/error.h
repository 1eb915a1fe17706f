/* SPDX-License-Identifier: Apache-2.0 */
/*
 * base/error.h - the one error domain.
 *
 * The code says who must act; the message says what happened, to what, and why.
 * A layer that passes an error on adds at most one prefix, by g_prefix_error().
 */
#pragma once

#include <glib.h>
#include <stdbool.h>

typedef enum {
    VT_ERROR_USER,     /* the request, the script or the command line is wrong */
    VT_ERROR_CONFIG,   /* the site's settings are wrong */
    VT_ERROR_HOST,     /* this machine lacks something or refused it */
    VT_ERROR_GUEST,    /* the guest failed, or said something that it may not say */
    VT_ERROR_BATCH,    /* the batch system failed */
    VT_ERROR_INTERNAL, /* a fault of ours */
} VtError;

/* What the user did wrong; everything else of ours is VT_EXIT_FAILED. */
#define VT_EXIT_USAGE 2
#define VT_EXIT_FAILED 125

#define VT_ERROR (vt_error_quark())
GQuark vt_error_quark(void);

/* The exit status of a program that ends with `error` (doc/contracts/exit-status.md):
 * VT_EXIT_USAGE for VT_ERROR_USER and VT_ERROR_CONFIG, else VT_EXIT_FAILED. */
int vt_error_exit_status(const GError *error);

/* Sets `error` to "<message>: <strerror(errnum)>". `errnum` is positive. Always returns false,
 * so that a failing function can end with it. */
bool vt_error_set_errno(GError **error, VtError code, int errnum, const char *format, ...)
    G_GNUC_PRINTF(4, 5);

/* Sets `error` to the message. Always returns false. */
bool vt_error_set(GError **error, VtError code, const char *format, ...) G_GNUC_PRINTF(3, 4);

/* Sets `error` to "<origin>: <key> '<value>': <allowed>", the form of every message about a bad
 * value. What of `value` does not print is escaped; a long one is cut. Always returns false. */
bool vt_error_set_value(GError **error, VtError code, const char *origin, const char *key,
                        const char *value, const char *allowed);
