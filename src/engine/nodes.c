/* SPDX-License-Identifier: Apache-2.0 */
/* engine/nodes.c - vtorque-engine-nodes: the same for a job of several. */
#include "engine/engine.h"

int main(int argc, char **argv)
{
    static const VtNodesPart part = {vt_channel_secure, vt_tunnel_open, vt_tunnel_make,
                                     vt_tunnel_guard, vt_tunnel_connect};
    return vt_engine_main(argc, argv, &part);
}
