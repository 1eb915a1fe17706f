/* SPDX-License-Identifier: Apache-2.0 */
/* node/verbs.c - one connection to the daemon, from its first frame to its end. */
#include "node/verbs.h"

#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "ctl/control.h"
#include "ctl/door.h"
#include "ctl/folder.h"
#include "ctl/live.h"
#include "node/clean.h"
#include "node/start.h"

#define START_S 120 /* a user database that hangs, and the end of an earlier run */
#define VERB_S 15
#define ANSWER_MS 2000

/* The job that a frame names, if it lives here and the peer may speak for it. */
static bool find_job(const VtVisitor *visitor, int root, const WireHeader *header,
                     const guint8 *payload, CtlLive *live)
{
    char id[CTL_ID_MAX + 1];
    WireReader reader = wire_reader(payload, header->length);
    wire_get_string(&reader, id, sizeof id);
    return wire_reader_done(&reader) && ctl_id_is_valid(id) && root >= 0 &&
           ctl_live_find(root, id, live) == 0 && (visitor->uid == 0 || visitor->uid == live->owner);
}

/* Gives the connection to the job's engine. */
static bool hand_over(const VtVisitor *visitor, int root, const CtlLive *live, CtlHand kind)
{
    guint8 uid[4];
    WireWriter writer = wire_writer(uid, sizeof uid);
    vt_autofd engine = ctl_live_connect(root, live->slot);
    wire_put_u32(&writer, visitor->uid);
    return engine >= 0 &&
           ctl_door_send(engine, CTL_HAND, kind, uid, sizeof uid, &visitor->fd, 1) == 0;
}

static int run(const VtVisitor *visitor, int root, const CtlLive *live)
{
    if (live && hand_over(visitor, root, live, CTL_HAND_RUN))
        return 0;
    ctl_run_send_text(visitor->fd, CTL_OUTCOME, CTL_REASON_HOST,
                      live ? "the job's engine takes no connection"
                           : "there is no virtual machine of this job on this node");
    return VT_EXIT_FAILED;
}

static int refuse(const VtVisitor *visitor, const CtlLive *live)
{
    ctl_door_send_text(visitor->fd, CTL_REFUSED, 0,
                       live ? "the job's engine does not answer"
                            : "there is no virtual machine of this job on this node");
    return VT_EXIT_FAILED;
}

static int control(const VtVisitor *visitor, int root, const CtlLive *live)
{
    return live && hand_over(visitor, root, live, CTL_HAND_CONTROL) ? 0 : refuse(visitor, live);
}

static int end(const VtVisitor *visitor, int root, const CtlLive *live, guint8 how)
{
    vt_autofd engine = live ? ctl_live_connect(root, live->slot) : -1;
    guint8 kind = how == CTL_END_NOW ? CTL_END_NOW : CTL_END_TERM;
    if (engine < 0 || ctl_door_send(engine, CTL_END, kind, NULL, 0, NULL, 0) < 0 ||
        !vt_fd_wait(engine, ANSWER_MS))
        return refuse(visitor, live);
    ctl_door_send(visitor->fd, CTL_ANSWER, 0, NULL, 0, NULL, 0);
    return 0;
}

static int list(const VtVisitor *visitor, int root)
{
    CtlLive live;
    for (int slot = 0; root >= 0 && slot < CTL_SLOTS_MAX; slot++) {
        if (ctl_live_load(root, slot, &live) < 0 ||
            (visitor->uid != 0 && visitor->uid != live.owner))
            continue;
        g_autofree char *text =
            g_strdup_printf("slot=%d\nkeeper=%d\nstarted=%lld\nid=%s\nname=%s\n", slot, live.keeper,
                            live.started, live.id, live.name);
        ctl_door_send_text(visitor->fd, CTL_ANSWER, 0, text);
    }
    ctl_door_send(visitor->fd, CTL_ANSWER, 0, NULL, 0, NULL, 0);
    return 0;
}

static int serve_hook(const VtVisitor *visitor, const WireHeader *header, const guint8 *payload)
{
    if (header->type == CTL_DOOR_START) {
        alarm(START_S);
        return vt_start_job(visitor->fd, (const char *)payload, header->length,
                            visitor->settings_file);
    }
    if (header->type != CTL_DOOR_CLEAN)
        return VT_EXIT_USAGE;
    g_autofree char *text = g_strndup((const char *)payload, header->length);
    int status = vt_clean_user(text, visitor->settings_file);
    ctl_door_send(visitor->fd, CTL_ANSWER, 0, NULL, 0, NULL, 0);
    return status;
}

bool vt_visitor_has_job(uid_t uid)
{
    CtlLive live;
    vt_autofd root = ctl_root_find();
    for (int slot = 0; root >= 0 && uid != (uid_t)-1 && slot < CTL_SLOTS_MAX; slot++)
        if (ctl_live_load(root, slot, &live) == 0 && live.owner == uid)
            return true;
    return false;
}

int vt_visitor_serve(const VtVisitor *visitor)
{
    g_autofree guint8 *payload = g_malloc(WIRE_PAYLOAD_MAX);
    WireHeader header;
    alarm(VERB_S);
    if (ctl_door_receive(visitor->fd, &header, payload, CTL_DOOR_SPEAK_MS) < 0)
        return VT_EXIT_USAGE;
    if (visitor->is_hook)
        return serve_hook(visitor, &header, payload);
    CtlLive found;
    vt_autofd root = ctl_root_find();
    if (header.type == CTL_DOOR_LIST)
        return list(visitor, root);
    const CtlLive *live = find_job(visitor, root, &header, payload, &found) ? &found : NULL;
    switch (header.type) {
    case CTL_DOOR_RUN:
        return run(visitor, root, live);
    case CTL_DOOR_END:
        return end(visitor, root, live, header.aux);
    case CTL_DOOR_CONTROL:
        return control(visitor, root, live);
    default:
        return VT_EXIT_USAGE;
    }
}
