#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Several virtual machines in one job, with the tiny guest: names, counts, network, ends. As root, whose network the kernel switches,
and as an ordinary user, where it is a switch of ours unless /dev/net/tun is open to everybody. Speaks TAP."""

import contextlib
import os
import re
import signal
import socket

from lib import (CTL_FAULT, FAULT_PANIC, Inventory, Running, Site, TemporaryUser, children, equal, folders, is_sanitized, row, run_tests,
                 strike, wait_for)

TWO = ("-vm", "vms_per_node=2")
WAITS = "echo up\nwhile :; do sleep 1; done\n"


def up(job):
    try:
        job.wait_text(b"up\n", 120)
    except AssertionError as error:
        raise AssertionError(f"{error}; stderr {job.err.data!r}") from None


def by_name(text):
    return dict(line.split("=", 1) for line in text.split() if "=" in line)


def counts(site):
    """node file, hosts and PBS variables are of all machines"""
    result = site.tiny('env | grep ^PBS_; uname -n; echo -; cat "$PBS_NODEFILE"; echo -; cat /etc/hosts', "-vm", "vms_per_node=3,vcpus=2")
    equal(result.status, 0, result.err)
    head, nodes, hosts = result.out.decode().split("-\n")
    variables, nodes = by_name(head), nodes.split()
    equal({name: variables[f"PBS_{name}"] for name in ("NP", "NUM_PPN", "NUM_NODES", "VMS_PN")},
          {"NP": "6", "NUM_PPN": "2", "NUM_NODES": "3", "VMS_PN": "3"})
    equal(nodes[::2], nodes[1::2], "two lines each")
    equal((len(nodes), len(set(nodes)), nodes[0]), (6, 3, head.split()[-1]), "the first is the script's")
    for number, name in enumerate(nodes[::2], 1):
        assert f"10.77.0.{number} {name}\n" in hosts, hosts


def network(site):
    """they reach each other by name, and nobody else is there"""
    script = 'for host in $(tail -n 1 "$PBS_NODEFILE") 10.77.0.9; do nc -w 20 $host 9 </dev/null 2>&1; done'
    result = site.tiny(script, *TWO)
    lines = result.out.decode().splitlines()
    assert "refused" in lines[0], result  # which somebody has said
    assert "refused" not in lines[1], result


def no_network(site):
    """net=none: none of it"""
    result = site.tiny("ls /sys/class/net; cat /etc/hosts", *TWO, "-vm", "net=none")
    assert result.out.startswith(b"lo\n127.0.0.1 ") and b"10.77" not in result.out, result


def own_network(site):
    """each job's network is its own, and the machine does not see it"""
    before = Inventory(site)
    with Running(site, WAITS, *TWO) as one, Running(site, WAITS, *TWO) as two:
        for job in (one, two):
            up(job)
        networks = {os.readlink(f"/proc/{engine_of(job).pid}/ns/net") for job in (one, two)} | {os.readlink("/proc/self/ns/net")}
        equal(len(networks), 3)
        for child in [child for child in children(engine_of(one).pid) if child.name == "vtorque-engine"]:
            assert len(os.listdir(f"/proc/{child.pid}/fd")) in (3 + 2, 3 + 2 * 2), "more than a switch or a relay needs"
        equal(set(socket.if_nameindex()), before.before["device"])
    before.check()


def engine_of(job):
    return children(children(job.starter.pid)[0].pid)[0]


def machines_of(job):
    return [child for child in children(engine_of(job).pid) if "qemu" in child.name]


def slots(site):
    """a slot for each, and one job in vmgr list"""
    before = folders(f"{site.run_root()}/*")
    inventory = Inventory(site)
    with Running(site, WAITS, *TWO) as job:
        up(job)
        equal(len(folders(f"{site.run_root()}/*") - before), 2)
        known = job.job()
        equal(sum(other["keeper"] == known["keeper"] for other in site.jobs()), 1)
        equal(known["vms"], 2)
        equal(site.vmgr("end", known["id"]).status, 0)
        job.finish()
    inventory.check()


def machine_killed(site):
    """one machine dies: the job ends, and the reason names it"""
    inventory = Inventory(site)
    with Running(site, WAITS, *TWO) as job:
        up(job)
        second = f"v{os.uname().nodename.split('.')[0].lower()}-{max(slot_of(machine) for machine in machines_of(job))}"
        strike(max(machines_of(job), key=slot_of), signal.SIGKILL)
        result = job.finish()
    assert result.status == 125 and f"vsub: {second}: QEMU died (signal 9)".encode() in result.err, result
    inventory.check()


def slot_of(machine):
    """By QEMU's -name guest=vHOST-SLOT."""
    with open(f"/proc/{machine.pid}/cmdline", "rb") as file:
        words = file.read().split(b"\0")
    return int(words[words.index(b"-name") + 1].split(b",")[0].rsplit(b"-", 1)[1])


def guest_panics(site):
    """the second guest panics: the same"""
    inventory = Inventory(site)
    with Running(site, WAITS, *TWO) as job:
        up(job)
        with site.control(job.job()["slot"], CTL_FAULT, FAULT_PANIC, b"\1"):
            result = job.finish()
    assert result.status == 125 and re.search(rb"vsub: v[a-z0-9-]+-\d+: the guest's kernel panicked: ", result.err), result
    inventory.check()


def keeper_killed(site):
    """the keeper is killed: both slots are free for the next"""
    inventory = Inventory(site)
    with Running(site, WAITS, *TWO) as job:
        up(job)
        strike(children(job.starter.pid)[0], signal.SIGKILL)
        job.finish()
    equal(site.vmgr("list").status, 0)
    inventory.check()


def late_machine(site):
    """one that is not ready in time is named"""
    inventory = Inventory(site)
    result = site.tiny("true", *TWO, "-vm", "boot_timeout=1")
    assert result.status == 125 and re.search(rb"vsub: v[a-z0-9-]+-\d+: the guest was not ready after 1 s", result.err), result
    inventory.check()


ROWS = (counts, network, no_network, own_network, slots, machine_killed, guest_panics, keeper_killed, late_machine)


def main():
    rows = (counts, slots, machine_killed) if is_sanitized() else ROWS
    with contextlib.ExitStack() as stack:
        sites = {"user" if os.getuid() else "root": stack.enter_context(Site("KILL_GRACE=1"))}
        if os.getuid() == 0:
            sites["user"] = stack.enter_context(Site("KILL_GRACE=1", stack.enter_context(TemporaryUser())))
        run_tests([row(test, site, who) for who, site in sites.items() for test in rows], jobs=1)


if __name__ == "__main__":
    main()
