/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cli/options.c - vsub's options: one table, for the command line and for #PBS lines.
 *
 * Reads from: the user. Trusts: nothing.
 */
#include "cli/options.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "job/words.h"

#define SECONDS_MAX ((guint64)G_MAXINT32) /* s; what a job document takes */
#define PPN_MAX 4096u

/* One place that is being read. */
typedef struct {
    VtOptions *options;
    VtPlace place;
    const char *origin;
    GPtrArray *notes; /* NULL on the command line */
} Reader;

typedef bool (*Apply)(const Reader *reader, const char *value, GError **error);

typedef struct {
    const char *name;     /* "-N", "--report" */
    const char *argument; /* NULL: a flag */
    Apply apply;          /* NULL: refused */
    const char *text;     /* help, or why it is refused */
} OptionInfo;

#define NOT_BUILT "is not built yet"
#define NOT_LOCAL "has no meaning for a local job"

static bool refuse(const Reader *reader, const char *key, const char *value, const char *allowed,
                   GError **error)
{
    return vt_error_set_value(error, VT_ERROR_USER, reader->origin, key, value, allowed);
}

static bool set_text(const Reader *reader, VtOptionText *field, const char *value)
{
    if (field->text && field->place > reader->place)
        return true;
    g_free(field->text);
    g_free(field->origin);
    *field = (VtOptionText){g_strdup(value), g_strdup(reader->origin), reader->place};
    return true;
}

static bool set_number(const Reader *reader, VtOptionNumber *field, guint64 number)
{
    if (field->number == 0 || field->place <= reader->place)
        *field = (VtOptionNumber){number, reader->place};
    return true;
}

static bool apply_help(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_help = true;
}

static bool apply_version(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_version = true;
}

static bool apply_local(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_local = true;
}

static bool apply_dry_run(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_dry_run = true;
}

static bool apply_verbose(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_verbose = true;
}

static bool apply_export(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_all_exported = true;
}

static bool apply_interactive(const Reader *reader, const char *value, GError **error)
{
    return reader->options->is_interactive = true;
}

static bool apply_command(const Reader *reader, const char *value, GError **error)
{
    if (reader->place != VT_PLACE_LINE)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '-x' is for the command line alone",
                            reader->origin);
    return reader->options->is_command = true;
}

static bool apply_report(const Reader *reader, const char *value, GError **error)
{
    if (!*value)
        return refuse(reader, "--report", value, "must be the path of a file", error);
    g_free(reader->options->report);
    reader->options->report = g_strdup(value);
    return true;
}

static bool apply_vm(const Reader *reader, const char *value, GError **error)
{
    VtRequest *request = &reader->options->requests[reader->place];
    return vt_request_parse(request, value, reader->origin, error);
}

static bool apply_name(const Reader *reader, const char *value, GError **error)
{
    if (!vt_job_name_is_valid(value))
        return refuse(reader, "-N", value, "must be 1 to 255 characters without blanks", error);
    return set_text(reader, &reader->options->name, value);
}

static bool apply_path(const Reader *reader, const char *key, VtOptionText *field,
                       const char *value, GError **error)
{
    if (!*value)
        return refuse(reader, key, value, "must be a path", error);
    return set_text(reader, field, value);
}

static bool apply_output(const Reader *reader, const char *value, GError **error)
{
    return apply_path(reader, "-o", &reader->options->output, value, error);
}

static bool apply_error(const Reader *reader, const char *value, GError **error)
{
    return apply_path(reader, "-e", &reader->options->error, value, error);
}

static bool apply_directory(const Reader *reader, const char *value, GError **error)
{
    return apply_path(reader, "-d", &reader->options->directory, value, error);
}

static bool apply_shell(const Reader *reader, const char *value, GError **error)
{
    return apply_path(reader, "-S", &reader->options->shell, value, error);
}

static bool apply_join(const Reader *reader, const char *value, GError **error)
{
    static const char *const joins[] = {"oe", "eo", "n", NULL};
    if (!g_strv_contains(joins, value))
        return refuse(reader, "-j", value, "must be oe, eo or n", error);
    return set_text(reader, &reader->options->join, value);
}

static bool apply_arguments(const Reader *reader, const char *value, GError **error)
{
    g_auto(GStrv) words = vt_words_split(value, false, NULL);
    if (!words)
        return refuse(reader, "-F", value, "has a quote that is not closed", error);
    return set_text(reader, &reader->options->arguments, value);
}

static bool apply_variables(const Reader *reader, const char *value, GError **error)
{
    g_auto(GStrv) list = vt_words_split_list(value, NULL);
    if (!list)
        return refuse(reader, "-v", value, "has a quote that is not closed", error);
    for (char **variable = list; *variable; variable++)
        g_ptr_array_add(reader->options->variables[reader->place], g_strdup(*variable));
    return true;
}

static bool set_time(const Reader *reader, VtOptionNumber *number, const char *what,
                     const char *value, GError **error)
{
    guint64 seconds;
    if (!vt_duration_parse(value, &seconds) || seconds < 1 || seconds > SECONDS_MAX)
        return refuse(reader, what, value, "must be [[HH:]MM:]SS, at least 1 second", error);
    return set_number(reader, number, seconds);
}

static bool apply_walltime(const Reader *reader, const char *value, GError **error)
{
    return set_time(reader, &reader->options->walltime_s, "-l walltime", value, error);
}

static bool apply_cput(const Reader *reader, const char *value, GError **error)
{
    return set_time(reader, &reader->options->cput_s, "-l cput", value, error);
}

static bool apply_memory(const Reader *reader, const char *value, GError **error)
{
    guint64 bytes;
    if (!vt_size_parse_qsub(value, &bytes) || bytes < VT_RAM_MIB_MIN * VT_MIB)
        return refuse(reader, "-l mem", value,
                      "must be a number with b, kb, mb, gb or tb, at least 96mb", error);
    return set_number(reader, &reader->options->memory, bytes);
}

static bool apply_nodes(const Reader *reader, const char *value, GError **error)
{
    guint64 ppn = 1;
    g_auto(GStrv) parts = g_strsplit(value, ":", -1);
    bool ok = parts[0] && strcmp(parts[0], "1") == 0;
    if (ok && parts[1])
        ok = !parts[2] && g_str_has_prefix(parts[1], "ppn=") &&
             vt_number_parse(parts[1] + strlen("ppn="), &ppn) && ppn >= 1 && ppn <= PPN_MAX;
    if (!ok)
        return refuse(reader, "-l nodes", value,
                      "must be 1[:ppn=N]; more nodes and properties are not built yet", error);
    return set_number(reader, &reader->options->ppn, ppn);
}

static const struct {
    const char *name;
    Apply apply;
} resources[] = {
    {"walltime", apply_walltime},
    {"cput", apply_cput},
    {"mem", apply_memory},
    {"nodes", apply_nodes},
};

static bool apply_resource(const Reader *reader, const char *item, GError **error)
{
    const char *equals = strchr(item, '=');
    for (gsize i = 0; equals && i < G_N_ELEMENTS(resources); i++)
        if (strlen(resources[i].name) == (gsize)(equals - item) &&
            g_str_has_prefix(item, resources[i].name))
            return resources[i].apply(reader, equals + 1, error);
    return refuse(reader, "-l", item,
                  "must be walltime=, cput=, mem= or nodes=1:ppn=; other resources are "
                  "not built yet",
                  error);
}

static bool apply_resources(const Reader *reader, const char *value, GError **error)
{
    g_auto(GStrv) items = g_strsplit(value, ",", -1);
    if (!items[0])
        return apply_resource(reader, "", error);
    for (char **item = items; *item; item++)
        if (!apply_resource(reader, *item, error))
            return false;
    return true;
}

/* In the order of --help; refused ones are not in it. */
static const OptionInfo table[] = {
    {"--local", NULL, apply_local,
     "run the job here, in a virtual machine, without a batch system"},
    {"-vm", "KEY=VALUE[,...]", apply_vm,
     "the virtual machine: img=host|tiny|NAME, ram=SIZE, vcpus=N, boot_timeout=SECONDS, "
     "vms_per_node=N, net=private|none, share_locks=local|remote, arch=, distro=, "
     "fs_type=sharedfs|ramdisk, init=agent|system"},
    {"-N", "NAME", apply_name, "the job's name"},
    {"-F", "ARGUMENTS", apply_arguments, "arguments for the script, quoted as in a shell"},
    {"-d", "DIR", apply_directory, "directory that the job starts in (default: this one)"},
    {"-w", "DIR", apply_directory, "the same"},
    {"-o", "PATH", apply_output, "file for standard output (default: vsub's own)"},
    {"-e", "PATH", apply_error, "file for standard error (default: vsub's own)"},
    {"-j", "oe|eo|n", apply_join, "both streams in standard output (oe) or in standard error (eo)"},
    {"-S", "SHELL", apply_shell, "program that reads the script (default: the login shell)"},
    {"-V", NULL, apply_export, "hand the whole environment to the job"},
    {"-v", "NAME[=VALUE][,...]", apply_variables, "hand these variables to the job"},
    {"-I", NULL, apply_interactive,
     "a shell at this terminal in place of a script; a script's #PBS lines count"},
    {"-x", NULL, apply_command,
     "with -I: what stands for the script is a command, run at the terminal"},
    {"-l", "RESOURCE=VALUE[,...]", apply_resources,
     "limits: walltime= and cput=[[HH:]MM:]SS, mem=SIZE, nodes=1:ppn=N"},
    {"--report", "FILE", apply_report, "write outcome, phases and times to FILE as JSON"},
    {"--dry-run", NULL, apply_dry_run, "show what would run, and start nothing"},
    {"--verbose", NULL, apply_verbose, "show when each phase was reached"},
    {"--help", NULL, apply_help, "show this"},
    {"--version", NULL, apply_version, "show the version"},

    {"-a", NULL, NULL, NOT_LOCAL},
    {"-A", NULL, NULL, NOT_LOCAL},
    {"-b", NULL, NULL, NOT_LOCAL},
    {"-c", NULL, NULL, NOT_BUILT},
    {"-C", NULL, NULL, NOT_BUILT},
    {"-D", NULL, NULL, NOT_BUILT},
    {"-E", NULL, NULL, NOT_LOCAL},
    {"-f", NULL, NULL, NOT_LOCAL},
    {"-h", NULL, NULL, NOT_LOCAL},
    {"-i", NULL, NULL, NOT_BUILT},
    {"-J", NULL, NULL, NOT_BUILT},
    {"-k", NULL, NULL, NOT_LOCAL},
    {"-K", NULL, NULL, NOT_BUILT},
    {"-L", NULL, NULL, NOT_BUILT},
    {"-m", NULL, NULL, NOT_LOCAL},
    {"-M", NULL, NULL, NOT_LOCAL},
    {"-n", NULL, NULL, NOT_LOCAL},
    {"-p", NULL, NULL, NOT_LOCAL},
    {"-P", NULL, NULL, NOT_LOCAL},
    {"-q", NULL, NULL, NOT_LOCAL},
    {"-r", NULL, NULL, NOT_LOCAL},
    {"-t", NULL, NULL, NOT_BUILT},
    {"-T", NULL, NULL, NOT_LOCAL},
    {"-u", NULL, NULL, NOT_LOCAL},
    {"-W", NULL, NULL, NOT_LOCAL},
    {"-X", NULL, NULL, NOT_BUILT},
    {"-z", NULL, NULL, NOT_LOCAL},
    {"-gf", NULL, NULL, "is replaced by --dry-run"},
};

static const OptionInfo *find_option(const char *name)
{
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* Words being read. */
typedef struct {
    char *const *next;
    bool is_ended; /* by -- */
} Words;

/* Applies option `name`. `joined` is what stands right behind it in its word, NULL if nothing does.
 */
static bool apply_option(const Reader *reader, const char *name, const char *joined, Words *words,
                         GError **error)
{
    const OptionInfo *info = find_option(name);
    if (!info) {
        g_autofree char *shown = g_strescape(name, NULL);
        return vt_error_set(error, VT_ERROR_USER,
                            "%s: unknown option '%.64s' (vsub --help lists all)", reader->origin,
                            shown);
    }
    if (!info->apply)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '%s' %s", reader->origin, name,
                            info->text);
    if (name[1] == '-' && reader->place != VT_PLACE_LINE)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '%s' is for the command line alone",
                            reader->origin, name);
    if (!info->argument && joined)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '%s' takes no value", reader->origin,
                            name);
    const char *value = joined;
    if (info->argument && !value)
        value = *words->next ? *words->next++ : NULL;
    if (info->argument && !value)
        return vt_error_set(error, VT_ERROR_USER, "%s: option '%s' needs a value: %s",
                            reader->origin, name, info->argument);
    return info->apply(reader, value, error);
}

/* -abc: the flags a and b, and c, which may have a value joined to it. */
static bool read_letters(const Reader *reader, const char *word, Words *words, GError **error)
{
    for (const char *at = word + 1; *at; at++) {
        const char name[] = {'-', *at, '\0'};
        const OptionInfo *info = find_option(name);
        bool is_flag = !info || !info->argument;
        const char *joined = !is_flag && at[1] ? at + 1 : NULL;
        if (!apply_option(reader, name, joined, words, error))
            return false;
        if (!is_flag)
            break;
    }
    return true;
}

static bool read_long(const Reader *reader, const char *word, Words *words, GError **error)
{
    const char *equals = strchr(word, '=');
    if (!equals)
        return apply_option(reader, word, NULL, words, error);
    g_autofree char *name = g_strndup(word, (gsize)(equals - word));
    return apply_option(reader, name, equals + 1, words, error);
}

/* A word that is no option: the script's name. In the script itself qsub stops reading the line
 * there. */
static bool read_operand(const Reader *reader, const char *word, Words *words, GError **error)
{
    VtOptions *options = reader->options;
    if (reader->place == VT_PLACE_SCRIPT) {
        g_autofree char *shown = g_strescape(word, NULL);
        g_ptr_array_add(reader->notes,
                        g_strdup_printf("%s: '%.64s' and what follows is ignored, as qsub does",
                                        reader->origin, shown));
        while (*words->next)
            words->next++;
        return true;
    }
    if (options->script)
        return refuse(reader, "argument", word,
                      "must be one script; its arguments go into -F \"...\"", error);
    options->script = g_strdup(word);
    return true;
}

static bool read_word(const Reader *reader, const char *word, Words *words, GError **error)
{
    if (words->is_ended || word[0] != '-' || strcmp(word, "-") == 0)
        return read_operand(reader, word, words, error);
    if (strcmp(word, "--") == 0)
        return words->is_ended = true;
    if (strcmp(word, "-vm") == 0 || strcmp(word, "-gf") == 0 || word[1] == '-' ||
        g_str_has_prefix(word, "-vm="))
        return read_long(reader, word, words, error);
    return read_letters(reader, word, words, error);
}

static bool read_words(const Reader *reader, char *const *list, GError **error)
{
    Words words = {.next = list};
    while (*words.next) {
        const char *word = *words.next++;
        if (!read_word(reader, word, &words, error))
            return false;
    }
    return true;
}

VtOptions *vt_options_parse(int argc, char *const *argv, GError **error)
{
    g_autoptr(VtOptions) options = g_new0(VtOptions, 1);
    for (guint i = 0; i < VT_PLACES; i++)
        options->variables[i] = g_ptr_array_new_with_free_func(g_free);
    Reader reader = {.options = options, .place = VT_PLACE_LINE, .origin = "command line"};
    if (argc > 0 && !read_words(&reader, argv + 1, error))
        return NULL;
    if (options->script && strcmp(options->script, "-") == 0)
        g_clear_pointer(&options->script, g_free);
    if (options->is_command && (!options->is_interactive || !options->script)) {
        vt_error_set(error, VT_ERROR_USER, "command line: option '-x' goes with -I and a command");
        return NULL;
    }
    return g_steal_pointer(&options);
}

bool vt_options_add_directives(VtOptions *options, const GPtrArray *directives, GPtrArray *notes,
                               GError **error)
{
    for (guint i = 0; i < directives->len; i++) {
        const VtDirective *directive = directives->pdata[i];
        g_autofree char *origin = g_strdup_printf("script line %u", directive->line);
        Reader reader = {
            .options = options, .place = VT_PLACE_SCRIPT, .origin = origin, .notes = notes};
        if (!read_words(&reader, directive->words, error))
            return false;
    }
    return true;
}

static void text_clear(VtOptionText *field)
{
    g_free(field->text);
    g_free(field->origin);
}

void vt_options_free(VtOptions *options)
{
    if (!options)
        return;
    g_free(options->report);
    g_free(options->script);
    text_clear(&options->name);
    text_clear(&options->output);
    text_clear(&options->error);
    text_clear(&options->join);
    text_clear(&options->directory);
    text_clear(&options->shell);
    text_clear(&options->arguments);
    for (guint i = 0; i < VT_PLACES; i++) {
        g_ptr_array_unref(options->variables[i]);
        vt_request_clear(&options->requests[i]);
    }
    g_free(options);
}

char *vt_options_help(void)
{
    g_autoptr(GString) text =
        g_string_new("usage: vsub [--local] [OPTION...] [SCRIPT]\n"
                     "Runs a job script in a virtual machine, or with --local on this machine. "
                     "Without SCRIPT, or for -, it is\n"
                     "read from standard input. Options may also stand in the script, on lines "
                     "that begin with #PBS. Without\n"
                     "--local all options of qsub are taken (vsub(1)); those below are for "
                     "both.\n\n");
    for (gsize i = 0; i < G_N_ELEMENTS(table); i++) {
        if (!table[i].apply)
            continue;
        g_autofree char *left =
            g_strdup_printf("%s %s", table[i].name, table[i].argument ? table[i].argument : "");
        g_string_append_printf(text, "  %-26s %s\n", left, table[i].text);
    }
    g_string_append(
        text,
        "\nExit status: that of qsub; with --local that of the script; 128+N if signal N ended it; "
        "2 for a mistake in options, script lines or settings;\n"
        "125 if vTorque could not run the job (--report tells them apart).\n");
    return g_string_free(g_steal_pointer(&text), FALSE);
}
