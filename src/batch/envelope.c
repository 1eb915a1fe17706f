/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/envelope.c - the script that a batch system stores.
 *
 * Runs as: the user. Reads from: the user's own job script. Trusts: nothing.
 */
#include "batch/envelope.h"

#include <limits.h>
#include <string.h>

#include "base/base64.h"
#include "base/error.h"
#include "base/size.h"

#define MARKER "#vtorque-envelope 1 "
#define DIGEST_LENGTH 64
/* Lines that look like a marker and are none: each costs a digest of what is behind it. */
#define TRIES_MAX 16

/* The first is a Bourne shell's: $?0 is a number that begins with 0 there, and in a C shell 1, for
 * its name is known. An eval is one command for either, which the other does not look into. */
#define START                                                                                      \
    "eval '(exit $?0)' && eval 'exec %s \"$0\" ${1+\"$@\"}'\n"                                     \
    "eval 'exec %s \"$0\" $argv:q'\n"                                                              \
    "exit 127\n"

static char *digest_of(const void *data, gsize size)
{
    return g_compute_checksum_for_data(G_CHECKSUM_SHA256, data, size);
}

static void append_path(GString *text, const char *key, const char *path)
{
    g_autofree char *word = path ? vt_base64_encode(path, strlen(path)) : NULL;
    if (word)
        g_string_append_printf(text, " %s=%s", key, word);
}

/* Each with its NUL. */
static void append_words(GString *text, const char *key, char *const *words)
{
    g_autoptr(GString) all = g_string_new(NULL);
    for (; *words; words++)
        g_string_append_len(all, *words, (gssize)strlen(*words) + 1);
    g_autofree char *coded = vt_base64_encode(all->str, all->len);
    g_string_append_printf(text, " %s=%s", key, coded);
}

GBytes *vt_envelope_new(const VtEnvelopeParts *parts, GError **error)
{
    gsize size;
    const void *script = g_bytes_get_data(parts->script, &size);
    g_autofree char *digest = digest_of(script, size);
    g_autoptr(GString) text = g_string_new("#!/bin/sh\n");
    if (strspn(parts->run, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "/._+-") != strlen(parts->run)) {
        vt_error_set(error, VT_ERROR_CONFIG,
                     "'%s' cannot stand in a job's script: its path must be of A-Z a-z 0-9 / . _ + "
                     "and -",
                     parts->run);
        return NULL;
    }
    for (guint i = 0; i < parts->lines->len; i++) {
        const char *line = parts->lines->pdata[i];
        g_assert(line[0] == '#' && !strchr(line, '\n')); /* or a shell would run it */
        g_string_append_printf(text, "%s\n", line);
    }
    g_string_append_printf(text, START, parts->run, parts->run);
    g_string_append_printf(text, MARKER "sha256=%s bytes=%" G_GSIZE_FORMAT, digest, size);
    append_path(text, "shell", parts->shell);
    append_path(text, "file", parts->file);
    if (parts->terminal)
        append_words(text, "terminal", parts->terminal);
    g_string_append_c(text, '\n');
    if (parts->file && text->len > VT_ENVELOPE_MAX) {
        vt_error_set(error, VT_ERROR_USER, "the script's directives are longer than %d bytes",
                     VT_ENVELOPE_MAX);
        return NULL;
    }
    if (!parts->file)
        g_string_append_len(text, script, (gssize)size);
    return g_string_free_to_bytes(g_steal_pointer(&text));
}

/* Appends `word` so that qsub reads it back. There a backslash means nothing within quotes, so that
 * either kind of quotes can hold all but itself. */
static void append_word(GString *line, const char *word)
{
    if (*word &&
        strspn(word, G_CSET_A_2_Z G_CSET_a_2_z G_CSET_DIGITS "-_=:,.+/@%^") == strlen(word)) {
        g_string_append(line, word);
        return;
    }
    const char *at = word;
    do {
        gsize n = strcspn(at, "'");
        if (n > 0 || !*word)
            g_string_append_printf(line, "'%.*s'", (int)n, at);
        at += n;
        n = strspn(at, "'");
        if (n > 0)
            g_string_append_printf(line, "\"%.*s\"", (int)n, at);
        at += n;
    } while (*at);
}

char *vt_envelope_line(const char *prefix, char *const *words)
{
    g_autoptr(GString) line = g_string_new(NULL);
    for (char *const *word = words; *word; word++) {
        g_string_append(line, line->len ? " " : prefix);
        if (word == words)
            g_string_append_c(line, ' ');
        append_word(line, *word);
    }
    return g_string_free(g_steal_pointer(&line), FALSE);
}

/* A marker line being read. */
typedef struct {
    const char *at, *end;
} Scan;

/* Takes `key` and what stands behind it up to a blank or the line's end. (transfer full) or NULL */
static char *take_field(Scan *scan, const char *key)
{
    gsize length = strlen(key), n = 0;
    if ((gsize)(scan->end - scan->at) < length || memcmp(scan->at, key, length) != 0)
        return NULL;
    const char *value = scan->at + length;
    while (value + n < scan->end && value[n] != ' ')
        n++;
    scan->at = value + n;
    return memchr(value, '\0', n) ? NULL : g_strndup(value, n);
}

/* An optional field with a path. False if it is there and wrong. */
static bool take_path(Scan *scan, const char *key, char **path)
{
    g_autofree char *word = take_field(scan, key);
    *path = NULL;
    if (!word)
        return true;
    g_autoptr(GBytes) bytes = vt_base64_decode(word);
    gsize size = 0;
    const char *text = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (size == 0 || size >= PATH_MAX || text[0] != '/' || strlen(text) != size)
        return false;
    *path = g_strdup(text);
    return true;
}

/* The same for words. */
static bool take_words(Scan *scan, const char *key, GStrv *words)
{
    g_autofree char *coded = take_field(scan, key);
    *words = NULL;
    if (!coded)
        return true;
    g_autoptr(GBytes) bytes = vt_base64_decode(coded);
    g_autoptr(GStrvBuilder) found = g_strv_builder_new();
    gsize size = 0;
    const char *text = bytes ? g_bytes_get_data(bytes, &size) : NULL;
    if (!bytes || (size > 0 && text[size - 1] != '\0'))
        return false;
    for (const char *at = text; at < text + size; at += strlen(at) + 1)
        g_strv_builder_add(found, at);
    *words = g_strv_builder_end(found);
    return true;
}

/* Reads a line behind MARKER. */
static bool read_marker(VtEnvelope *envelope, const char *text, const char *end)
{
    Scan scan = {text, end};
    envelope->digest = take_field(&scan, "sha256=");
    g_autofree char *bytes = take_field(&scan, " bytes=");
    return envelope->digest && strlen(envelope->digest) == DIGEST_LENGTH && bytes &&
           vt_number_parse(bytes, &envelope->bytes) &&
           take_path(&scan, " shell=", &envelope->shell) &&
           take_path(&scan, " file=", &envelope->file) &&
           take_words(&scan, " terminal=", &envelope->terminal) && scan.at == end;
}

static bool is_same(const VtEnvelope *envelope, const void *script, gsize size)
{
    g_autofree char *digest = digest_of(script, size);
    return size == envelope->bytes && strcmp(digest, envelope->digest) == 0;
}

/* The script that a marker's line, which ends before `rest`, speaks of. */
static bool take_script(VtEnvelope *envelope, const char *rest, const char *end)
{
    if (envelope->file)
        return true;
    if (envelope->bytes > (gsize)(end - rest) || !is_same(envelope, rest, (gsize)envelope->bytes))
        return false;
    envelope->script = g_bytes_new(rest, (gsize)envelope->bytes);
    return true;
}

bool vt_envelope_open(VtEnvelope *envelope, const void *data, gsize size, GError **error)
{
    const char *at = data, *end = at + size, *newline;
    guint tries = 0;
    *envelope = (VtEnvelope){0};
    for (; at < end && (newline = memchr(at, '\n', (gsize)(end - at))); at = newline + 1) {
        if ((gsize)(newline - at) < strlen(MARKER) || memcmp(at, MARKER, strlen(MARKER)) != 0)
            continue;
        if (read_marker(envelope, at + strlen(MARKER), newline) &&
            take_script(envelope, newline + 1, end))
            return true;
        vt_envelope_clear(envelope);
        if (++tries == TRIES_MAX)
            break;
    }
    return vt_error_set(error, VT_ERROR_USER,
                        tries ? "the job's script is not what vsub submitted: was it changed "
                                "since, by a submit filter?"
                              : "the job's script is none of vsub's");
}

bool vt_envelope_check(const VtEnvelope *envelope, GBytes *script, GError **error)
{
    gsize size;
    const void *data = g_bytes_get_data(script, &size);
    return is_same(envelope, data, size) ||
           vt_error_set(error, VT_ERROR_USER,
                        "'%s' is not what vsub submitted: was it changed since?", envelope->file);
}

void vt_envelope_clear(VtEnvelope *envelope)
{
    g_clear_pointer(&envelope->script, g_bytes_unref);
    g_free(envelope->shell);
    g_free(envelope->file);
    g_strfreev(envelope->terminal);
    g_free(envelope->digest);
    *envelope = (VtEnvelope){0};
}
