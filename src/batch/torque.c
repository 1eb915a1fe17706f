/* SPDX-License-Identifier: Apache-2.0 */
/*
 * batch/torque.c - a job with a virtual machine as a submission to Torque.
 *
 * Theory of operation: the user's words go on in order, byte for byte. What vsub has to say is put
 * behind them: for qsub the last of a kind counts, and the command line over the script.
 */
#include "batch/torque.h"

#include <string.h>

#include "base/error.h"
#include "base/size.h"
#include "batch/nodes.h"
#include "job/memory.h"
#include "job/word.h"

#define OTHER_MAX                                                                                  \
    1500 /* bytes: hooks get all resources in 2048, and what does not fit is dropped */
#define NAME_MAX_QSUB 256

/* What the steps hand on. */
typedef struct {
    const VtQsub *qsub;
    const VtSettings *settings;
    VtTorque *torque; /* being filled */
    VtNodes nodes;    /* that the user asked for */
    VtQsubResource cores_key;
    guint vms;           /* on each node */
    guint vcpus;         /* of each of them */
    guint reserve_cores; /* the node's */
    guint64 reserve_mib; /* the node's */
    VtMemoryShape shape; /* of a node's part */
    guint64 memory_mib;  /* that the user asked for, of each node; 0: nothing */
} Draft;

typedef bool (*Step)(Draft *draft, GError **error);

static bool refuse(const VtQsubValue *value, const char *key, const char *allowed, GError **error)
{
    return vt_error_set_value(error, VT_ERROR_USER, value->origin, key, value->text, allowed);
}

static const VtQsubValue *resource(const Draft *draft, VtQsubResource which)
{
    const VtQsubValue *value = &draft->qsub->resources[which];
    return value->text ? value : NULL;
}

/* What the user asked for, or NULL. */
static const VtRequestItem *asked(const Draft *draft, VtRequestKey key)
{
    const VtRequestItem *item =
        vt_request_choose(&draft->qsub->option, &draft->qsub->directive, key);
    return item->origin ? item : NULL;
}

static guint64 number(const Draft *draft, VtSetting setting)
{
    return vt_settings_get_number(draft->settings, setting);
}

static void note(Draft *draft, char *text)
{
    g_ptr_array_add(draft->torque->notes, text);
}

static void add_word(Draft *draft, const char *word)
{
    g_ptr_array_add(draft->torque->argv, g_strdup(word));
}

static void add_resource(Draft *draft, const char *key, const char *value)
{
    add_word(draft, "-l");
    g_ptr_array_add(draft->torque->argv, g_strdup_printf("%s=%s", key, value));
}

static bool check_site(Draft *draft, GError **error)
{
    const VtSettings *settings = draft->settings;
    const char *message = vt_settings_get_text(settings, VT_SETTING_DISABLED_MESSAGE);
    if (!number(draft, VT_SETTING_VTORQUE_ENABLED))
        return vt_error_set(error, VT_ERROR_CONFIG,
                            "this site takes no new jobs with virtual machines%s%s",
                            message ? ": " : "", message ? message : "");
    return vt_settings_get_text(settings, VT_SETTING_VM_CHANNEL) != NULL ||
           vt_error_set(error, VT_ERROR_CONFIG,
                        "VM_CHANNEL is not set in vtorque.conf: it must be gres under pbs_sched, "
                        "or other under Maui and Moab");
}

static bool check_problem(Draft *draft, GError **error)
{
    if (!draft->qsub->problem)
        return true;
    g_propagate_error(error, g_error_copy(draft->qsub->problem));
    return false;
}

static const char *image_name(const Draft *draft)
{
    const VtRequestItem *image = asked(draft, VT_REQUEST_IMG);
    return image ? image->text : vt_settings_get_text(draft->settings, VT_SETTING_IMG_DEFAULT);
}

static bool check_image(Draft *draft, GError **error)
{
    const VtRequestItem *image = asked(draft, VT_REQUEST_IMG);
    if (strcmp(image_name(draft), "host") != 0 || number(draft, VT_SETTING_HOST_IMAGE))
        return true;
    return vt_error_set(error, VT_ERROR_USER,
                        "%s: -vm img 'host' is not allowed on this site (HOST_IMAGE); -vm img=NAME "
                        "takes an image",
                        image ? image->origin : "default");
}

static bool take_count(Draft *draft, VtQsubResource which, const char *key, GError **error)
{
    const VtQsubValue *value = resource(draft, which);
    guint64 count;
    if (!vt_number_parse(value->text, &count) || count < 1 || count > G_MAXINT32)
        return refuse(value, key, "must be a number of cores", error);
    draft->cores_key = which;
    draft->nodes = (VtNodes){1, (guint)count};
    return true;
}

/* How many cores each node is to give. */
static bool take_nodes(Draft *draft, GError **error)
{
    const VtQsubValue *nodes = resource(draft, VT_QSUB_NODES);
    draft->cores_key = VT_QSUB_NODES;
    draft->nodes = (VtNodes){1, 1};
    if (!nodes && resource(draft, VT_QSUB_NCPUS))
        return take_count(draft, VT_QSUB_NCPUS, "-l ncpus", error);
    if (!nodes && resource(draft, VT_QSUB_PROCS))
        return take_count(draft, VT_QSUB_PROCS, "-l procs", error);
    if (!nodes)
        return true;
    if (!vt_nodes_parse(nodes->text, &draft->nodes))
        return refuse(nodes, "-l nodes", "must be COUNT|HOST[:ppn=N][:PROPERTY...][+...]", error);
    if (draft->nodes.count > VT_NODES_MAX)
        return refuse(nodes, "-l nodes", "must be 254 nodes at most", error);
    return draft->nodes.count == 1 || number(draft, VT_SETTING_PEER_PORT) > 0 ||
           refuse(nodes, "-l nodes",
                  "must be one node: this site's nodes do not speak to each other (PEER_PORT)",
                  error);
}

/* As many as the user says; else as many as the job's cores leave the site's default. */
static void take_vms(Draft *draft, guint cores)
{
    const VtRequestItem *item = asked(draft, VT_REQUEST_VMS_PER_NODE);
    const VtRequestItem *vcpus = asked(draft, VT_REQUEST_VCPUS);
    guint wanted = (guint)number(draft, VT_SETTING_VMS_PER_NODE);
    guint most = MAX(cores / (vcpus ? (guint)vcpus->number : 1), 1);
    draft->vms = item ? (guint)item->number : MIN(wanted, most);
    if (!item && draft->vms < wanted)
        note(draft, g_strdup_printf("VMS_PER_NODE_DEFAULT '%u' cut to %u, for the job's cores",
                                    wanted, draft->vms));
}

static guint cores_of(const Draft *draft)
{
    return draft->vms * draft->vcpus + draft->reserve_cores;
}

/* As many as the user says; else as many as the job's cores leave the site's default. */
static bool take_vcpus(Draft *draft, GError **error)
{
    const VtRequestItem *item = asked(draft, VT_REQUEST_VCPUS);
    guint wanted = (guint)number(draft, VT_SETTING_VCPUS_DEFAULT);
    guint ppn = draft->nodes.ppn_min;
    draft->reserve_cores = (guint)number(draft, VT_SETTING_HOST_OS_CORE_COUNT);
    guint rest = ppn > draft->reserve_cores ? ppn - draft->reserve_cores : 1;
    take_vms(draft, rest);
    rest = MAX(rest / draft->vms, 1);
    draft->vcpus = item ? (guint)item->number : MIN(wanted, rest);
    if (!item && draft->vcpus < wanted &&
        vt_settings_is_set(draft->settings, VT_SETTING_VCPUS_DEFAULT))
        note(draft, g_strdup_printf("VCPUS_DEFAULT '%u' cut to %u, the job's cores", wanted,
                                    draft->vcpus));
    guint64 largest = number(draft, VT_SETTING_LARGEST_NODE_CORES);
    if (largest == 0 || cores_of(draft) <= largest)
        return true;
    return vt_error_set(error, VT_ERROR_USER,
                        "%s: -vm vcpus '%u': with %u for the node itself that is more than the "
                        "%" G_GUINT64_FORMAT " cores of the largest node",
                        item ? item->origin : "default", draft->vcpus, draft->reserve_cores,
                        largest);
}

static VtNet find_net(const Draft *draft)
{
    const VtRequestItem *item = asked(draft, VT_REQUEST_NET);
    guint64 wanted = item ? item->number : number(draft, VT_SETTING_NET_DEFAULT);
    bool is_one = draft->vms == 1 && draft->nodes.count == 1;
    return vt_request_net((VtNet)wanted, item != NULL, is_one);
}

/* Everything but the RAM of what a node's part of the job takes. */
static void take_shape(Draft *draft)
{
    const VtSettings *settings = draft->settings;
    const VtRequestItem *fs_type = asked(draft, VT_REQUEST_FS_TYPE);
    const char *name = image_name(draft);
    bool is_disk = strcmp(name, "host") != 0 && strcmp(name, "tiny") != 0;
    bool is_set = vt_settings_is_set(settings, VT_SETTING_FILESYSTEM_TYPE);
    guint64 kind = fs_type  ? fs_type->number
                   : is_set ? number(draft, VT_SETTING_FILESYSTEM_TYPE)
                            : VT_FS_RAMDISK;
    bool is_in_memory =
        is_disk && kind == VT_FS_RAMDISK && !vt_settings_is_set(settings, VT_SETTING_RAMDISK_DIR);
    guint ramdisk_mib = (guint)number(draft, VT_SETTING_RAMDISK_SIZE);
    draft->shape = (VtMemoryShape){
        .vms = draft->vms,
        .vcpus = draft->vcpus,
        .servers = strcmp(name, "host") == 0 ? 2 : 1,
        .is_emulated = vt_settings_is_set(settings, VT_SETTING_ACCEL) &&
                       number(draft, VT_SETTING_ACCEL) != VT_ACCEL_KVM,
        .scratch_mib = is_in_memory ? ramdisk_mib : 0,
        .is_scratch_ram = is_in_memory && ramdisk_mib == 0,
        .has_uplink = find_net(draft) != VT_NET_NONE,
    };
}

static bool read_memory(const VtQsubValue *value, const char *key, guint64 *mib, GError **error)
{
    guint64 bytes;
    if (!vt_size_parse_qsub(value->text, &bytes))
        return refuse(value, key, "must be a number with b, kb, mb, gb or tb", error);
    *mib = bytes / VT_MIB;
    return true;
}

/* The RAM that leaves room for all else in `limit_mib`, or the least there is. */
static guint cut_ram(const Draft *draft, guint ram_mib, guint64 limit_mib)
{
    guint64 rest = limit_mib > draft->reserve_mib ? limit_mib - draft->reserve_mib : 0;
    guint most = vt_memory_largest_ram(&draft->shape, rest);
    return MIN(ram_mib, MAX(most, VT_RAM_MIB_MIN));
}

/* As much as the user says; else as much as the job's memory leaves the site's default. */
static bool take_ram(Draft *draft, GError **error)
{
    const VtRequestItem *item = asked(draft, VT_REQUEST_RAM);
    const VtQsubValue *mem = resource(draft, VT_QSUB_MEM);
    guint64 largest = number(draft, VT_SETTING_LARGEST_NODE_RAM);
    guint wanted = (guint)(item ? item->number : number(draft, VT_SETTING_RAM_DEFAULT));
    guint ram = wanted;
    take_shape(draft);
    draft->reserve_mib = number(draft, VT_SETTING_HOST_OS_RAM_MB);
    if (mem && !read_memory(mem, "-l mem", &draft->memory_mib, error))
        return false;
    /* The batch system splits it evenly. */
    draft->memory_mib /= draft->nodes.count;
    if (!item && mem)
        ram = cut_ram(draft, ram, draft->memory_mib);
    if (!item && largest)
        ram = cut_ram(draft, ram, largest);
    if (ram < wanted && vt_settings_is_set(draft->settings, VT_SETTING_RAM_DEFAULT))
        note(draft, g_strdup_printf("RAM_DEFAULT '%uM' cut to %uM, what the job's memory leaves",
                                    wanted, ram));
    draft->shape.ram_mib = ram;
    guint64 need = vt_memory_of(&draft->shape).total + draft->reserve_mib;
    if (largest == 0 || need <= largest)
        return true;
    return vt_error_set(error, VT_ERROR_USER,
                        "%s: -vm ram '%uM': with QEMU, file servers and the node itself that is "
                        "%" G_GUINT64_FORMAT "M, and the largest node has %" G_GUINT64_FORMAT "M",
                        item ? item->origin : "default", ram, need, largest);
}

/* Limits that nobody can raise for the user: what they mean depends on the node's Torque. */
static bool check_limits(Draft *draft, GError **error)
{
    guint64 need = vt_memory_of(&draft->shape).total + draft->reserve_mib;
    guint cores = MAX(draft->nodes.ppn_min, cores_of(draft));
    const struct {
        VtQsubResource which;
        const char *key;
        guint64 factor;
    } limits[] = {{VT_QSUB_PMEM, "-l pmem", cores},
                  {VT_QSUB_PVMEM, "-l pvmem", cores},
                  {VT_QSUB_VMEM, "-l vmem", 1}};
    for (gsize i = 0; i < G_N_ELEMENTS(limits); i++) {
        const VtQsubValue *value = resource(draft, limits[i].which);
        guint64 mib = 0, all = 0;
        if (!value)
            continue;
        if (!read_memory(value, limits[i].key, &mib, error))
            return false;
        guint64 nodes = limits[i].which == VT_QSUB_VMEM ? draft->nodes.count : 1;
        if (!g_uint64_checked_mul(&all, mib, limits[i].factor) || all / nodes >= need)
            continue;
        return vt_error_set(error, VT_ERROR_USER,
                            "%s: %s '%s': the virtual machine takes %" G_GUINT64_FORMAT
                            "M in all; -l mem= would be raised",
                            value->origin, limits[i].key, value->text, need);
    }
    return true;
}

/* (transfer full), or NULL if the cores are enough. For ncpus= Torque grants one slot, whatever it says. */
static char *raise_cores(Draft *draft, guint cores)
{
    const VtQsubValue *nodes = resource(draft, VT_QSUB_NODES);
    if (draft->cores_key == VT_QSUB_NCPUS)
        return g_strdup_printf("nodes=1:ppn=%u", MAX(cores, draft->nodes.ppn_min));
    if (draft->nodes.ppn_min >= cores)
        return NULL;
    if (draft->cores_key == VT_QSUB_PROCS)
        return g_strdup_printf("procs=%u", cores);
    g_autofree char *spec = vt_nodes_raise(nodes ? nodes->text : "1", cores);
    return g_strconcat("nodes=", spec, NULL);
}

/* What was asked for is enough for what was asked for, or becomes so. */
static bool raise_resources(Draft *draft, GError **error)
{
    VtMemory memory = vt_memory_of(&draft->shape);
    guint64 need = memory.total + draft->reserve_mib;
    g_autoptr(GString) text = g_string_new(NULL);
    g_autofree char *cores = raise_cores(draft, cores_of(draft));
    if (cores) {
        add_word(draft, "-l");
        add_word(draft, cores);
        g_string_append_printf(text, "%s (%u vCPUs, %u for the node)", cores,
                               draft->vms * draft->vcpus, draft->reserve_cores);
    }
    if (draft->memory_mib > 0 && draft->memory_mib < need) {
        g_autofree char *mem =
            g_strdup_printf("%" G_GUINT64_FORMAT "mb", need * draft->nodes.count);
        add_resource(draft, "mem", mem);
        g_string_append_printf(text,
                               "%smem=%s (%" G_GUINT64_FORMAT "M RAM, %" G_GUINT64_FORMAT
                               "M for QEMU, file servers and disk, %" G_GUINT64_FORMAT
                               "M for the node)",
                               text->len ? " and " : "", mem, memory.ram, memory.total - memory.ram,
                               draft->reserve_mib);
    }
    if (text->len)
        note(draft, g_strdup_printf("the job asks for %s", text->str));
    return true;
}

/* With somebody else's gres beside it, as one value: of two the last would count alone. */
static bool add_gres(Draft *draft, GError **error)
{
    const VtQsubValue *own = resource(draft, VT_QSUB_GRES);
    const VtQsubValue *gpus = resource(draft, VT_QSUB_GPUS);
    if (gpus)
        return refuse(gpus, "-l gpus",
                      "becomes a gres and would replace the request: write "
                      "-l gres=gpus:N",
                      error);
    if (own && strstr(own->text, VT_WORD_PREFIX))
        return refuse(own, "-l gres", "must not have a 'vtorque:' of its own: use -vm", error);
    const char *quote = own && strchr(own->text, ',') ? "\"" : "";
    g_autofree char *value =
        g_strconcat(quote, own ? own->text : "", own ? "+" : "", draft->torque->word, quote, NULL);
    add_resource(draft, "gres", value);
    return true;
}

static bool add_other(Draft *draft, GError **error)
{
    const VtQsubValue *own = resource(draft, VT_QSUB_OTHER);
    if (own)
        return refuse(own, "-l other", "carries the request on this site (VM_CHANNEL)", error);
    if (strlen(draft->torque->word) > OTHER_MAX)
        return vt_error_set(error, VT_ERROR_USER,
                            "the request is %" G_GSIZE_FORMAT " bytes long: -l other= carries at "
                            "most %d, and Torque would drop it without a word",
                            strlen(draft->torque->word), OTHER_MAX);
    add_resource(draft, "other", draft->torque->word);
    return true;
}

static bool add_request(Draft *draft, GError **error)
{
    draft->torque->word = vt_word_format(&draft->qsub->option, &draft->qsub->directive, error);
    if (!draft->torque->word)
        return false;
    return number(draft, VT_SETTING_VM_CHANNEL) == VT_CHANNEL_GRES ? add_gres(draft, error)
                                                                   : add_other(draft, error);
}

/* Plain Torque ignores naccesspolicy; Maui and Moab do not. */
static bool add_exclusive(Draft *draft, GError **error)
{
    if (!number(draft, VT_SETTING_EXCLUSIVE_NODES) || draft->qsub->is_exclusive ||
        resource(draft, VT_QSUB_ACCESS))
        return true;
    if (number(draft, VT_SETTING_VM_CHANNEL) == VT_CHANNEL_GRES)
        add_word(draft, "-n");
    else
        add_resource(draft, "naccesspolicy", "uniqueuser");
    return true;
}

/* qsub gets the script by its standard input, and would call the job STDIN; or, for a job at a
 * terminal, by a file of vsub's, and would name it after that. */
static bool add_name(Draft *draft, GError **error)
{
    const VtQsub *qsub = draft->qsub;
    if (qsub->has_name || (!qsub->script && !qsub->is_interactive))
        return true;
    const char *slash = qsub->script ? strrchr(qsub->script, '/') : NULL;
    const char *name = slash ? slash + 1 : qsub->script ? qsub->script : "STDIN";
    bool ok = *name && strlen(name) <= NAME_MAX_QSUB;
    for (const char *at = name; *at; at++)
        ok = ok && g_ascii_isgraph(*at);
    if (!ok)
        return vt_error_set_value(error, VT_ERROR_USER, "command line", "script", name,
                                  "cannot be the job's name: give one by -N");
    add_word(draft, "-N");
    add_word(draft, name);
    return true;
}

/* qsub has one word for what is executed at its terminal, and reads directives of it: the envelope's
 * path, the last word, by whoever has made that file. */
static bool add_terminal(Draft *draft, GError **error)
{
    const VtQsub *qsub = draft->qsub;
    if (qsub->is_command && !qsub->is_interactive)
        return vt_error_set(error, VT_ERROR_USER, "command line: option '-x' needs '-I' before it");
    if (qsub->is_command && !qsub->script)
        return vt_error_set(error, VT_ERROR_USER, "command line: option '-x' needs a command");
    if (qsub->is_interactive && !qsub->is_command) {
        add_word(draft, "-I");
        add_word(draft, "-x");
    }
    return true;
}

static const Step steps[] = {check_site,  check_problem, check_image,  take_nodes,
                             take_vcpus,  take_ram,      check_limits, raise_resources,
                             add_request, add_exclusive, add_name,     add_terminal};

VtTorque *vt_torque_new(const VtQsub *qsub, const VtSettings *settings, GError **error)
{
    g_autoptr(VtTorque) torque = g_new0(VtTorque, 1);
    torque->argv = g_ptr_array_new_with_free_func(g_free);
    torque->notes = g_ptr_array_new_with_free_func(g_free);
    Draft draft = {.qsub = qsub, .settings = settings, .torque = torque};
    add_word(&draft, "qsub");
    for (guint i = 0; i < qsub->words->len; i++)
        add_word(&draft, qsub->words->pdata[i]);
    for (gsize i = 0; i < G_N_ELEMENTS(steps); i++)
        if (!steps[i](&draft, error))
            return NULL;
    g_ptr_array_add(torque->argv, NULL);
    return g_steal_pointer(&torque);
}

void vt_torque_free(VtTorque *torque)
{
    if (!torque)
        return;
    g_ptr_array_unref(torque->argv);
    g_ptr_array_unref(torque->notes);
    g_free(torque->word);
    g_free(torque);
}
