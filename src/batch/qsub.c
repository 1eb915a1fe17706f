/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/qsub.c - a command line of Torque's qsub, and its script's directives.
 *
 * qsub reads its command line twice: once for the script's name, which does not know of joined
 * flags, and once by getopt. Where the two disagree a job is refused, with how to write it.
 *
 * Reads from: the user. Trusts: nothing.
 */
#include "batch/qsub.h"

#include <string.h>

#include "base/error.h"
#include "batch/envelope.h"

#define LINE "command line"

typedef struct {
    VtQsub *qsub;
    const char *origin;
    bool is_line;
    GPtrArray *kept;   /* of char *: words that are handed on */
    bool is_cut;       /* one was not */
    char *const *next; /* words to come */
    bool is_ended;     /* by -- */
} Reader;

typedef bool (*Note)(Reader *reader, const char *value, GError **error);

typedef struct {
    char letter;
    bool has_value;
    VtQsubUse use;
    const char *why; /* it is refused */
    Note note;       /* looks at the value; NULL: nothing to see */
} Row;

static void set_value(const Reader *reader, VtQsubValue *field, const char *text)
{
    if (field->text && field->is_line && !reader->is_line)
        return;
    g_free(field->text);
    g_free(field->origin);
    *field = (VtQsubValue){g_strdup(text), g_strdup(reader->origin), reader->is_line};
}

static bool note_name(Reader *reader, const char *value, GError **error)
{
    return reader->qsub->has_name = true;
}

static bool note_exclusive(Reader *reader, const char *value, GError **error)
{
    return reader->qsub->is_exclusive = true;
}

/* An error about a word of the user's, whatever that is made of. Always returns false. */
static bool refuse_word(const Reader *reader, const char *word, const char *why, GError **error)
{
    g_autofree char *shown = g_strescape(word, NULL);
    return vt_error_set(error, VT_ERROR_USER, "%s: option '%.64s' %s", reader->origin, shown, why);
}

static bool note_interactive(Reader *reader, const char *value, GError **error)
{
    return reader->qsub->is_interactive = true;
}

static bool note_command(Reader *reader, const char *value, GError **error)
{
    reader->qsub->is_command = reader->qsub->is_command || reader->is_line;
    return reader->is_line ||
           vt_error_set(error, VT_ERROR_USER, "%s: option '-x' is for the command line alone",
                        reader->origin);
}

static bool note_arguments(Reader *reader, const char *value, GError **error)
{
    set_value(reader, &reader->qsub->arguments, value);
    return true;
}

/* A shell would run lines with a prefix that is no comment. */
static bool note_prefix(Reader *reader, const char *value, GError **error)
{
    if (!reader->is_line)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '-C' is for the command line alone",
                            reader->origin);
    g_free(reader->qsub->prefix);
    reader->qsub->prefix = g_strdup(value);
    return !*value || *value == '#' ||
           vt_error_set_value(error, VT_ERROR_USER, reader->origin, "-C", value,
                              "must begin with #: the shell would run such lines");
}

/* qsub would have a shell of the host read the envelope. */
static bool note_shell(Reader *reader, const char *value, GError **error)
{
    set_value(reader, &reader->qsub->shell, value);
    return (value[0] == '/' && !strpbrk(value, ",@")) ||
           vt_error_set_value(error, VT_ERROR_USER, reader->origin, "-S", value,
                              "must be the absolute path of one program");
}

/* Attributes by which an option could come in that is refused. */
static bool note_attributes(Reader *reader, const char *value, GError **error)
{
    static const char *const refused[] = {"jobtype", "interactive", NULL};
    g_auto(GStrv) items = g_strsplit(value, ",", -1);
    for (char **item = items; *item; item++) {
        g_autofree char *name = g_strndup(*item, strcspn(*item, "="));
        g_autofree char *lower = g_ascii_strdown(g_strstrip(name), -1);
        if (g_strv_contains(refused, lower))
            return vt_error_set(error, VT_ERROR_USER,
                                "%s: -W %s is not possible with a virtual machine", reader->origin,
                                lower);
    }
    g_autofree char *lower = g_ascii_strdown(value, -1);
    if (strstr(lower, "naccesspolicy"))
        set_value(reader, &reader->qsub->resources[VT_QSUB_ACCESS], value);
    return true;
}

static const char *const resource_names[VT_QSUB_RESOURCES] = {
    [VT_QSUB_NODES] = "nodes",
    [VT_QSUB_PROCS] = "procs",
    [VT_QSUB_NCPUS] = "ncpus",
    [VT_QSUB_MEM] = "mem",
    [VT_QSUB_PMEM] = "pmem",
    [VT_QSUB_VMEM] = "vmem",
    [VT_QSUB_PVMEM] = "pvmem",
    [VT_QSUB_GRES] = "gres",
    [VT_QSUB_OTHER] = "other",
    [VT_QSUB_GPUS] = "gpus",
    [VT_QSUB_ACCESS] = "naccesspolicy",
};

/* The length of a value of -l: to a comma, unless that is quoted or in brackets. Moves `*text`
 * behind a quote at its begin. */
static gsize value_length(const char **text)
{
    const char *at = *text, *comma = strchr(at, ',');
    const char *quote = strpbrk(at, "'\"");
    bool in_brackets = false;
    if (quote && (!comma || quote < comma)) {
        *text = quote + 1;
        return strcspn(*text, "'\"");
    }
    for (; *at && (*at != ',' || in_brackets); at++)
        in_brackets = *at == '[' || (in_brackets && *at != ']');
    return (gsize)(at - *text);
}

/* Cuts -l as qsub does. What it makes nothing of it refuses itself. */
static bool note_resources(Reader *reader, const char *value, GError **error)
{
    for (const char *at = value; *at;) {
        at += strspn(at, " \t");
        gsize length = strcspn(at, "=, \t");
        g_autofree char *name = g_strndup(at, length);
        at += strcspn(at, "=,");
        if (*at != '=')
            break;
        at += 1 + strspn(at + 1, " \t");
        gsize size = value_length(&at);
        g_autofree char *text = g_strndup(at, size);
        for (guint i = 0; i < VT_QSUB_RESOURCES; i++)
            if (strcmp(name, resource_names[i]) == 0)
                set_value(reader, &reader->qsub->resources[i], text);
        at += size + strspn(at + size, "'\"");
        at += *at == ',';
    }
    return true;
}

static const Row rows[] = {
    {'a', true, VT_QSUB_PASSED},
    {'A', true, VT_QSUB_PASSED},
    {'b', true, VT_QSUB_PASSED},
    {'c', true, VT_QSUB_PASSED},
    {'C', true, VT_QSUB_PASSED, NULL, note_prefix},
    {'d', true, VT_QSUB_PASSED},
    {'D', true, VT_QSUB_REFUSED, "names a root directory, and a guest has its own"},
    {'e', true, VT_QSUB_PASSED},
    {'E', false, VT_QSUB_PASSED, NULL, note_exclusive},
    {'f', false, VT_QSUB_PASSED},
    {'F', true, VT_QSUB_PASSED, NULL, note_arguments},
    {'h', false, VT_QSUB_PASSED},
    {'i', true, VT_QSUB_PASSED},
    {'I', false, VT_QSUB_PASSED, NULL, note_interactive},
    {'j', true, VT_QSUB_PASSED},
    {'J', true, VT_QSUB_PASSED},
    {'k', true, VT_QSUB_PASSED},
    {'K', true, VT_QSUB_PASSED},
    {'l', true, VT_QSUB_PASSED, NULL, note_resources},
    {'L', true, VT_QSUB_REFUSED, "is not built yet: use -l nodes=1:ppn=N,mem=SIZE"},
    {'m', true, VT_QSUB_PASSED},
    {'M', true, VT_QSUB_PASSED},
    {'n', false, VT_QSUB_PASSED, NULL, note_exclusive},
    {'N', true, VT_QSUB_PASSED, NULL, note_name},
    {'o', true, VT_QSUB_PASSED},
    {'p', true, VT_QSUB_PASSED},
    {'P', true, VT_QSUB_PASSED},
    {'q', true, VT_QSUB_PASSED},
    {'r', true, VT_QSUB_PASSED},
    {'S', true, VT_QSUB_TAKEN, NULL, note_shell},
    {'t', true, VT_QSUB_PASSED},
    {'T', true, VT_QSUB_REFUSED, "selects other hooks than vTorque's"},
    {'u', true, VT_QSUB_PASSED},
    {'v', true, VT_QSUB_PASSED},
    {'V', false, VT_QSUB_PASSED},
    {'w', true, VT_QSUB_PASSED},
    {'W', true, VT_QSUB_PASSED, NULL, note_attributes},
    {'x', false, VT_QSUB_PASSED, NULL, note_command},
    {'X', false, VT_QSUB_REFUSED, "needs X11 in the guest, which is not built yet"},
    {'z', false, VT_QSUB_PASSED},
};

bool vt_qsub_get_row(guint index, char *letter, bool *has_value, VtQsubUse *use, const char **why)
{
    if (index >= G_N_ELEMENTS(rows))
        return false;
    *letter = rows[index].letter;
    *has_value = rows[index].has_value;
    *use = rows[index].use;
    *why = rows[index].why;
    return true;
}

static const Row *find_row(char letter)
{
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++)
        if (rows[i].letter == letter)
            return &rows[i];
    return NULL;
}

static void keep(Reader *reader, const char *word)
{
    g_ptr_array_add(reader->kept, g_strdup(word));
}

/* What one option means. */
static bool take_option(Reader *reader, const Row *row, const char *value, GError **error)
{
    if (row->use == VT_QSUB_REFUSED)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '-%c' %s", reader->origin,
                            row->letter, row->why);
    return !row->note || row->note(reader, value, error);
}

static bool take_value(Reader *reader, const Row *row, const char *word, const char *at,
                       GError **error)
{
    const char *joined = at[1] ? at + 1 : NULL;
    const char *value = joined ? joined : *reader->next;
    if (!value)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '-%c' needs a value", reader->origin,
                            row->letter);
    if (!joined)
        reader->next++;
    if (row->use == VT_QSUB_TAKEN) {
        g_autofree char *flags = g_strndup(word, (gsize)(at - word));
        if (at > word + 1)
            keep(reader, flags);
        reader->is_cut = true;
    } else {
        keep(reader, word);
        if (!joined)
            keep(reader, value);
        if (!joined && at > word + 1 && reader->is_line)
            return refuse_word(reader, word,
                               "must be cut before its last letter: qsub would take its value for "
                               "the script",
                               error);
        if (joined && row->letter == 'C')
            return vt_error_set(error, VT_ERROR_USER,
                                "%s: option '-C': write its value as a word of its own, or qsub "
                                "takes the next word for it",
                                reader->origin);
    }
    return take_option(reader, row, value, error);
}

/* -abc: the flags a and b, and c, which may have a value. */
static bool read_letters(Reader *reader, const char *word, GError **error)
{
    for (const char *at = word + 1; *at; at++) {
        const Row *row = find_row(*at);
        if (!row)
            return refuse_word(reader, word, "is unknown", error);
        if (row->has_value)
            return take_value(reader, row, word, at, error);
        if (!take_option(reader, row, NULL, error))
            return false;
    }
    keep(reader, word);
    return true;
}

static bool take_request(Reader *reader, const char *value, GError **error)
{
    VtQsub *qsub = reader->qsub;
    qsub->has_request = true;
    reader->is_cut = true;
    if (!value && *reader->next)
        value = *reader->next++;
    if (!value)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '-vm' needs a value: KEY=VALUE[,...]",
                            reader->origin);
    return vt_request_parse(reader->is_line ? &qsub->option : &qsub->directive, value,
                            reader->origin, error);
}

static bool read_long(Reader *reader, const char *word, GError **error)
{
    VtQsub *qsub = reader->qsub;
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"--local", &qsub->is_local},
                 {"--help", &qsub->is_help},
                 {"--version", &qsub->is_version},
                 {"--dry-run", &qsub->is_dry_run},
                 {"--about", &qsub->is_about}};
    if (!reader->is_line)
        return refuse_word(reader, word, "is for the command line alone", error);
    for (gsize i = 0; i < G_N_ELEMENTS(flags); i++)
        if (strcmp(word, flags[i].name) == 0)
            return *flags[i].flag = true;
    return refuse_word(reader, word, "is for local jobs alone, or unknown", error);
}

/* In a directive qsub passes over it. */
static bool read_operand(Reader *reader, const char *word, GError **error)
{
    VtQsub *qsub = reader->qsub;
    if (!reader->is_line) {
        keep(reader, word);
        return true;
    }
    if (qsub->script)
        return vt_error_set_value(error, VT_ERROR_USER, reader->origin, "argument", word,
                                  "must be one script; its arguments go into -F \"...\"");
    qsub->script = g_strdup(word);
    return true;
}

static bool read_word(Reader *reader, const char *word, GError **error)
{
    if (reader->is_ended || word[0] != '-' || !word[1])
        return read_operand(reader, word, error);
    if (strcmp(word, "--") == 0)
        return reader->is_ended = true;
    if (strcmp(word, "-vm") == 0)
        return take_request(reader, NULL, error);
    if (g_str_has_prefix(word, "-vm="))
        return take_request(reader, word + strlen("-vm="), error);
    return word[1] == '-' ? read_long(reader, word, error) : read_letters(reader, word, error);
}

/* All of them, also behind one that is wrong: whether there is a -vm decides what that means. */
static void read_words(Reader *reader, char *const *words)
{
    reader->next = words;
    while (*reader->next) {
        const char *word = *reader->next++;
        g_autoptr(GError) error = NULL;
        if (!read_word(reader, word, &error) && !reader->qsub->problem)
            reader->qsub->problem = g_steal_pointer(&error);
    }
}

VtQsub *vt_qsub_new(int argc, char *const *argv)
{
    VtQsub *qsub = g_new0(VtQsub, 1);
    qsub->words = g_ptr_array_new_with_free_func(g_free);
    qsub->lines = g_ptr_array_new_with_free_func(g_free);
    qsub->prefix = g_strdup(VT_DIRECTIVE_PREFIX);
    Reader reader = {.qsub = qsub, .origin = LINE, .is_line = true, .kept = qsub->words};
    if (argc > 0)
        read_words(&reader, argv + 1);
    if (qsub->script && (!*qsub->script || strcmp(qsub->script, "-") == 0))
        g_clear_pointer(&qsub->script, g_free);
    qsub->is_without_script =
        qsub->is_about || qsub->is_command || (qsub->is_interactive && !qsub->script);
    return qsub;
}

void vt_qsub_add_directives(VtQsub *qsub, const GPtrArray *directives)
{
    for (guint i = 0; i < directives->len; i++) {
        const VtDirective *directive = directives->pdata[i];
        g_autofree char *origin = g_strdup_printf("script line %u", directive->line);
        g_autoptr(GPtrArray) kept = g_ptr_array_new_with_free_func(g_free);
        Reader reader = {.qsub = qsub, .origin = origin, .kept = kept};
        read_words(&reader, directive->words);
        guint n = kept->len;
        g_ptr_array_add(kept, NULL);
        if (!reader.is_cut)
            g_ptr_array_add(qsub->lines, g_strconcat(qsub->prefix, directive->text, NULL));
        else if (n > 0)
            g_ptr_array_add(qsub->lines,
                            vt_envelope_line(qsub->prefix, (char *const *)kept->pdata));
    }
}

static void value_clear(VtQsubValue *value)
{
    g_free(value->text);
    g_free(value->origin);
}

void vt_qsub_free(VtQsub *qsub)
{
    if (!qsub)
        return;
    g_ptr_array_unref(qsub->words);
    g_ptr_array_unref(qsub->lines);
    g_free(qsub->script);
    g_free(qsub->prefix);
    vt_request_clear(&qsub->option);
    vt_request_clear(&qsub->directive);
    value_clear(&qsub->shell);
    value_clear(&qsub->arguments);
    for (guint i = 0; i < VT_QSUB_RESOURCES; i++)
        value_clear(&qsub->resources[i]);
    g_clear_error(&qsub->problem);
    g_free(qsub);
}
