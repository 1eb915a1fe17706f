/* SPDX-License-Identifier: Apache-2.0 */
/* engine/main.c - vtorque-engine: the engine of a job of one node. */
#include "engine/engine.h"

int main(int argc, char **argv)
{
    return vt_engine_main(argc, argv, NULL);
}
