/* SPDX-License-Identifier: Apache-2.0 */
/* node/order.c - the lines of orders and registrations: one table of keys. */
#include "node/order.h"

#include <string.h>

#include "base/error.h"
#include "base/hex.h"
#include "conf/choice.h"
#include "job/job.h"

#define CORES_MAX 65536u
#define SECONDS_MAX ((guint64)G_MAXINT32) /* what a job document takes */
#define MEMORY_MIB_MAX (G_GUINT64_CONSTANT(1) << 40)
#define ID_DIGITS 32u  /* of a run, of a nonce */
#define KEY_DIGITS 64u /* of a key */
#define USER_CLASS "user"

typedef enum {
    KEY_VERSION,
    KEY_CLASS, /* user */
    KEY_ID,
    KEY_NAME,  /* a word */
    KEY_ENTRY, /* a name for passwd */
    KEY_TEXT,
    KEY_PATH,
    KEY_HOST,
    KEY_ADDRESS,
    KEY_HOSTS,     /* HOST:CORES,... */
    KEY_ADDRESSES, /* with commas between */
    KEY_DIGITS_32,
    KEY_DIGITS_64,
    KEY_NUMBER, /* guint from `min` to `max` */
    KEY_MIB,
    KEY_TRANSPORT,
} KeyKind;

typedef struct {
    const char *key;
    KeyKind kind;
    guint needed, allowed; /* VtOrderKind bits */
    gsize offset;
    guint64 min, max;
} Key;

#define S VT_ORDER_START
#define R VT_ORDER_REGISTRATION
#define F VT_ORDER_FOLLOW
#define U VT_ORDER_USER
#define ORDER(member) G_STRUCT_OFFSET(VtOrder, member)
static const Key keys[] = {
    {"version", KEY_VERSION, S | R | F | U, 0, 0},
    {"class", KEY_CLASS, U, 0, 0},
    {"id", KEY_ID, S | R | F, 0, ORDER(id)},
    {"name", KEY_NAME, S | R, 0, ORDER(name)},
    {"user", KEY_ENTRY, S | R | F, 0, ORDER(user)},
    {"queue", KEY_NAME, S | R, 0, ORDER(queue)},
    {"request", KEY_TEXT, S | R | F, 0, ORDER(request)},
    {"work_dir", KEY_PATH, S | R, 0, ORDER(work_dir)},
    {"node_file", KEY_PATH, 0, S | F, ORDER(node_file)},
    {"ticket", KEY_NAME, 0, S, ORDER(ticket)},
    {"cgroup", KEY_PATH, 0, S | R, ORDER(cgroup)},
    {"cores", KEY_NUMBER, S | F, 0, ORDER(cores), 1, CORES_MAX},
    {"memory_mib", KEY_MIB, 0, S | R, ORDER(memory_mib)},
    {"core_memory_mib", KEY_MIB, 0, S | R, ORDER(core_memory_mib)},
    {"cput_s", KEY_NUMBER, 0, S | R, ORDER(cput_s), 1, SECONDS_MAX},
    {"hosts", KEY_HOSTS, 0, S, ORDER(hosts)},
    {"leader", KEY_HOST, R, 0, ORDER(leader)},
    {"node", KEY_NUMBER, R | F, 0, ORDER(node), 1, VT_NODES_MAX - 1},
    {"nodes", KEY_NUMBER, R | F, 0, ORDER(nodes), 2, VT_NODES_MAX},
    {"np", KEY_NUMBER, R, 0, ORDER(np), 2, VT_NODES_MAX *CORES_MAX},
    {"host", KEY_HOST, F, 0, ORDER(host)},
    {"receiver", KEY_ADDRESS, F | U, 0, ORDER(receiver)},
    {"run", KEY_DIGITS_32, F, 0, ORDER(run)},
    {"nonce", KEY_DIGITS_32, F | U, 0, ORDER(nonce)},
    {"key", KEY_DIGITS_64, F | U, 0, ORDER(key)},
    {"addresses", KEY_ADDRESSES, F, 0, ORDER(addresses)},
    {"mtu", KEY_NUMBER, 0, F, ORDER(mtu), VT_NET_MTU_MIN, 65535},
    {"transport", KEY_TRANSPORT, 0, F, ORDER(transport)},
    {"vni", KEY_NUMBER, 0, F, ORDER(vni), 1, VT_VNI_MAX},
};
#undef ORDER
#undef S
#undef R
#undef F
#undef U

static bool text_is_valid(KeyKind kind, const char *text)
{
    switch (kind) {
    case KEY_ID:
        return vt_job_id_is_valid(text);
    case KEY_NAME:
        return vt_job_name_is_valid(text);
    case KEY_ENTRY:
        return vt_job_entry_is_valid(text);
    case KEY_PATH:
        return vt_job_path_is_valid(text);
    case KEY_HOST:
        return vt_job_host_is_valid(text);
    case KEY_ADDRESS:
        return vt_address_is_ipv4(text);
    case KEY_DIGITS_32:
        return vt_hex_is_valid(text, ID_DIGITS);
    case KEY_DIGITS_64:
        return vt_hex_is_valid(text, KEY_DIGITS);
    default:
        return text[0] != '\0';
    }
}

/* HOST:CORES; the host alone into `host`, unless that is NULL. */
static bool split_host(const char *entry, char **host, guint *cores)
{
    const char *colon = strrchr(entry, ':');
    guint64 number;
    if (!colon || !g_ascii_string_to_unsigned(colon + 1, 10, 1, CORES_MAX, &number, NULL))
        return false;
    g_autofree char *name = g_strndup(entry, (gsize)(colon - entry));
    if (!vt_job_host_is_valid(name))
        return false;
    *cores = (guint)number;
    if (host)
        *host = g_steal_pointer(&name);
    return true;
}

static bool take_list(const Key *key, const char *value, GStrv *list)
{
    g_auto(GStrv) parts = g_strsplit(value, ",", VT_NODES_MAX + 1);
    guint n = g_strv_length(parts), cores;
    if (n < 2 || n > VT_NODES_MAX)
        return false;
    for (guint i = 0; i < n; i++) {
        if (key->kind == KEY_ADDRESSES ? !vt_address_is_ipv4(parts[i])
                                       : !split_host(parts[i], NULL, &cores))
            return false;
        for (guint j = 0; j < i; j++)
            if (strcmp(parts[i], parts[j]) == 0)
                return false;
    }
    *list = g_steal_pointer(&parts);
    return true;
}

static bool take_value(VtOrder *order, const Key *key, const char *value)
{
    void *at = G_STRUCT_MEMBER_P(order, key->offset);
    guint64 number;
    switch (key->kind) {
    case KEY_VERSION:
        return strcmp(value, "1") == 0;
    case KEY_CLASS:
        return strcmp(value, USER_CLASS) == 0;
    case KEY_NUMBER:
        if (!g_ascii_string_to_unsigned(value, 10, key->min, key->max, &number, NULL))
            return false;
        *(guint *)at = (guint)number;
        return true;
    case KEY_TRANSPORT:
        return vt_choice_find(&vt_carrier_choice, value, at) &&
               *(const VtTransport *)at != VT_TRANSPORT_NONE;
    case KEY_MIB:
        return g_ascii_string_to_unsigned(value, 10, 1, MEMORY_MIB_MAX, at, NULL);
    case KEY_HOSTS:
    case KEY_ADDRESSES:
        return take_list(key, value, at);
    default:
        if (!text_is_valid(key->kind, value))
            return false;
        *(char **)at = g_strdup(value);
        return true;
    }
}

/* `seen` has a bit for each key that a line before has said. */
static bool take_line(VtOrder *order, VtOrderKind kind, char *line, guint *seen, GError **error)
{
    char *value = strchr(line, '=');
    if (!value || vt_job_has_control(line))
        return vt_error_set(error, VT_ERROR_BATCH, "a line of the order is no key=value");
    *value++ = '\0';
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        if (strcmp(keys[i].key, line) != 0 || !((keys[i].needed | keys[i].allowed) & kind))
            continue;
        if (*seen & 1u << i)
            return vt_error_set(error, VT_ERROR_BATCH, "the order says '%s' twice", line);
        *seen |= 1u << i;
        return take_value(order, &keys[i], value) ||
               vt_error_set(error, VT_ERROR_BATCH, "the order's '%s' is not allowed: '%s'", line,
                            value);
    }
    return vt_error_set(error, VT_ERROR_BATCH, "the order has a key that is unknown: '%s'", line);
}

/* What no single line can be wrong in. */
static bool check_whole(VtOrder *order, GError **error)
{
    if (order->hosts)
        order->nodes = g_strv_length(order->hosts);
    if (order->node > 0 && order->node >= order->nodes)
        return vt_error_set(error, VT_ERROR_BATCH, "the order's 'node' is beyond its 'nodes'");
    if (order->addresses && g_strv_length(order->addresses) != order->nodes)
        return vt_error_set(error, VT_ERROR_BATCH,
                            "the order has another number of addresses than of nodes");
    if ((order->transport != VT_TRANSPORT_NONE) != (order->mtu > 0))
        return vt_error_set(error, VT_ERROR_BATCH, "the order's 'transport' and 'mtu' go together");
    if ((order->transport == VT_TRANSPORT_VXLAN) != (order->vni > 0))
        return vt_error_set(error, VT_ERROR_BATCH, "the order's 'vni' goes with VXLAN alone");
    return !order->addresses || strcmp(order->addresses[order->node], order->receiver) == 0 ||
           vt_error_set(error, VT_ERROR_BATCH, "the order's 'receiver' is another node's address");
}

static bool parse(VtOrder *order, VtOrderKind kind, const char *text, gsize size, GError **error)
{
    guint seen = 0;
    if (size == 0 || text[size - 1] != '\n' || memchr(text, '\0', size))
        return vt_error_set(error, VT_ERROR_BATCH, "the order is no text of whole lines");
    g_autofree char *copy = g_strndup(text, size - 1);
    g_auto(GStrv) lines = g_strsplit(copy, "\n", -1);
    for (char **line = lines; *line; line++)
        if (!take_line(order, kind, *line, &seen, error))
            return false;
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if (keys[i].needed & kind && !(seen & 1u << i))
            return vt_error_set(error, VT_ERROR_BATCH, "the order lacks '%s'", keys[i].key);
    return check_whole(order, error);
}

bool vt_order_parse(VtOrder *order, VtOrderKind kind, const char *text, gsize size, GError **error)
{
    G_STATIC_ASSERT(G_N_ELEMENTS(keys) <= 32);
    *order = (VtOrder){0};
    if (parse(order, kind, text, size, error))
        return true;
    vt_order_clear(order);
    return false;
}

static void append_value(GString *out, const VtOrder *order, const Key *key)
{
    const void *at = G_STRUCT_MEMBER_P(order, key->offset);
    g_autofree char *list = NULL;
    const char *text = NULL;
    switch (key->kind) {
    case KEY_VERSION:
        text = "1";
        break;
    case KEY_CLASS:
        text = USER_CLASS;
        break;
    case KEY_NUMBER:
        list = *(const guint *)at > 0 ? g_strdup_printf("%u", *(const guint *)at) : NULL;
        break;
    case KEY_TRANSPORT:
        if (order->transport != VT_TRANSPORT_NONE)
            text = vt_choice_word(&vt_carrier_choice, order->transport);
        break;
    case KEY_ADDRESSES:
        list = g_strjoinv(",", *(const GStrv *)at);
        break;
    default: /* there are no others */
        text = *(char *const *)at;
        break;
    }
    text = list ? list : text;
    if (text)
        g_string_append_printf(out, "%s=%s\n", key->key, text);
}

char *vt_order_format(const VtOrder *order, VtOrderKind kind)
{
    GString *out = g_string_new(NULL);
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++)
        if ((keys[i].needed | keys[i].allowed) & kind)
            append_value(out, order, &keys[i]);
    return g_string_free(out, FALSE);
}

bool vt_order_check_connection(const VtOrder *order, const char *nonce, const char *local,
                               GError **error)
{
    return (strcmp(order->nonce, nonce) == 0 && strcmp(order->receiver, local) == 0) ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the credential was made for another connection or node");
}

static bool refuse(GError **error, const char *what)
{
    return vt_error_set(error, VT_ERROR_BATCH,
                        "the job's first node says another %s than this node's batch daemon", what);
}

bool vt_order_check(const VtOrder *follow, const VtOrder *registration, GError **error)
{
    if (strcmp(follow->id, registration->id) != 0)
        return refuse(error, "job id");
    if (strcmp(follow->user, registration->user) != 0)
        return refuse(error, "user");
    if (strcmp(follow->request, registration->request) != 0)
        return refuse(error, "request");
    /* A host that is granted twice is one node of the job. */
    if (follow->nodes > registration->nodes)
        return refuse(error, "number of nodes");
    if (follow->node != registration->node)
        return refuse(error, "node number");
    /* Each of the other nodes has one core at least. */
    return follow->cores <= registration->np - (follow->nodes - 1) ||
           vt_error_set(error, VT_ERROR_BATCH,
                        "the job's first node asks for %u cores here, more than the job can have",
                        follow->cores);
}

char *vt_order_host(const VtOrder *order, guint index, guint *cores)
{
    char *host = NULL;
    split_host(order->hosts[index], &host, cores);
    return host;
}

/* Whether a value of that kind is a string of its own. */
static bool is_text(KeyKind kind)
{
    switch (kind) {
    case KEY_VERSION:
    case KEY_CLASS:
    case KEY_HOSTS:
    case KEY_ADDRESSES:
    case KEY_NUMBER:
    case KEY_MIB:
    case KEY_TRANSPORT:
        return false;
    default:
        return true;
    }
}

void vt_order_clear(VtOrder *order)
{
    for (guint i = 0; i < G_N_ELEMENTS(keys); i++) {
        void *at = G_STRUCT_MEMBER_P(order, keys[i].offset);
        if (keys[i].kind == KEY_HOSTS || keys[i].kind == KEY_ADDRESSES)
            g_strfreev(*(GStrv *)at);
        else if (is_text(keys[i].kind))
            g_free(*(char **)at);
    }
    *order = (VtOrder){0};
}
