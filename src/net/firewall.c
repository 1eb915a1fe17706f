/* SPDX-License-Identifier: Apache-2.0 */
/* net/firewall.c - one batch of messages of nftables, by libnftnl and libmnl. */
#include "net/firewall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <libnftnl/chain.h>
#include <libnftnl/common.h>
#include <libnftnl/expr.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "base/fd.h"

#define PRIORITY (-300) /* raw: before all that a site may have */
#define SET_NODES "nodes"
#define SET_ID 1
#define TYPE_IPV4_ADDR 7   /* nft's own number, by which it shows elements as addresses */
#define MESSAGE_MAX 65536u /* bytes: of the elements of 255 nodes, 8 KiB */
#define BATCH_MAX (4 * MESSAGE_MAX)

/* Where a rule finds what it compares, bytes in a header. */
#define UDP_DESTINATION 2
#define VXLAN_VNI 12 /* behind UDP's 8 */
#define IPV4_SOURCE 12

typedef struct {
    guint8 *bytes; /* BATCH_MAX */
    gsize used;
    guint32 messages;
    const char *table;
} Batch;

/* A message for `type`; finish() when its payload is there. */
static struct nlmsghdr *start(const Batch *batch, guint16 type, guint16 flags)
{
    g_assert(batch->used <= BATCH_MAX - MESSAGE_MAX);
    return nftnl_nlmsg_build_hdr((char *)batch->bytes + batch->used, type, NFPROTO_INET, flags,
                                 batch->messages);
}

static void finish(Batch *batch, const struct nlmsghdr *message)
{
    batch->used += NLMSG_ALIGN(message->nlmsg_len);
    batch->messages++;
}

static void add_table(Batch *batch)
{
    struct nftnl_table *table = nftnl_table_alloc();
    struct nlmsghdr *message = start(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    nftnl_table_set_str(table, NFTNL_TABLE_NAME, batch->table);
    nftnl_table_set_u32(table, NFTNL_TABLE_FLAGS, NFT_TABLE_F_OWNER);
    nftnl_table_nlmsg_build_payload(message, table);
    finish(batch, message);
    nftnl_table_free(table);
}

static void add_chain(Batch *batch, const char *name, guint32 hook)
{
    struct nftnl_chain *chain = nftnl_chain_alloc();
    struct nlmsghdr *message = start(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE | NLM_F_EXCL);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TABLE, batch->table);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_NAME, name);
    nftnl_chain_set_str(chain, NFTNL_CHAIN_TYPE, "filter");
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_HOOKNUM, hook);
    nftnl_chain_set_s32(chain, NFTNL_CHAIN_PRIO, PRIORITY);
    nftnl_chain_set_u32(chain, NFTNL_CHAIN_POLICY, NF_ACCEPT);
    nftnl_chain_nlmsg_build_payload(message, chain);
    finish(batch, message);
    nftnl_chain_free(chain);
}

static struct nftnl_set *new_set(const Batch *batch)
{
    struct nftnl_set *set = nftnl_set_alloc();
    nftnl_set_set_str(set, NFTNL_SET_TABLE, batch->table);
    nftnl_set_set_str(set, NFTNL_SET_NAME, SET_NODES);
    nftnl_set_set_u32(set, NFTNL_SET_ID, SET_ID);
    return set;
}

/* Of the job's other nodes. */
static bool add_nodes(Batch *batch, const VtJob *job)
{
    bool ok = true;
    struct nftnl_set *set = new_set(batch);
    struct nlmsghdr *message = start(batch, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    nftnl_set_set_u32(set, NFTNL_SET_KEY_TYPE, TYPE_IPV4_ADDR);
    nftnl_set_set_u32(set, NFTNL_SET_KEY_LEN, sizeof(struct in_addr));
    nftnl_set_nlmsg_build_payload(message, set);
    finish(batch, message);
    nftnl_set_free(set);

    set = new_set(batch);
    message = start(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
    for (guint i = 0; ok && i < job->nodes; i++) {
        struct in_addr address = {0};
        struct nftnl_set_elem *element = i == job->node ? NULL : nftnl_set_elem_alloc();
        if (!element)
            continue;
        ok = inet_pton(AF_INET, job->addresses[i], &address) == 1;
        nftnl_set_elem_set(element, NFTNL_SET_ELEM_KEY, &address, sizeof address);
        nftnl_set_elem_add(set, element);
    }
    nftnl_set_elems_nlmsg_build_payload(message, set);
    finish(batch, message);
    nftnl_set_free(set);
    return ok;
}

/* Rules: each loads something into register 1 and compares it */

static void add_payload(struct nftnl_rule *rule, guint32 header, guint32 offset, guint32 size)
{
    struct nftnl_expr *load = nftnl_expr_alloc("payload");
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_BASE, header);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_OFFSET, offset);
    nftnl_expr_set_u32(load, NFTNL_EXPR_PAYLOAD_LEN, size);
    nftnl_rule_add_expr(rule, load);
}

static void add_meta(struct nftnl_rule *rule, guint32 key)
{
    struct nftnl_expr *load = nftnl_expr_alloc("meta");
    nftnl_expr_set_u32(load, NFTNL_EXPR_META_DREG, NFT_REG_1);
    nftnl_expr_set_u32(load, NFTNL_EXPR_META_KEY, key);
    nftnl_rule_add_expr(rule, load);
}

static void add_compare(struct nftnl_rule *rule, guint32 how, const void *value, guint32 size)
{
    struct nftnl_expr *compare = nftnl_expr_alloc("cmp");
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
    nftnl_expr_set_u32(compare, NFTNL_EXPR_CMP_OP, how);
    nftnl_expr_set(compare, NFTNL_EXPR_CMP_DATA, value, size);
    nftnl_rule_add_expr(rule, compare);
}

static void add_lookup(struct nftnl_rule *rule)
{
    struct nftnl_expr *lookup = nftnl_expr_alloc("lookup");
    nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
    nftnl_expr_set_str(lookup, NFTNL_EXPR_LOOKUP_SET, SET_NODES);
    nftnl_expr_set_u32(lookup, NFTNL_EXPR_LOOKUP_SET_ID, SET_ID);
    nftnl_rule_add_expr(rule, lookup);
}

static struct nftnl_rule *new_rule(const Batch *batch, const char *chain)
{
    const guint8 udp = IPPROTO_UDP;
    const guint16 port = htons(VT_VXLAN_PORT);
    struct nftnl_rule *rule = nftnl_rule_alloc();
    nftnl_rule_set_str(rule, NFTNL_RULE_TABLE, batch->table);
    nftnl_rule_set_str(rule, NFTNL_RULE_CHAIN, chain);
    add_meta(rule, NFT_META_L4PROTO);
    add_compare(rule, NFT_CMP_EQ, &udp, sizeof udp);
    add_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, UDP_DESTINATION, sizeof port);
    add_compare(rule, NFT_CMP_EQ, &port, sizeof port);
    return rule;
}

static void add_vni(struct nftnl_rule *rule, const VtJob *job)
{
    const guint8 vni[] = {(guint8)(job->vni >> 16), (guint8)(job->vni >> 8), (guint8)job->vni};
    add_payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, VXLAN_VNI, sizeof vni);
    add_compare(rule, NFT_CMP_EQ, vni, sizeof vni);
}

/* Takes the rule. */
static void add_rule(Batch *batch, struct nftnl_rule *rule, guint32 verdict, guint16 flags)
{
    struct nftnl_expr *end = nftnl_expr_alloc("immediate");
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
    nftnl_expr_set_u32(end, NFTNL_EXPR_IMM_VERDICT, verdict);
    nftnl_rule_add_expr(rule, end);
    struct nlmsghdr *message = start(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND | flags);
    nftnl_rule_nlmsg_build_payload(message, rule);
    finish(batch, message);
    nftnl_rule_free(rule);
}

static void add_rules(Batch *batch, const VtJob *job)
{
    const guint8 ipv4 = NFPROTO_IPV4;
    const guint32 nobody = G_MAXUINT32;
    struct nftnl_rule *known = new_rule(batch, "in"), *others = new_rule(batch, "in");
    struct nftnl_rule *processes = new_rule(batch, "out");
    add_vni(known, job);
    add_meta(known, NFT_META_NFPROTO);
    add_compare(known, NFT_CMP_EQ, &ipv4, sizeof ipv4);
    add_payload(known, NFT_PAYLOAD_NETWORK_HEADER, IPV4_SOURCE, sizeof(struct in_addr));
    add_lookup(known);
    add_vni(others, job);
    add_meta(processes, NFT_META_SKUID);
    add_compare(processes, NFT_CMP_NEQ, &nobody, sizeof nobody);
    add_rule(batch, known, NF_ACCEPT, 0);
    add_rule(batch, others, NF_DROP, 0);
    add_rule(batch, processes, NF_DROP, NLM_F_ACK);
}

static bool write_batch(Batch *batch, const VtJob *job)
{
    finish(batch, nftnl_batch_begin((char *)batch->bytes, batch->messages));
    add_table(batch);
    add_chain(batch, "in", NF_INET_LOCAL_IN);
    add_chain(batch, "out", NF_INET_LOCAL_OUT);
    if (!add_nodes(batch, job))
        return false;
    add_rules(batch, job);
    finish(batch, nftnl_batch_end((char *)batch->bytes + batch->used, batch->messages));
    return true;
}

/* The last rule's is the one answer that is no error, and comes behind those that are. Returns 0 or an errno. */
static int read_answer(int fd, guint32 last)
{
    for (;;) {
        _Alignas(struct nlmsghdr) guint8 bytes[8192];
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        int left = (int)n;
        if (n <= 0)
            return n < 0 ? errno : EPROTO;
        for (const struct nlmsghdr *header = (const void *)bytes; mnl_nlmsg_ok(header, left);
             header = mnl_nlmsg_next(header, &left)) {
            const struct nlmsgerr *answer = mnl_nlmsg_get_payload(header);
            if (header->nlmsg_type == NLMSG_ERROR &&
                (answer->error != 0 || header->nlmsg_seq == last))
                return -answer->error;
        }
    }
}

int vt_firewall_open(const VtJob *job, GError **error)
{
    g_autofree char *table = g_strdup_printf("vtorque-%u", job->vni);
    g_autofree guint8 *bytes = g_malloc0(BATCH_MAX);
    Batch batch = {.bytes = bytes, .table = table};
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    vt_autofd fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
    int err = EINVAL;
    if (fd < 0)
        err = errno;
    else if (write_batch(&batch, job))
        err = sendto(fd, bytes, batch.used, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0
                  ? errno
                  : read_answer(fd, batch.messages - 2);
    if (err == 0)
        return vt_fd_steal(&fd);
    vt_error_set_errno(error, VT_ERROR_HOST, err,
                       "the network between the job's nodes: no packet filter");
    return -1;
}
