/* SPDX-License-Identifier: Apache-2.0 */
/* tests/unit/test-torque.c - command lines of qsub: each option, what becomes of -l, and what is
 * handed on. */
#include "batch/torque.h"

#include <string.h>

#include "base/error.h"
#include "batch/batch.h"
#include "batch/nodes.h"
#include "conf/choice.h"
#include "job/word.h"

#define SITE                                                                                       \
    "VM_CHANNEL=gres\nHOST_OS_CORE_COUNT=1\nHOST_OS_RAM_MB=100\nPBS_EXCLUSIVE_NODE_ALLOC=false\n"
#define OTHER "VM_CHANNEL=other\nHOST_OS_CORE_COUNT=1\nPBS_EXCLUSIVE_NODE_ALLOC=false\n"
#define WORDS_MAX 16

/* One row for each letter of qsub's own list of options. */
static const struct {
    const char *letter; /* with ":" if it has a value */
    VtQsubUse use;
} options[] = {
    {"a:", VT_QSUB_PASSED},  {"A:", VT_QSUB_PASSED},  {"b:", VT_QSUB_PASSED},
    {"c:", VT_QSUB_PASSED},  {"C:", VT_QSUB_PASSED},  {"d:", VT_QSUB_PASSED},
    {"D:", VT_QSUB_REFUSED}, {"e:", VT_QSUB_PASSED},  {"E", VT_QSUB_PASSED},
    {"f", VT_QSUB_PASSED},   {"F:", VT_QSUB_PASSED},  {"h", VT_QSUB_PASSED},
    {"i:", VT_QSUB_PASSED},  {"I", VT_QSUB_PASSED},   {"j:", VT_QSUB_PASSED},
    {"J:", VT_QSUB_PASSED},  {"k:", VT_QSUB_PASSED},  {"K:", VT_QSUB_PASSED},
    {"l:", VT_QSUB_PASSED},  {"L:", VT_QSUB_REFUSED}, {"m:", VT_QSUB_PASSED},
    {"M:", VT_QSUB_PASSED},  {"n", VT_QSUB_PASSED},   {"N:", VT_QSUB_PASSED},
    {"o:", VT_QSUB_PASSED},  {"p:", VT_QSUB_PASSED},  {"P:", VT_QSUB_PASSED},
    {"q:", VT_QSUB_PASSED},  {"r:", VT_QSUB_PASSED},  {"S:", VT_QSUB_TAKEN},
    {"t:", VT_QSUB_PASSED},  {"T:", VT_QSUB_REFUSED}, {"u:", VT_QSUB_PASSED},
    {"v:", VT_QSUB_PASSED},  {"V", VT_QSUB_PASSED},   {"w:", VT_QSUB_PASSED},
    {"W:", VT_QSUB_PASSED},  {"x", VT_QSUB_PASSED},   {"X", VT_QSUB_REFUSED},
    {"z", VT_QSUB_PASSED},
};

static VtQsub *read_line(const char *const *words)
{
    char *argv[WORDS_MAX + 2] = {(char *)"vsub"};
    int argc = 1;
    for (; *words; words++)
        argv[argc++] = (char *)*words;
    return vt_qsub_new(argc, argv);
}

static char *show(const GPtrArray *words)
{
    GString *text = g_string_new(NULL);
    for (guint i = 0; i < words->len && words->pdata[i]; i++)
        g_string_append_printf(text, "<%s>", (const char *)words->pdata[i]);
    return g_string_free(text, FALSE);
}

/* Alone, with a value joined and apart, on the command line and in the script. */
static void check_option(guint index, const char *text, VtQsubUse wanted)
{
    char letter;
    bool has_value;
    VtQsubUse use;
    const char *why;
    g_assert_true(vt_qsub_get_row(index, &letter, &has_value, &use, &why));
    g_assert_cmpint(letter, ==, text[0]);
    g_assert_true(has_value == (text[1] == ':'));
    g_assert_cmpint(use, ==, wanted);
    g_assert_true((why != NULL) == (use == VT_QSUB_REFUSED));

    const char name[] = {'-', letter, '\0'};
    const char *value = letter == 'S' ? "/bin/x" : letter == 'C' ? "#x" : "x 'y\"";
    const char *const apart[] = {name, has_value ? value : "job", has_value ? "job" : NULL, NULL};
    g_autoptr(VtQsub) line = read_line(apart);
    g_autofree char *words = show(line->words);
    g_autofree char *passed =
        has_value ? g_strdup_printf("<%s><%s>", name, value) : g_strdup_printf("<%s>", name);
    g_assert_cmpstr(line->script, ==, "job");
    g_assert_true((line->problem != NULL) == (use == VT_QSUB_REFUSED));
    if (use == VT_QSUB_PASSED)
        g_assert_cmpstr(words, ==, passed);
    if (use == VT_QSUB_TAKEN)
        g_assert_cmpstr(words, ==, "");
}

static void check_joined(const char *text, VtQsubUse use)
{
    g_autofree char *joined = g_strdup_printf("-%c%s", text[0], text[0] == 'S' ? "/bin/x" : "x y");
    const char *const words[] = {joined, NULL};
    g_autoptr(VtQsub) line = read_line(words);
    g_autofree char *shown = show(line->words);
    g_autofree char *passed = g_strdup_printf("<%s>", joined);
    if (text[0] == 'C' || use == VT_QSUB_REFUSED)
        g_assert_nonnull(line->problem);
    else
        g_assert_cmpstr(shown, ==, use == VT_QSUB_TAKEN ? "" : passed);
}

static void test_options(void)
{
    char letter;
    bool has_value;
    VtQsubUse use;
    const char *why;
    for (guint i = 0; i < G_N_ELEMENTS(options); i++) {
        g_test_message("-%s", options[i].letter);
        check_option(i, options[i].letter, options[i].use);
        if (options[i].letter[1])
            check_joined(options[i].letter, options[i].use);
    }
    g_assert_false(vt_qsub_get_row(G_N_ELEMENTS(options), &letter, &has_value, &use, &why));
}

/* Words, what is left of them, the script, and the problem if any. */
static const struct {
    const char *words[WORDS_MAX];
    const char *passed, *script, *problem;
} lines[] = {
    {{"job"}, "", "job", NULL},
    {{"-"}, "", NULL, NULL},
    {{""}, "", NULL, NULL},
    {{NULL}, "", NULL, NULL},
    {{"-N", "", "-v", "A=1\n,B='2'", "-W", "x=a,b", "job"},
     "<-N><><-v><A=1\n,B='2'><-W><x=a,b>",
     "job",
     NULL},
    {{"job", "-q", "late", "-zh"}, "<-q><late><-zh>", "job", NULL},
    {{"-vm", "ram=1G", "-vm=vcpus=2", "-v", "m", "-vmine=1"}, "<-v><m><-vmine=1>", NULL, NULL},
    {{"-zS/bin/ksh", "-hS", "/bin/x"}, "<-z><-h>", NULL, NULL},
    {{"-z", "--", "-job"}, "<-z>", "-job", NULL},
    {{"--dry-run", "job"}, "", "job", NULL},
    {{"job", "more"}, "", "job", "command line: argument 'more': must be one script*"},
    {{"-zN", "x", "job"},
     "<-zN><x>",
     "job",
     "command line: option '-zN' must be cut before its last letter*"},
    {{"-C#VM"}, "<-C#VM>", NULL, "command line: option '-C': write its value as a word*"},
    {{"-C", "VM"}, "<-C><VM>", NULL, "command line: -C 'VM': must begin with #*"},
    {{"-N"}, "", NULL, "command line: option '-N' needs a value"},
    {{"-vm"}, "", NULL, "command line: option '-vm' needs a value*"},
    {{"-vm", "ram"}, "", NULL, "command line: -vm 'ram': must be key=value*"},
    {{"-Q"}, "", NULL, "command line: option '-Q' is unknown"},
    {{"--f\n\x1b"},
     "",
     NULL,
     "command line: option '--f?n?033' is for local jobs alone, or unknown"},
    {{"--foo"}, "", NULL, "command line: option '--foo' is for local jobs alone, or unknown"},
    {{"-S", "ksh"}, "", NULL, "command line: -S 'ksh': must be the absolute path of one program"},
    {{"-S", "/bin/sh@host"}, "", NULL, "command line: -S '/bin/sh@host': must be *"},
    {{"-W", "depend=afterok:1,umask=022"}, "<-W><depend=afterok:1,umask=022>", NULL, NULL},
    {{"-W", "umask=022, jobtype=x"},
     "<-W><umask=022, jobtype=x>",
     NULL,
     "command line: -W jobtype is *"},
    {{"-Winteractive=true"}, "<-Winteractive=true>", NULL, "command line: -W interactive is *"},
    {{"-Ix", "top"}, "<-Ix>", "top", NULL},
    {{"-I", "job", "-X"}, "<-I>", "job", "command line: option '-X' needs X11 in the guest*"},
};

static void test_lines(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(lines); i++) {
        g_autoptr(VtQsub) line = read_line(lines[i].words);
        g_autofree char *passed = show(line->words);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpstr(passed, ==, lines[i].passed);
        g_assert_cmpstr(line->script, ==, lines[i].script);
        g_assert_true((line->problem != NULL) == (lines[i].problem != NULL));
        if (line->problem && !g_pattern_match_simple(lines[i].problem, line->problem->message))
            g_error("'%s' is not '%s'", line->problem->message, lines[i].problem);
    }
}

/* A script, and the directives of its envelope. */
static const struct {
    const char *script, *lines, *problem;
} scripts[] = {
    {"#PBS -N x  -j 'oe' # why\n  #PBS -q y\n", "<#PBS -N x  -j 'oe' # why><#PBS -q y>", NULL},
    {"#PBS -vm ram=1G\n#PBS -N x\n", "<#PBS -N x>", NULL},
    {"#PBS -N \"a'b\" -vm ram=1G -S /bin/ksh -v 'A=1 2'\n", "<#PBS -N 'a'\"'\"'b' -v 'A=1 2'>",
     NULL},
    {"#PBS -hzS /bin/ksh\n", "<#PBS -hz>", NULL},
    {"#PBS -l nodes=1,\\\nmem=1gb\necho\n#PBS -N x\n", "<#PBS -l nodes=1,mem=1gb>", NULL},
    {"#PBS operand -N x\n", "<#PBS operand -N x>", NULL},
    {"#PBS -zN x\n", "<#PBS -zN x>", NULL},
    {"#PBS -C '#VM'\n", "<#PBS -C '#VM'>",
     "script line 1: option '-C' is for the command line alone"},
    {"\n#PBS -I\n", "<#PBS -I>", NULL},
    {"\n#PBS -x\n", "<#PBS -x>", "script line 2: option '-x' is for the command line alone"},
    {"#PBS -vm ram=x\n", "", "script line 1: -vm ram 'x': must be *"},
    {"#PBS --local\n", "<#PBS --local>", "script line 1: option '--local' is for the command *"},
};

static void test_scripts(void)
{
    static const char *const none[] = {NULL};
    for (gsize i = 0; i < G_N_ELEMENTS(scripts); i++) {
        g_autoptr(VtQsub) qsub = read_line(none);
        g_autoptr(GPtrArray) directives =
            vt_directives_parse(scripts[i].script, strlen(scripts[i].script), qsub->prefix, NULL);
        vt_qsub_add_directives(qsub, directives);
        g_autofree char *shown = show(qsub->lines);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        g_assert_cmpstr(shown, ==, scripts[i].lines);
        g_assert_true((qsub->problem != NULL) == (scripts[i].problem != NULL));
        if (qsub->problem && !g_pattern_match_simple(scripts[i].problem, qsub->problem->message))
            g_error("'%s' is not '%s'", qsub->problem->message, scripts[i].problem);
    }
}

static const struct {
    const char *text, *raised; /* to 4 cores; NULL: refused */
    guint count, ppn_min;
} nodes[] = {
    {"1", "1:ppn=4", 1, 1},
    {"1:ppn=4", "1:ppn=4", 1, 4},
    {"1:ppn=9", "1:ppn=9", 1, 9},
    {"2:ppn=3+1:big:ppn=8", "2:ppn=4+1:big:ppn=8", 3, 3},
    {"host1+host2:ppn=2:gpus=1", "host1:ppn=4+host2:ppn=4:gpus=1", 2, 1},
    {"n[1-3]:ppn=2", "n[1-3]:ppn=4", 1, 2},
    {"1:ppn=2#excl", "1:ppn=4#excl", 1, 2},
    {"1n:ppn=4", "1n:ppn=4", 1, 4},
    {"", NULL, 0, 0},
    {"0", NULL, 0, 0},
    {"1:ppn=0", NULL, 0, 0},
    {"1:ppn=x", NULL, 0, 0},
    {"1:ppn=", NULL, 0, 0},
    {"1+", NULL, 0, 0},
    {"99999999999999999999", NULL, 0, 0},
};

static void test_nodes(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(nodes); i++) {
        VtNodes parsed;
        g_test_message("'%s'", nodes[i].text);
        g_assert_true(vt_nodes_parse(nodes[i].text, &parsed) == (nodes[i].raised != NULL));
        if (!nodes[i].raised)
            continue;
        g_autofree char *raised = vt_nodes_raise(nodes[i].text, 4);
        g_assert_cmpstr(raised, ==, nodes[i].raised);
        g_assert_cmpuint(parsed.count, ==, nodes[i].count);
        g_assert_cmpuint(parsed.ppn_min, ==, nodes[i].ppn_min);
    }
}

/* "W" stands for the request's word. What is added behind the user's words, and the one note or the
 * error. A tiny guest of 256M with one vCPU takes 436M of memory. */
static const struct {
    const char *site;
    const char *words[WORDS_MAX];
    const char *added, *says;
} plans[] = {
    {SITE, {"-l", "nodes=1:ppn=2", "-vm", "img=tiny,vcpus=1"}, "<-l><gres=W>", NULL},
    {SITE,
     {"-vm", "img=tiny", "dir/job.sh"},
     "<-l><nodes=1:ppn=2><-l><gres=W><-N><job.sh>",
     "the job asks for nodes=1:ppn=2 (1 vCPUs, 1 for the node)"},
    {SITE,
     {"-N", "x", "-l", "nodes=1:ppn=2:big,walltime=5", "-vm", "img=tiny,vcpus=3", "job.sh"},
     "<-l><nodes=1:ppn=4:big><-l><gres=W>",
     "the job asks for nodes=1:ppn=4:big (3 vCPUs, 1 for the node)"},
    {SITE, {"-l", "ncpus=1", "-vm", "img=tiny"}, "<-l><nodes=1:ppn=2><-l><gres=W>", "*nodes=1:ppn=2 (1 vCPUs*"},
    {SITE, {"-l", "ncpus=4", "-vm", "img=tiny"}, "<-l><nodes=1:ppn=4><-l><gres=W>", "*nodes=1:ppn=4 (3 vCPUs*"},
    {SITE, {"-l", "procs=1", "-vm", "img=tiny"}, "<-l><procs=2><-l><gres=W>", "*procs=2 (1 vCPUs*"},
    {SITE,
     {"-l", "nodes=1:ppn=4,mem=100mb", "-vm", "img=tiny,vcpus=1,ram=256M"},
     "<-l><mem=536mb><-l><gres=W>",
     "the job asks for mem=536mb (256M RAM, 180M for QEMU*, 100M for the node)"},
    {SITE,
     {"-l", "nodes=1:ppn=4,mem=100mb", "-vm", "img=tiny,vcpus=1,ram=256M,net=user"},
     "<-l><mem=632mb><-l><gres=W>",
     "the job asks for mem=632mb (256M RAM, 276M for QEMU*, 100M for the node)"},
    {SITE,
     {"-l", "nodes=1:ppn=4,mem=536mb", "-vm", "img=tiny,vcpus=1,ram=256M"},
     "<-l><gres=W>",
     NULL},
    {SITE, {"-l", "nodes=1:ppn=4", "-vm", "img=tiny,ram=256M"}, "<-l><gres=W>", NULL},
    {SITE "RAM_DEFAULT=2G\n",
     {"-l", "nodes=1:ppn=4,mem=600mb", "-vm", "img=tiny,vcpus=1"},
     "<-l><gres=W>",
     "RAM_DEFAULT '2048M' cut to *M, what the job's memory leaves"},
    {SITE "VCPUS_DEFAULT=4\n",
     {"-l", "nodes=1:ppn=3", "-vm", "img=tiny"},
     "<-l><gres=W>",
     "VCPUS_DEFAULT '4' cut to 2, the job's cores"},
    {SITE "LARGEST_NODE_CORES=4\n",
     {"-vm", "img=tiny,vcpus=4"},
     NULL,
     "command line: -vm vcpus '4': with 1 for the node itself that is more than the 4 cores *"},
    {SITE "LARGEST_NODE_RAM=500M\n",
     {"-vm", "img=tiny,ram=256M"},
     NULL,
     "command line: -vm ram '256M': with * that is 536M, and the largest node has 500M"},
    {SITE,
     {"-l", "nodes=1:ppn=4,pmem=50mb", "-vm", "img=tiny,ram=256M,vcpus=1"},
     NULL,
     "command line: -l pmem '50mb': the virtual machine takes 536M in all*"},
    {SITE, {"-l", "nodes=1:ppn=4,vmem=1gb", "-vm", "img=tiny,ram=256M"}, "<-l><gres=W>", NULL},
    {SITE, {"-l", "nodes=1:ppn=2,gres=foo:1", "-vm", "img=tiny"}, "<-l><gres=foo:1+W>", NULL},
    {SITE,
     {"-l", "nodes=1:ppn=2,gres=\"foo:1,bar\"", "-vm", "img=tiny"},
     "<-l><gres=\"foo:1,bar+W\">",
     NULL},
    {SITE,
     {"-l", "gres=a", "-l", "gres=b,nodes=1:ppn=2", "-vm", "img=tiny"},
     "<-l><gres=b+W>",
     NULL},
    {SITE, {"-l", "gpus=1", "-vm", "img=tiny"}, NULL, "command line: -l gpus '1': becomes a gres*"},
    {SITE,
     {"-l", "gres=vtorque:x", "-vm", "img=tiny"},
     NULL,
     "command line: -l gres 'vtorque:x': *"},
    {OTHER, {"-l", "nodes=1:ppn=2,gres=foo", "-vm", "img=tiny"}, "<-l><other=W>", NULL},
    {OTHER, {"-l", "other=x", "-vm", "img=tiny"}, NULL, "command line: -l other 'x': carries *"},
    {"VM_CHANNEL=other\n",
     {"-l", "nodes=1:ppn=2", "-vm", "img=tiny"},
     "<-l><other=W><-l><naccesspolicy=uniqueuser>",
     NULL},
    {"VM_CHANNEL=gres\n", {"-l", "nodes=1:ppn=2", "-vm", "img=tiny"}, "<-l><gres=W><-n>", NULL},
    {"VM_CHANNEL=gres\n",
     {"-nl", "nodes=1:ppn=2", "-vm", "img=tiny"},
     NULL,
     "command line: option '-nl' must be cut*"},
    {"VM_CHANNEL=gres\n", {"-n", "-lnodes=1:ppn=2", "-vm", "img=tiny"}, "<-l><gres=W>", NULL},
    {"VM_CHANNEL=gres\n",
     {"-lnaccesspolicy=shared,nodes=1:ppn=2", "-vm", "img=tiny"},
     "<-l><gres=W>",
     NULL},
    {"VM_CHANNEL=gres\n",
     {"-W", "x=NACCESSPOLICY:shared", "-lnodes=1:ppn=2", "-vm", "img=tiny"},
     "<-l><gres=W>",
     NULL},
    {SITE,
     {"-I", "-l", "nodes=1:ppn=2", "-vm", "img=tiny"},
     "<-l><gres=W><-N><STDIN><-I><-x>",
     NULL},
    {SITE,
     {"-I", "-l", "nodes=1:ppn=2", "-vm", "img=tiny", "dir/job.sh"},
     "<-l><gres=W><-N><job.sh><-I><-x>",
     NULL},
    {SITE,
     {"-Ix", "-N", "x", "-l", "nodes=1:ppn=2", "-vm", "img=tiny", "top"},
     "<-l><gres=W>",
     NULL},
    {SITE, {"-I", "-x", "-vm", "img=tiny"}, NULL, "command line: option '-x' needs a command"},
    {SITE,
     {"-x", "-vm", "img=tiny", "top"},
     NULL,
     "command line: option '-x' needs '-I' before it"},
    {"", {"-vm", "img=tiny"}, NULL, "VM_CHANNEL is not set in vtorque.conf: it must be gres *"},
    {SITE "VTORQUE_ENABLED=false\n",
     {"-vm", "img=tiny"},
     NULL,
     "this site takes no new jobs with virtual machines"},
    {SITE "VTORQUE_ENABLED=false\nVTORQUE_DISABLED_MESSAGE='until Monday'\n",
     {"-vm", "img=tiny"},
     NULL,
     "this site takes no new jobs with virtual machines: until Monday"},
    {SITE, {"-vm", "img=host"}, NULL, "command line: -vm img 'host' is not allowed on this site*"},
    {SITE, {"-vm", "ram=1G"}, NULL, "default: -vm img 'host' is not allowed on this site*"},
    {SITE "HOST_IMAGE=true\n", {"-lnodes=1:ppn=2", "-vm", "ram=1G"}, "<-l><gres=W>", NULL},
    {SITE,
     {"-l", "nodes=2:ppn=2", "-vm", "img=tiny"},
     NULL,
     "command line: -l nodes '2:ppn=2': must be one node: this site's nodes do not speak to "
     "each other (PEER_PORT)"},
    {SITE "PEER_PORT=15077\n",
     {"-l", "nodes=2:ppn=2", "-vm", "img=tiny"},
     "<-l><gres=W>",
     NULL},
    {SITE "PEER_PORT=15077\n",
     {"-l", "nodes=255", "-vm", "img=tiny"},
     NULL,
     "command line: -l nodes '255': must be 254 nodes at most"},
    {SITE,
     {"-l", "nodes=1:ppn=0", "-vm", "img=tiny"},
     NULL,
     "command line: -l nodes '1:ppn=0': must be *"},
    {SITE,
     {"-l", "mem=lots", "-vm", "img=tiny"},
     NULL,
     "command line: -l mem 'lots': must be a number *"},
    {SITE,
     {"-vm", "img=tiny", "my job"},
     NULL,
     "command line: script 'my job': cannot be the job's name*"},
    {SITE, {"-T", "x", "-vm", "img=tiny"}, NULL, "command line: option '-T' selects other hooks *"},
};

static void check_plan(gsize row)
{
    g_autoptr(GError) error = NULL;
    /* The way out has a row of its own. */
    g_autofree char *site = g_strconcat(plans[row].site, "NET_DEFAULT=none\n", NULL);
    g_autoptr(VtSettings) settings = vt_settings_parse(site, strlen(site), "x.conf", &error);
    g_assert_no_error(error);
    g_autoptr(VtQsub) qsub = read_line(plans[row].words);
    g_autoptr(VtTorque) torque = vt_torque_new(qsub, settings, &error);
    g_assert_true((torque != NULL) == (plans[row].added != NULL));
    const char *said =
        torque ? (torque->notes->len ? torque->notes->pdata[0] : NULL) : error->message;
    if (said ? !plans[row].says || !g_pattern_match_simple(plans[row].says, said)
             : plans[row].says != NULL)
        g_error("'%s' is not '%s'", said, plans[row].says);
    if (!torque)
        return;
    g_autofree char *passed = show(qsub->words);
    g_autofree char *argv = show(torque->argv);
    g_autoptr(GString) wanted = g_string_new(NULL);
    g_string_append_printf(wanted, "<qsub>%s%s", passed, plans[row].added);
    g_string_replace(wanted, "=W", "=@", 0);
    g_string_replace(wanted, "+W", "+@", 0);
    g_string_replace(wanted, "@", torque->word, 0);
    g_assert_cmpstr(argv, ==, wanted->str);
    VtRequest back = {0};
    g_assert_true(vt_word_parse(&back, torque->word, "request", NULL));
    vt_request_clear(&back);
}

static void test_plans(void)
{
    for (gsize i = 0; i < G_N_ELEMENTS(plans); i++) {
        g_test_message("row %" G_GSIZE_FORMAT, i);
        check_plan(i);
    }
}

/* What Torque would drop without a word is refused with it. */
static void test_long_request(void)
{
    g_autofree char *zeros = g_strnfill(1200, '0');
    g_autofree char *request = g_strdup_printf("img=tiny,vcpus=%s1", zeros);
    const char *const words[] = {"-lnodes=1:ppn=2", "-vm", request, NULL};
    g_autoptr(VtQsub) qsub = read_line(words);
    g_autoptr(VtSettings) gres = vt_settings_parse(SITE, strlen(SITE), "x.conf", NULL);
    g_autoptr(VtSettings) other = vt_settings_parse(OTHER, strlen(OTHER), "x.conf", NULL);
    g_autoptr(VtTorque) fits = vt_torque_new(qsub, gres, NULL);
    g_autoptr(GError) error = NULL;
    g_assert_nonnull(fits);
    g_assert_null(vt_torque_new(qsub, other, &error));
    g_assert_error(error, VT_ERROR, VT_ERROR_USER);
    g_assert_true(
        g_pattern_match_simple("the request is * bytes long: -l other= carries *", error->message));
}

/* Which batch system: settings, PATH's programs, a site's file or none. */
static void test_batch(void)
{
    static const struct {
        const char *site;
        bool has_site;
        VtBatch batch;
        const char *command, *problem;
    } rows[] = {
        {"BATCH=local\n", true, VT_BATCH_LOCAL, NULL, NULL},
        {"BATCH=slurm\n", false, 0, NULL, "x.conf:1: BATCH 'slurm': is not built yet"},
        {"BATCH=openpbs\n", true, 0, NULL, "x.conf:1: BATCH 'openpbs': is not built yet"},
        {"PBS_QSUB_ON_FE=/bin/true\n", false, VT_BATCH_TORQUE, "/bin/true", NULL},
        {"BATCH=torque\nPBS_QSUB_ON_FE=/bin/true\n", true, VT_BATCH_TORQUE, "/bin/true", NULL},
        {"REGEX_FE=login.*\nPBS_QSUB_ON_FE=/bin/true\nPBS_QSUB_ON_NODES=/bin/sh\n", true,
         VT_BATCH_TORQUE, "/bin/sh", NULL},
        {"REGEX_FE=n.*\nPBS_QSUB_ON_FE=/bin/true\nPBS_QSUB_ON_NODES=/bin/sh\n", true,
         VT_BATCH_TORQUE, "/bin/true", NULL},
        {"PBS_QSUB_ON_FE=/nope\n", false, VT_BATCH_LOCAL, NULL, NULL},
        {"PBS_QSUB_ON_FE=/nope\n", true, 0, NULL, "default: BATCH 'auto': there is no qsub here *"},
        {"BATCH=torque\nPBS_QSUB_ON_FE=/nope\n", true, 0, NULL, "'/nope' cannot be run *"},
        {"PBS_QSUB_ON_FE=/proc/self/exe\n", true, 0, NULL, "'/proc/self/exe' is vsub itself: *"},
    };
    g_autofree char *path = g_strdup(g_getenv("PATH"));
    g_setenv("PATH", "/nonexistent", TRUE);
    for (gsize i = 0; i < G_N_ELEMENTS(rows); i++) {
        VtBatch batch;
        g_autofree char *command = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(VtSettings) settings =
            vt_settings_parse(rows[i].site, strlen(rows[i].site), "x.conf", NULL);
        g_test_message("row %" G_GSIZE_FORMAT, i);
        bool ok = vt_batch_choose(settings, "n1", rows[i].has_site, &batch, &command, &error);
        g_assert_true(ok == !rows[i].problem);
        g_assert_true(ok || g_pattern_match_simple(rows[i].problem, error->message));
        g_assert_true(!ok || batch == rows[i].batch);
        g_assert_cmpstr(command, ==, rows[i].command);
    }
    g_setenv("PATH", path, TRUE);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/torque/options", test_options);
    g_test_add_func("/torque/lines", test_lines);
    g_test_add_func("/torque/scripts", test_scripts);
    g_test_add_func("/torque/nodes", test_nodes);
    g_test_add_func("/torque/plans", test_plans);
    g_test_add_func("/torque/long-request", test_long_request);
    g_test_add_func("/torque/batch", test_batch);
    return g_test_run();
}
