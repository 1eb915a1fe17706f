/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ctl/gate.h - lets a test hold a job at each phase of its life.
 *
 * A gate is one end of a socket pair that whoever starts the job hands in (vsub: VTORQUE_GATE_FD).
 * At each phase one byte, the CtlPhase, is written to it and one is read; the end of the stream
 * opens all gates. Without one (a negative descriptor) nothing happens.
 */
#pragma once

/* Waits at the gate `fd` before `phase` counts as reached. */
void ctl_gate_pass(int fd, unsigned phase);
