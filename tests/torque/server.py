#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pbs_server and pbs_sched of the stand-in: jobs, their states, who runs where. What nodes do is mom.py's.

Runs as root. A client is whom the kernel says it is. Everything happens in callbacks of one loop, at once: a job is
scheduled when it comes (facts 6).
"""

import grp
import os
import pwd
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from common import Loop, Peer, Place, SCRIPT_LIMIT, daemonize, end_with, format_time, listen, parse_time, write_file

KILL_DELAY = 2  # facts 2
RETRY = 1  # facts 1.4: a job whose start failed is started again within 1 to 3 s
ERRORS = {"unknown": (15001, "Unknown Job Id Error"), "unauthorized": (15007, "Unauthorized Request"),
          "state": (15018, "Request invalid for state of job"), "resource": (15035, "Unknown resource type"),
          "nodes": (15046, "Job exceeds queue resource limits MSG=cannot locate feasible nodes (nodes file is empty, "
                           "all systems are busy, or no nodes have the requested feature)"),
          "depend": (15064, "Invalid dependency"), "illegal": (15014, "Illegal attribute or resource value")}


class Refused(Exception):
    """A client's request that is not carried out; the word is a key of ERRORS."""


class Job:
    """One job, or one of an array. What clients gave stands in `fields`."""

    def __init__(self, seq, server, fields, index=None):
        self.seq, self.server, self.fields, self.index = seq, server, fields, index
        self.id = f"{seq}.{server}" if index is None else f"{seq}[{index}].{server}"
        self.prefix = f"{seq}.{server}" if index is None else f"{seq}-{index}.{server}"  # facts 1.3
        self.name = fields["name"] if index is None else f"{fields['name']}-{index}"  # facts 1.1
        self.resources = dict(fields["resources"])
        self.holds = set(fields["holds"])
        self.state, self.comment, self.exit_status = "Q", None, None
        self.hosts, self.run, self.session, self.used = [], 0, 0, {}
        self.start_time, self.retry_at, self.rerun, self.deleted = 0, 0, False, False
        self.created = self.changed = time.time()

    def set_state(self, state):
        self.state, self.changed = state, time.time()

    def attributes(self):
        """What qstat -f shows."""
        fields = self.fields
        host = fields["host"]
        rows = [("Job_Name", self.name), ("Job_Owner", f"{fields['user']}@{host}")]
        rows += [(f"resources_used.{name}", value) for name, value in self.used.items()]
        rows += [("job_state", self.state), ("queue", fields["queue"]), ("server", self.server),
                 ("Checkpoint", fields["checkpoint"]), ("ctime", time.ctime(self.created)),
                 ("Error_Path", f"{host}:{self.path('error')}"), ("exec_host", self.exec_host()),
                 ("Hold_Types", "".join(sorted(self.holds)) or "n"), ("Join_Path", fields["join"]),
                 ("Keep_Files", fields["keep"]), ("Mail_Points", fields["mail"]), ("mtime", time.ctime(self.changed)),
                 ("Output_Path", f"{host}:{self.path('output')}"), ("Priority", fields["priority"]),
                 ("qtime", time.ctime(self.created)), ("Rerunable", "True" if fields["rerunable"] else "False")]
        rows += [(f"Resource_List.{name}", value) for name, value in sorted(self.resources.items())]
        rows += [("Account_Name", fields["account"]), ("session_id", self.session or None),
                 ("Variable_List", ",".join(f"{name}={escape(value)}" for name, value in fields["variables"].items())),
                 ("euser", fields["user"] if self.run else None), ("egroup", fields["group"] if self.run else None),
                 ("comment", self.comment), ("etime", time.ctime(self.created)), ("exit_status", self.exit_status),
                 ("submit_args", fields["submit_args"]),
                 ("job_array_id", self.index), ("start_time", time.ctime(self.start_time) if self.start_time else None),
                 ("start_count", self.run or None), ("init_work_dir", fields["init_work_dir"]),
                 ("submit_host", host), ("x", fields["x"]), ("depend", fields["depend"])]
        return [(name, str(value)) for name, value in rows if value not in (None, "")]

    def path(self, kind):
        """Where standard output or error goes; a directory gets a file of the default name. An array's jobs: NAME.oNUMBER-INDEX, and a
        path that was given gets -INDEX, too (seen)."""
        path, is_folder = self.fields[kind]
        path = f"{path.rstrip('/')}/{self.fields['name']}.{kind[0]}{self.seq}" if is_folder else path
        return path if self.index is None else f"{path}-{self.index}"

    def exec_host(self):
        return "+".join(f"{host}/{slot}" for host, slots in self.hosts for slot in slots)

    def slots(self):
        return [(host, slot) for host, slots in self.hosts for slot in slots]


def escape(value):
    return value.replace("\\", "\\\\").replace(",", "\\,")


class Node:
    """A mom's machine: properties, slots, and the connection while the mom lives."""

    def __init__(self, name, count, properties):
        self.name, self.count, self.properties, self.peer, self.message, self.is_down = name, count, properties, None, None, False


class Server:
    """All jobs and nodes."""

    def __init__(self, place, loop):
        self.place, self.loop = place, loop
        self.name = socket.gethostname()
        self.jobs, self.nodes, self.arrays, self.next = {}, {}, {}, 1
        with open(f"{place.server}/nodes", encoding="ascii") as file:
            for name, count, *properties in (line.split() for line in file):
                self.nodes[name] = Node(name, int(count.removeprefix("np=")), properties)
        self.listener = listen(place.socket, 0o666)
        loop.watch(self.listener, self.accept)

    def accept(self):
        connection, _ = self.listener.accept()
        Peer(self.loop, connection, self.take, self.lost)

    def take(self, peer, message):
        """A message of a mom, or the one request of a client."""
        uid = struct.unpack("3i", peer.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        action = message.pop("do")
        if action.startswith("mom_") and uid == 0:
            getattr(self, action)(peer, **message)
            return
        try:
            answer = getattr(self, f"client_{action}")(uid, **message)
            peer.send(**(answer or {}))
        except Refused as error:
            number, text = ERRORS[str(error)]
            peer.send(error=number, text=text)
        self.schedule()

    # Clients

    def get_job(self, job_id, uid=None):
        """The jobs of an id: one, or all of an array. With `uid` only the owner and root may."""
        job_id = job_id.partition(".")[0]
        jobs = [job for job in self.jobs.values() if job.id.partition(".")[0] == job_id or f"{job.seq}[]" == job_id and job.index is not None]
        if not jobs:
            raise Refused("unknown")
        if uid not in (None, 0, jobs[0].fields["uid"]):
            raise Refused("unauthorized")
        return jobs

    def client_submit(self, uid, fields, script):
        if uid == 0:
            raise Refused("unauthorized")  # facts 3
        entry = pwd.getpwuid(uid)
        fields.update(uid=uid, gid=entry.pw_gid, user=entry.pw_name, group=group_name(entry.pw_gid), queue=fields["queue"] or "batch")
        resources = fields["resources"]
        resources.setdefault("walltime", "01:00:00")  # facts 1.1: defaults are in the hooks' list, too
        if not {"nodes", "procs", "ncpus"} & set(resources):
            resources["nodes"] = "1"
        if "nodes" in resources:
            resources["neednodes"] = resources["nodes"]
        specs = parse_nodes(resources)
        if any(not self.matching(spec) for spec in specs):
            raise Refused("nodes")  # facts 4: an unknown property is a submit error
        resources["nodect"] = str(len(specs))
        seq, self.next = self.next, self.next + 1
        write_file(f"{self.place.server}/jobs/{seq}.SC", script.encode("latin-1")[:SCRIPT_LIMIT], 0o600)
        fields["variables"].update(PBS_O_QUEUE=fields["queue"], PBS_O_SERVER=self.name)
        indices, limit = parse_array(fields["array"])
        if fields["depend"]:
            self.check_depend(fields["depend"])
        for index in indices:
            job = Job(seq, self.name, fields, index)
            self.jobs[job.id] = job
        if indices != [None]:
            self.arrays[seq] = limit
        job_id = f"{seq}.{self.name}" if indices == [None] else f"{seq}[].{self.name}"
        # facts 8.5: the job is there all the same
        return {"id": job_id} if len(script) <= SCRIPT_LIMIT else {"error": 15001, "text": "cannot locate new job"}

    def client_status(self, _uid, ids=()):
        jobs = [job for job_id in ids for job in self.get_job(job_id)] if ids else self.jobs.values()
        return {"jobs": [{"id": job.id, "user": job.fields["user"], "attributes": job.attributes()} for job in jobs]}

    def client_nodes(self, _uid):
        return {"nodes": [{"name": node.name, "np": node.count, "properties": node.properties, "message": node.message,
                           "state": "down" if not node.peer or node.is_down else "job-exclusive" if not self.free(node) else "free",
                           "jobs": [f"{slot}/{job.id}" for job in self.active() for host, slot in job.slots() if host == node.name]}
                          for node in self.nodes.values()]}

    def client_delete(self, uid, id, delay=None, purge=False):
        for job in self.get_job(id, uid):
            if purge:  # facts 2: the server forgets it; the mom learns it at its next update
                if uid:
                    raise Refused("unauthorized")
                del self.jobs[job.id]
            elif job.state == "C":
                raise Refused("state")
            elif job.state in "QHW":
                job.set_state("C")
                self.finished(job)
            else:
                job.deleted = True
                self.end(job, delay)

    def client_rerun(self, uid, id):
        for job in self.get_job(id):
            if uid:
                raise Refused("unauthorized")
            if job.state != "R":
                raise Refused("state")
            self.run_again(job)
            self.end(job)

    def run_again(self, job):
        job.rerun = True
        peer = self.nodes[job.hosts[0][0]].peer
        if peer:
            peer.send(do="rerun", id=job.id)

    def end(self, job, delay=None):
        """TERM, and KILL later."""
        self.signal(job, "TERM")
        delay = KILL_DELAY if delay is None and job.fields["kill_delay"] is None else job.fields["kill_delay"] if delay is None else delay
        self.loop.after(delay, self.kill, job, job.rerun)

    def kill(self, job, is_rerun):
        """facts 2: the KILL is for the job's id, whatever run it has come to by then; qrerun's has that run started once more (seen)."""
        if job.state in "RE":
            if is_rerun:
                self.run_again(job)
            self.signal(job, "KILL")

    def signal(self, job, name):
        peer = self.nodes[job.hosts[0][0]].peer
        if peer:
            peer.send(do="signal", id=job.id, name=name)

    def client_signal(self, uid, id, name):
        for job in self.get_job(id, uid):
            if job.state != "R":
                raise Refused("state")
            self.signal(job, name)

    def client_hold(self, uid, id, types):
        for job in self.get_job(id, uid):
            job.holds |= set(types)

    def client_release(self, uid, id, types):
        for job in self.get_job(id, uid):
            job.holds -= set(types)

    def client_alter(self, uid, id, resources, comment=None, name=None):
        for job in self.get_job(id, uid):
            if resources and job.state not in "QHW":
                raise Refused("unauthorized")  # facts 4
            job.resources.update(resources)
            for key in [key for key, value in job.resources.items() if not value]:
                del job.resources[key]  # facts 8.1: empty is absent
            job.comment, job.name = comment or job.comment, name or job.name

    # Dependencies and arrays

    def check_depend(self, text):
        for kind, ids in parse_depend(text):
            if kind not in ("after", "afterok", "afternotok", "afterany", "afterokarray", "afternotokarray", "afteranyarray"):
                raise Refused("depend")
            for job_id in ids:
                self.get_job(job_id)

    def dependency(self, job):
        """True: may run; False: has to wait; None: never can."""
        result = True
        for kind, ids in parse_depend(job.fields["depend"]):
            for other in (other for job_id in ids for other in self.get_job(job_id)):
                ok = other.exit_status == 0
                if kind == "after":
                    done, good = other.state in "REC", True
                else:
                    done, good = other.state == "C", "any" in kind or ok == ("notok" not in kind)
                if done and not good:
                    return None
                result = result and done
        return result

    # Scheduling

    def active(self):
        return [job for job in self.jobs.values() if job.state in "RE"]

    def matching(self, spec):
        count, words = spec
        return [node for node in self.nodes.values() if node.count >= count and all(word == node.name or word in node.properties for word in words)]

    def free(self, node):
        """The numbers of its free slots; none if it is down, or if a job has it for itself (-n)."""
        jobs = [job for job in self.active() if any(host == node.name for host, _ in job.hosts)]
        if node.is_down or any(job.fields["exclusive"] for job in jobs):
            return []
        taken = {slot for job in jobs for host, slot in job.slots() if host == node.name}
        return [slot for slot in range(node.count) if slot not in taken]

    def allocate(self, job):
        """[[host, [slot, ...]], ...], or nothing. Parts of one specification get nodes of their own."""
        hosts = []
        for count, words in parse_nodes(job.resources):
            named = any(word in self.nodes for word in words)
            for node in self.matching((count, words)):
                mine = [slot for host, slots in hosts if host == node.name for slot in slots]
                free = [slot for slot in self.free(node) if slot not in mine] if node.peer else []
                if job.fields["exclusive"] and len(free) < node.count or mine and not named:
                    continue
                if len(free) >= count:
                    hosts.append([node.name, free[:count]])
                    break
            else:
                return None
        return hosts

    def schedule(self):
        """Starts all that can be. Asked after every event."""
        for job in list(self.jobs.values()):
            if job.state not in "QHW":
                continue
            ready = self.dependency(job)
            if ready is None:
                job.exit_status = 271  # seen
                job.set_state("C")
                self.finished(job)
                continue
            wait = job.fields["start_at"] - time.time()
            state = "H" if job.holds or not ready else "W" if wait > 0 else "Q"
            if state != job.state:
                job.set_state(state)
                if state == "W":
                    self.loop.after(wait, self.schedule)
            limit = self.arrays.get(job.seq)
            if state == "Q" and job.retry_at <= time.time() and not (limit and sum(other.seq == job.seq for other in self.active()) >= limit):
                hosts = self.allocate(job)
                if hosts:
                    self.start(job, hosts)

    def start(self, job, hosts):
        job.hosts, job.run, job.start_time, job.rerun = hosts, job.run + 1, time.time(), False
        job.set_state("R")
        job.comment = f"Job started on {time.strftime('%a %b %d at %H:%M')}"  # facts 2: all that a user sees of a failure
        keys = ("uid", "gid", "user", "group", "queue", "account", "variables", "shell", "arguments", "directory", "keep",
                "join", "checkpoint", "jobtype", "umask", "exclusive", "interactive", "command")
        self.nodes[hosts[0][0]].peer.send(
            do="run", id=job.id, prefix=job.prefix, number=str(job.seq), name=job.name, index=job.index, run=job.run, hosts=hosts, server=self.name,
            resources=job.resources, output=job.path("output"), error=job.path("error"),
            script=f"{self.place.server}/jobs/{job.seq}.SC", **{key: job.fields[key] for key in keys})

    def finished(self, job):
        """The job's script is kept as long as one of its array may need it."""
        if all(other.state == "C" for other in self.jobs.values() if other.seq == job.seq):
            try:
                os.unlink(f"{self.place.server}/jobs/{job.seq}.SC")
            except FileNotFoundError:
                pass

    # Moms

    def mom_hello(self, peer, node, jobs):
        """A mom has come. What it does not know of any more starts anew (not on the page of facts: chosen)."""
        self.nodes[node].peer, self.nodes[node].message, self.nodes[node].is_down = peer, None, False
        for job in self.active():
            if job.hosts[0][0] == node and job.id not in jobs:
                self.requeue(job, -3)
        self.schedule()

    def mom_update(self, peer, node, jobs, message):
        if message:
            self.nodes[node].message, self.nodes[node].is_down = message, True
        peer.send(do="unknown", ids=[job_id for job_id in jobs if job_id not in self.jobs])

    def mom_message(self, _peer, node, text):
        self.nodes[node].message = text  # facts, finding 8

    def mom_relay(self, _peer, to, message):
        """From a job's first node to its others and back."""
        if self.nodes[to].peer:
            self.nodes[to].peer.send(**message)

    def mom_state(self, _peer, id, run, session=None, ending=False):
        job = self.jobs.get(id)
        if job and job.run == run:
            job.session = session or job.session
            if ending and job.state == "R":
                job.set_state("E")

    def mom_obit(self, _peer, id, run, status, used):
        job = self.jobs.get(id)
        if not job or job.run != run or job.state not in "RE":
            return
        job.used, job.exit_status = used, status
        if (status == -3 or job.rerun) and not job.deleted:
            self.requeue(job, status)
        else:
            job.set_state("C")
            self.finished(job)
        self.schedule()

    def requeue(self, job, status):
        job.exit_status, job.hosts = status, []
        job.set_state("Q")
        if not job.rerun:  # qrerun: started again at once (facts 2)
            job.retry_at = time.time() + RETRY
            self.loop.after(RETRY, self.schedule)

    def lost(self, peer):
        for node in self.nodes.values():
            if node.peer is peer:
                node.peer = None


def group_name(gid):
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def parse_nodes(resources):
    """One (slots, properties) for each node of `2:ppn=4+1:big`, of procs=. ncpus= is one slot (seen)."""
    if "nodes" not in resources:
        return [(int(resources.get("procs", 1)), [])]
    specs = []
    for part in resources["nodes"].partition("#")[0].split("+"):
        words = part.split(":")
        count = int(words.pop(0)) if words[0].isdigit() else 1
        ppn = next((int(word[4:]) for word in words if word.startswith("ppn=")), 1)
        specs += [(ppn, [word for word in words if "=" not in word])] * count
    return specs


def parse_array(text):
    """The indices and the slot limit of `0-3,7%2`."""
    if not text:
        return [None], None
    text, _, limit = text.partition("%")
    indices = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        indices += range(int(first), int(last or first) + 1)
    return indices, int(limit) if limit else None


def parse_depend(text):
    for part in (text or "").split(","):
        kind, *ids = part.split(":")
        if kind:
            yield kind, ids


def main():
    place = Place.of(sys.argv[0])
    loop = Loop()
    ready = daemonize(f"{place.server}/server.lock", f"{place.base}/log")
    Server(place, loop)
    end_with(loop, place, lambda: os._exit(0))
    ready()
    loop.run()


if __name__ == "__main__":
    main()
