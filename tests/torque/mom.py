#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""pbs_mom of the stand-in: starts and ends jobs on one node and runs the site's scripts around them.

Theory of operation. One process with one loop; what blocks a real mom blocks this one, too (facts 1: presetup_prologue, the
scripts of sisters, epilogue.precancel, and the first 5 s of prologue). On its first node a job goes through

  joining   -> the other nodes (sisters) run prologue.parallel; without sisters at once:
  starting  -> a child, the starter, runs prologue and what follows it. It becomes the job's shell when the mom says so,
               and ends when the mom has gone or has forgotten the job meanwhile
  running   -> until the shell ends
  ending    -> sisters run epilogue.parallel; then a child runs the epilogues; then output is delivered

A mom that was killed reads at its next start from the files *.TK what it had running.
"""

import contextlib
import fcntl
import json
import os
import pwd
import re
import select
import shutil
import signal
import socket
import struct
import sys
import termios
import time
import xml.sax.saxutils

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import cgroups
from common import Loop, Peer, Place, connect, daemonize, end_with, format_time, parse_size, parse_time, write_file
from process import QUIET, fork, kill_session, may_run, measure_session, run_script, set_limits, start_of, user_groups

FOR_MOM = ("neednodes", "nodes", "walltime", "cput", "pcput", "mem", "pmem", "vmem", "pvmem", "ncpus", "procs", "file", "nice", "gres",
           "other", "mpplabels", "mppnodes", "mpphost", "mpparch", "procs_bitmap", "prologue", "epilogue")  # facts 1.1, 4
MOAB = [f"MOAB_{word}" for word in "NODELIST JOBID JOBNAME USER GROUP CLASS TASKMAP QOS PARTITION PROCCOUNT NODECOUNT MACHINE "
        "JOBARRAYINDEX JOBARRAYRANGE".split()]
DEFAULTS = {"$prologalarm": "300", "$check_poll_time": "45", "$status_update_time": "45", "$resend_join_job_wait_time": "300",
            "$job_exit_wait_time": "600", "$jobstartblocktime": "5"}
NOTHING_USED = {"cput": "00:00:00", "vmem": "0kb", "walltime": "00:00:00", "mem": "0kb"}
ABORT, RETRY, OVER_MEMORY, OVER_WALLTIME, OVER_CPUT = -2, -3, -10, -11, -12  # facts 2


class Job:
    """What this node knows of a job."""

    def __init__(self, facts, node):
        self.facts, self.state, self.session, self.status, self.used = facts, "joining", 0, 0, NOTHING_USED
        self.__dict__.update(facts)
        self.ms = self.hosts[0][0]
        self.sisters = [host for host, _ in self.hosts[1:] if host != self.ms]
        self.nodenum = [host for host, _ in self.hosts].index(node)  # facts 1.2
        self.entry = pwd.getpwuid(self.uid)
        self.waiting, self.killed, self.started, self.over = set(self.sisters), False, 0, None
        self.starter, self.to_starter, self.from_starter, self.is_child, self.rerun = 0, None, None, True, False
        self.limits = {name: parse_time(self.resources[name]) for name in ("walltime", "cput") if name in self.resources}
        if "mem" in self.resources:
            self.limits["mem"] = parse_size(self.resources["mem"])

    def slots(self):
        return [host for host, slots in self.hosts for _ in slots]

    def resource_list(self):
        """argv 5 of the prologues. facts 1.1: not escaped; what does not fit into 2048 bytes is left out."""
        words, size = [], 0
        for name, value in self.resources.items():
            word = f"{name}={value}"
            if name in FOR_MOM and size + len(word) + 1 < 2048:
                words.append(word)
                size += len(word) + 1
        return ",".join(words)

    def used_list(self):
        return ",".join(f"{name}={value}" for name, value in {**self.used, "energy_used": 0}.items())


class Mom:
    """One node."""

    def __init__(self, place, loop, node):
        self.place, self.loop, self.node, self.home = place, loop, node, place.home
        self.private = f"{self.home}/mom_priv"
        self.jobs, self.cleaning, self.config = {}, [], read_config(f"{self.private}/config")
        self.message = ""  # to the server, at each update
        alarm = int(self.config["$prologalarm"])
        self.script_time = alarm - 10 if alarm > 10 else alarm  # facts 1.5
        starter = self.config.get("$job_starter")
        self.starter_program = starter if starter and os.access(starter, os.X_OK) else None  # there when the mom starts, or never (seen)
        self.environment = read_environment(f"{self.home}/pbs_environment")
        self.cgroups = cgroups.Cgroups() if os.path.exists(f"{place.base}/cgroups") else None
        self.server = Peer(loop, connect(place.socket), self.take, lambda _: os._exit(1))
        self.resume()
        self.server.send(do="mom_hello", node=node, jobs=list(self.jobs))
        self.poll()
        self.update()

    def take(self, _peer, message):
        getattr(self, "on_" + message.pop("do"))(**message)

    def tell(self, to, **message):
        self.server.send(do="mom_relay", to=to, message=message)

    # Scripts

    def hook_environment(self, job, is_root, has_file):
        """facts 1.2: complete, nothing else is set. The user decides what the last ones say."""
        environment = {**self.environment, **hook_counts(job), "PBS_MSHOST": job.ms, "PBS_NODENUM": str(job.nodenum),
                       "PBS_O_WORKDIR": job.variables["PBS_O_WORKDIR"], "PBS_CPUCLOCK": ""}
        if has_file and job.nodenum == 0:
            environment["PBS_NODEFILE"] = self.node_file(job)
        if "gres" in job.resources:
            environment["PBS_RESOURCE_GRES"] = job.resources["gres"]
        if "$tmpdir" in self.config:
            environment["TMPDIR"] = f"{self.config['$tmpdir']}/{job.id}"
        for name in ("PBS_SCHED_HINT", "BEOWULF_JOB_MAP", *(MOAB if is_root else ())):
            if name in job.variables:
                environment[name] = job.variables[name]
        return environment

    @staticmethod
    def counts(job):
        return {"PBS_NUM_NODES": str(len(job.hosts)), "PBS_NUM_PPN": str(len(job.hosts[0][1])), "PBS_NP": str(len(job.slots()))}

    def node_file(self, job):
        return f"{self.home}/aux//{job.id}"

    def script_copy(self, job):
        return f"{self.private}/jobs/{job.prefix}.SC"

    def prologue_words(self, job):
        """facts 1.1"""
        return [job.id, job.user, job.group, job.name, job.resource_list(), job.queue, job.account, self.script_copy(job)]

    def epilogue_words(self, job):
        first = job.nodenum == 0
        return [job.id, job.user, job.group, job.name, str(job.session if first else 0), job.resource_list(), job.used_list(), job.queue, job.account,
                str(job.status if first else 0), self.script_copy(job)]

    def hook(self, job, name, words, fds=QUIET, umask=0o022, has_file=True, with_groups=False, own=None):
        """Runs one script to its end, that of mom_priv or a user's `own`: its exit code; 0 also if there is none."""
        path = own or self.find_hook(name, job.jobtype)
        if not os.path.exists(path):
            return 0
        if "$reduce_prolog_checks" not in self.config and not may_run(path, job.uid if own else 0, for_all=".user" in name):
            return -1
        is_user = ".user" in name or name == "epilogue.precancel" or own is not None
        ids = (job.uid, job.gid, user_groups(job)) if is_user else (0, 0, user_groups(job) if with_groups else [0])
        return run_script([path, *words], self.hook_environment(job, not is_user, has_file), ids,
                          job.entry.pw_dir if is_user else self.private, umask, fds, self.script_time)

    def find_hook(self, name, jobtype):
        """facts 1.4, -T: prologue.NAME if there is one"""
        chosen = f"{self.private}/{name}.{jobtype}"
        return chosen if jobtype and os.path.exists(chosen) else f"{self.private}/{name}"

    # First node: start

    def on_run(self, **facts):
        job = Job(facts, self.node)
        copy = self.script_copy(job)
        if os.path.exists(copy):  # facts 8.4: the cleaning of another run is not done
            self.server.send(do="mom_obit", id=job.id, run=job.run, status=RETRY, used={})
            return
        self.jobs[job.id] = job
        if not job.interactive:
            with open(job.script, "rb") as file:
                write_file(copy, file.read(), 0o700)
        presetup = self.config.get("$presetup_prologue")
        if presetup and os.path.exists(presetup):  # its exit code is ignored
            words = [*self.prologue_words(job), ",".join(dict.fromkeys(job.slots()))]
            run_script([presetup, *words], self.hook_environment(job, True, False), (0, 0, [0]), self.private, 0o022, QUIET, self.script_time)
        self.make_cgroup(job)  # facts 8.4: not there before
        self.join(job)

    def make_cgroup(self, job):
        if self.cgroups:
            self.cgroups.make(job.id, dict(job.hosts)[self.node], job.resources, job.exclusive, len(job.hosts))

    def join(self, job):
        for host in job.waiting:
            self.tell(host, do="join", facts=job.facts)
        if not job.waiting:
            self.start(job)
        else:
            self.loop.after(float(self.config["$resend_join_job_wait_time"]), self.join_again, job)

    def join_again(self, job):
        """facts, finding 9: a sister that is late is asked again, and runs its prologue.parallel twice."""
        if self.jobs.get(job.id) is job and job.state == "joining":
            self.join(job)

    def on_joined(self, id, run, host, status):
        job = self.jobs.get(id)
        if not job or job.run != run or job.state != "joining":
            return
        job.waiting.discard(host)
        if status:
            self.fail_start(job, RETRY)  # facts 1.4: even 1 means once more; prologue never runs
        elif not job.waiting:
            self.start(job)

    def start(self, job):
        job.state = "starting"
        if not job.interactive:
            os.chown(self.script_copy(job), job.uid, job.gid)  # facts 1.3: the user's before prologue
        for suffix in ("OU", "ER") if not job.interactive else ():
            if not os.path.exists(f"{self.home}/spool/{job.prefix}.{suffix}"):  # after qrerun it is
                write_file(f"{self.home}/spool/{job.prefix}.{suffix}", b"", 0o600, (job.uid, job.gid))
        hosts = job.variables["BEOWULF_JOB_MAP"].split(":") if "BEOWULF_JOB_MAP" in job.variables else job.slots()  # facts 1.2
        write_file(self.node_file(job), "".join(f"{host}\n" for host in hosts), 0o644)
        if job.sisters:
            self.save(job)  # facts 1.3: of one node there is no .JB yet
        mine, starters = os.pipe()  # what the starter says
        starters_too, mine_too = os.pipe()  # what the mom answers
        job.hung_up, carriers = os.pipe() if job.interactive else (-1, -1)
        job.starter = fork(self.starter, job, starters, starters_too, carriers, keep=(starters, starters_too, carriers))
        if job.interactive:
            os.close(carriers)
        job.from_starter, job.to_starter = mine, mine_too
        os.close(starters)
        os.close(starters_too)
        block = float(self.config["$jobstartblocktime"])
        if select.select([mine], [], [], block)[0]:
            self.heard(job)
        else:
            self.loop.watch(mine, lambda: (self.loop.unwatch(mine), self.heard(job)))
            self.loop.after(max(0, int(self.config["$prologalarm"]) - block), self.too_long, job)

    def too_long(self, job):
        """facts 1.5: longer in the start than $prologalarm"""
        if self.jobs.get(job.id) is job and job.state == "starting":
            self.drop_starter(job)
            self.fail_start(job, RETRY)

    def fail_start(self, job, status):
        """facts, finding 3: no epilogue.parallel anywhere, only the epilogues of the first node."""
        job.killed, job.waiting = True, set()
        for sister in job.sisters:
            self.tell(sister, do="forget", id=job.id)
        self.finish(job, status)

    def heard(self, job):
        """The starter is through with its scripts, or has failed."""
        text = os.read(job.from_starter, 100).decode()
        if text != "ready":
            self.drop_starter(job)
            self.fail_start(job, int(text or RETRY))
            return
        job.state, job.session, job.started = "running", job.starter, time.time()
        self.save(job)
        self.server.send(do="mom_state", id=job.id, run=job.run, session=job.session)
        self.loop.watch_process(job.starter, lambda: self.shell_ended(job))
        try:
            os.write(job.to_starter, b"x")
        except BrokenPipeError:
            pass  # dead already: shell_ended says how
        os.close(job.to_starter)
        os.close(job.from_starter)

    def drop_starter(self, job):
        """It goes on with its scripts (facts, finding 4) and becomes no shell any more."""
        if job.from_starter in self.loop.selector.get_map():
            self.loop.unwatch(job.from_starter)
        os.close(job.to_starter)
        os.close(job.from_starter)
        self.loop.watch_process(job.starter, lambda: os.waitpid(job.starter, 0))

    def starter(self, job, writer, reader, carriers):
        """The child: prologues, then the job's shell."""
        if self.cgroups:
            self.cgroups.enter(job.id)  # facts 1.6: before prologue
        streams = self.open_terminal(job, carriers) if job.interactive else self.open_streams(job)
        # facts 1.3: prologue inherits two sockets, the script's pipe and the starter's. facts 8.5: the job keeps 8 and 14.
        sockets = [socket.create_server(("127.0.0.1", 0)).detach() for _ in range(2)]
        fds = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 50) for fd in (sockets[0], *os.pipe(), writer, reader, sockets[1], *streams)]
        os.closerange(3, 50)
        for number, fd in zip((8, 9, 10, 11, 12, 14), fds):
            # facts 1.6: no descriptor that a daemon keeps holds up the job, so the script's pipe is inherited for reading alone.
            os.dup2(fd, number, inheritable=number not in (10, 12))
            os.close(fd)
        pipe, script, writer, reader, streams = 9, 10, 11, 12, fds[6:]
        own = job.resources.get("prologue")
        for name, path in (("prologue", None), ("prologue.user", None), *([("prologue", own)] if own else ())):
            status = self.hook(job, name, self.prologue_words(job), fds=streams, umask=0o077, with_groups=True, own=path)
            if status:
                with contextlib.suppress(BrokenPipeError):  # no mom any more
                    os.write(writer, str(ABORT if status == 1 else RETRY).encode())  # facts 1.4
                os._exit(1)
        os.setsid()
        try:
            os.write(writer, b"ready")
        except BrokenPipeError:
            os._exit(1)  # no mom any more
        if not os.read(reader, 1):
            os._exit(1)
        os.close(writer)
        os.close(reader)
        self.become_shell(job, streams, pipe, script)

    def open_streams(self, job):
        """facts 8.2: only for writing, at the end"""
        names = {"oe": ("OU", "OU"), "eo": ("ER", "ER")}.get(job.join, ("OU", "ER"))
        return tuple(os.open(f"{self.home}/spool/{job.prefix}.{name}", os.O_WRONLY | os.O_APPEND) for name in names)

    def open_terminal(self, job, carriers):
        """facts 8.3: qsub's terminal is prologue's, too. A child carries what is typed and shown (a simplification: the real one's stands
        between)."""
        qsub = socket.create_connection(("127.0.0.1", job.interactive))
        hello = json.loads(qsub.makefile("rb", 0).readline())
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", hello["rows"], hello["columns"], 0, 0))  # the only time
        os.fchown(slave, job.uid, job.gid)
        job.term = hello["term"]
        ends = (qsub.detach(), master, carriers)
        fork(carry, os.getpid(), *ends, keep=ends)
        return slave, os.dup(slave)

    def become_shell(self, job, streams, pipe, script):
        """facts 3: the login shell reads one line: the path of the script's copy and the -F words. At a terminal: the shell, or the one word of
        -x, which gets no arguments (facts 8.3)."""
        prefix = "exec " if self.config.get("$exec_with_exec") == "true" else ""
        os.write(script, f"{prefix}{self.script_copy(job)}{' ' if job.arguments else ''}{job.arguments}\n".encode())
        os.close(script)
        if job.interactive:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
            os.dup2(streams[0], pipe)
        os.dup2(pipe, 0)
        os.close(pipe)
        os.dup2(streams[0], 1)
        os.dup2(streams[1], 2)
        shell = job.shell or job.entry.pw_shell or "/bin/sh"
        argv, program = [f"-{os.path.basename(shell)}"], shell
        starter = self.starter_program
        if starter:  # facts 5
            argv, program = [starter, shell], starter
        if job.command:
            argv, program = [job.command], job.command
        set_limits(job.resources)
        os.umask(int(job.umask or "077", 8))
        os.setgroups(user_groups(job))
        if not (starter and self.config.get("$job_starter_run_privileged") == "true"):
            os.setresgid(job.gid, job.gid, job.gid)
            os.setresuid(job.uid, job.uid, job.uid)
        try:
            os.chdir(job.directory or job.entry.pw_dir)
        except OSError as error:
            os.write(2, f"PBS: chdir to '{error.filename}' failed: {error.strerror}\n".encode())
        os.execve(program, argv, self.job_environment(job))

    def job_environment(self, job):
        """facts 5"""
        environment = {**self.environment, **job.variables, **self.counts(job), "HOME": job.entry.pw_dir, "LOGNAME": job.user, "USER": job.user,
                       "SHELL": job.entry.pw_shell, "HOSTNAME": self.node, "ENVIRONMENT": "BATCH", "PBS_ENVIRONMENT": "PBS_BATCH",
                       "PBS_JOBID": job.id, "PBS_JOBNAME": job.name, "PBS_QUEUE": job.queue, "PBS_NODEFILE": self.node_file(job),
                       "PBS_GPUFILE": f"{self.node_file(job)}gpu", "PBS_MICFILE": f"{self.node_file(job)}mic",
                       "PBS_JOBCOOKIE": os.urandom(16).hex().upper(), "PBS_MOMPORT": "15003", "PBS_NODENUM": "0", "PBS_VNODENUM": "0",
                       "PBS_TASKNUM": "1", "PBS_WALLTIME": str(job.limits.get("walltime", 0)), "PBS_VERSION": "TORQUE-stand-in"}
        if job.interactive:
            environment.update(PBS_ENVIRONMENT="PBS_INTERACTIVE", TERM=job.term)
        if job.index is not None:
            environment["PBS_ARRAYID"] = str(job.index)
        if "$tmpdir" in self.config:
            environment["TMPDIR"] = f"{self.config['$tmpdir']}/{job.id}"
        return environment

    # First node: signals and limits

    def on_signal(self, id, name):
        job = self.jobs.get(id)
        if not job or job.state in ("ending", "epilogue"):
            return  # facts 8.2: a late KILL kills nothing
        number = int(name) if name.isdigit() else getattr(signal, "SIG" + name.upper().removeprefix("SIG"), 0)
        if job.state != "running":
            if number in (signal.SIGTERM, signal.SIGKILL):
                self.cancel(job)
        elif number == signal.SIGTERM:
            self.terminate(job)
        elif number == signal.SIGKILL:
            kill_session(job.session, number)
        else:  # facts 8.2: four times
            kill_session(job.session, number, 4)

    def on_rerun(self, id):
        if id in self.jobs:
            self.jobs[id].rerun = True

    def terminate(self, job):
        """facts 2: sisters end at once; precancel first here."""
        self.kill_sisters(job)
        self.precancel(job)
        kill_session(job.session, signal.SIGTERM)

    def cancel(self, job):
        """facts 2, qdel during prologue: no script any more, and the job has exit_status 0."""
        was = job.state
        self.precancel(job)
        if was == "starting":
            self.drop_starter(job)
        self.finish(job, 0)

    def precancel(self, job):
        """What fails takes the node down at the next update, until a mom starts anew or a check script has run (seen). That of prologue.parallel
        (finding 8) is only shown here."""
        if self.hook(job, "epilogue.precancel", self.epilogue_words(job)) and "$node_check_script" not in self.config:
            self.message = "ERROR:  precancel epilog failed"

    def poll(self):
        """facts 1.5, 2: limits are looked at each $check_poll_time."""
        for job in [job for job in self.jobs.values() if job.state == "running" and not job.over]:
            self.measure(job)
            seconds, cput = int(time.time() - job.started), parse_time(job.used["cput"])
            rows = (("walltime", seconds, OVER_WALLTIME), ("cput", cput, OVER_CPUT), ("mem", parse_size(job.used["mem"]), OVER_MEMORY))
            for name, value, status in rows:
                if value > job.limits.get(name, value):
                    self.end_over_limit(job, f"{name} {value} exceeded limit {job.limits[name]}", status)
                    break
        self.loop.after(float(self.config["$check_poll_time"]), self.poll)

    def end_over_limit(self, job, text, status):
        job.over = status
        for fd in self.open_streams(job)[1:] if not job.interactive else ():
            os.write(fd, f"=>> PBS: job killed: {text}\n".encode())
        self.terminate(job)
        self.loop.after(5, lambda: job.state == "running" and kill_session(job.session, signal.SIGKILL))

    def measure(self, job):
        """resources_used, of the session's processes, or of the job's cgroup (facts 8.4)."""
        self.use(job, *measure_session(job.session))

    def use(self, job, cpu, memory):
        if self.cgroups:
            cpu, memory = self.cgroups.measure(job.id) or (cpu, memory)
        cpu = max(cpu, parse_time(job.used["cput"]))
        memory = max(memory // 1024, int(job.used["mem"][:-2]))
        job.used = {"cput": format_time(cpu), "vmem": "0kb", "walltime": format_time(time.time() - job.started), "mem": f"{memory}kb"}

    # First node: end

    def shell_ended(self, job):
        """facts 2: the shell's own code; 256+n if a signal ended it. The rest of the session gets TERM, and KILL at once."""
        status = 0  # of a mom that was killed meanwhile, and is not the parent (not on the page of facts: chosen)
        if job.is_child:
            _, status, usage = os.wait4(job.session, 0)
            status = os.waitstatus_to_exitcode(status)
            self.use(job, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
        status = job.over or (status if status >= 0 else 256 - status)
        if job.interactive and job.is_child:  # facts 8.3: whatever came of it; 0 if qsub has hung up
            status = 0 if select.select([job.hung_up], [], [], 0)[0] and os.read(job.hung_up, 1) else 265
        if kill_session(job.session, signal.SIGTERM):
            self.loop.after(0.01, lambda: (kill_session(job.session, signal.SIGKILL), self.finish(job, status)))  # facts 8.2
        else:
            self.finish(job, status)

    def kill_sisters(self, job):
        """Once only, and only those that have joined."""
        if not job.killed:
            job.killed, job.waiting = True, {host for host in job.sisters if host not in job.waiting}
            for host in job.waiting:
                self.tell(host, do="kill", id=job.id)

    def finish(self, job, status):
        job.state, job.status = "ending", status
        self.server.send(do="mom_state", id=job.id, run=job.run, ending=True)
        self.kill_sisters(job)
        if job.waiting:
            self.loop.after(float(self.config["$job_exit_wait_time"]), self.epilogues, job)  # facts 1.5
        else:
            self.epilogues(job)

    def on_killed(self, id, host):
        job = self.jobs.get(id)
        if job:
            job.waiting.discard(host)
            if job.state == "ending" and not job.waiting:
                self.epilogues(job)

    def epilogues(self, job):
        """facts 1: after all sisters have answered, in a child."""
        if job.state != "ending":
            return
        job.state = "epilogue"
        pid = fork(self.run_epilogues, job)
        self.loop.watch_process(pid, lambda: (os.waitpid(pid, 0), self.deliver(job)))

    def run_epilogues(self, job):
        try:
            streams = self.open_streams(job)
        except FileNotFoundError:
            streams = QUIET  # it never came as far
        words = self.epilogue_words(job)
        if "epilogue" in job.resources:
            self.hook(job, "epilogue", words, fds=streams, own=job.resources["epilogue"])
        self.hook(job, "epilogue.user", words, fds=streams)
        self.hook(job, "epilogue", words, fds=streams, with_groups=True)
        os._exit(0)

    def deliver(self, job):
        """facts 1.4: no output of a job that was aborted; it stays in spool."""
        spool = [f"{self.home}/spool/{job.prefix}.{suffix}" for suffix in ("OU", "ER")]
        if job.status in (RETRY, ABORT) or job.rerun or job.interactive:  # the next run appends (seen)
            self.obit(job)
            return
        pid = fork(self.copy_output, job, spool)
        self.loop.watch_process(pid, lambda: (os.waitpid(pid, 0), remove(*spool), self.obit(job)))

    def copy_output(self, job, spool):
        """The child, with the user's rights. What cannot be delivered goes to `undelivered`."""
        fds = [os.open(path, os.O_RDONLY) for path in spool]
        os.umask(0o077)
        os.setgroups(user_groups(job))
        os.setresgid(job.gid, job.gid, job.gid)
        os.setresuid(job.uid, job.uid, job.uid)
        for fd, path, kind, joined in zip(fds, (job.output, job.error), "oe", ("eo", "oe")):
            if job.join == joined:
                continue
            if kind in job.keep:
                path = f"{job.entry.pw_dir}/{job.name}.{kind}{job.number}"
            for name, value in (("PBS_JOBID", job.id), ("PBS_JOBNAME", job.name), ("HOME", job.entry.pw_dir)):
                path = path.replace(f"${{{name}}}", value).replace(f"${name}", value)
            if os.path.isdir(path):
                path = f"{path.rstrip('/')}/{job.name}.{kind}{job.number}"
            try:
                target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            except OSError:
                target = os.open(f"{self.home}/undelivered/{job.id}.{kind}", os.O_WRONLY | os.O_CREAT, 0o600)
            with open(fd, "rb") as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy)
        os._exit(0)

    def obit(self, job):
        del self.jobs[job.id]
        used = {**job.used, "walltime": format_time(time.time() - job.started) if job.started else "00:00:00"}
        remove(self.node_file(job))
        if not self.cgroups:
            self.clean(job)
        self.server.send(do="mom_obit", id=job.id, run=job.run, status=job.status, used=used)
        if self.cgroups:
            self.clean(job)

    def clean(self, job):
        """Files, and the cgroup before them. facts 8.4: one after the other; what cannot be removed holds up all later ones."""
        self.cleaning.append([job, 30])
        if len(self.cleaning) == 1:
            self.clean_next()

    def clean_next(self):
        while self.cleaning:
            job, tries = self.cleaning[0]
            if self.cgroups and not self.cgroups.remove(job.id) and tries:
                self.cleaning[0][1] -= 1
                self.loop.after(1, self.clean_next)
                return
            remove(*(f"{self.private}/jobs/{job.prefix}.{suffix}" for suffix in ("SC", "JB", "TK")))
            self.cleaning.pop(0)

    # Other nodes

    def on_join(self, facts):
        """facts 1: in the mom itself, which does nothing else meanwhile. Also a second time for the same job."""
        job = Job(facts, self.node)
        self.make_cgroup(job)
        words = self.prologue_words(job)
        status = self.hook(job, "prologue.parallel", words, has_file=False) or self.hook(job, "prologue.user.parallel", words, has_file=False)
        if status:
            self.server.send(do="mom_message", node=self.node, text="ERROR: prolog/epilog failed")  # finding 8
        else:
            self.jobs[job.id] = job
            job.state = "sister"
            write_file(f"{self.private}/jobs/{job.prefix}.JB", job_text(job), 0o644)
        self.tell(job.ms, do="joined", id=job.id, run=job.run, host=self.node, status=status)

    def on_kill(self, id):
        job = self.jobs.pop(id, None)
        if job:
            words = self.epilogue_words(job)
            for name in ("epilogue.user.parallel", "epilogue.parallel"):
                self.hook(job, name, words, fds=(None, None))  # facts 1: closed
            self.clean(job)
            self.tell(job.ms, do="killed", id=id, host=self.node)

    def on_forget(self, id):
        """facts, finding 3: of a start that failed anywhere, without any script."""
        job = self.jobs.pop(id, None)
        if job:
            self.clean(job)

    # A mom's life

    def save(self, job):
        state = {"facts": job.facts, "session": job.session, "start": start_of(job.session), "started": job.started}
        write_file(f"{self.private}/jobs/{job.prefix}.JB", job_text(job), 0o644)
        if job.session:
            write_file(f"{self.private}/jobs/{job.prefix}.TK", json.dumps(state), 0o600)

    def resume(self):
        """facts 2: jobs survive their mom; epilogues run after its restart. A sister's .JB is left alone."""
        names = os.listdir(f"{self.private}/jobs")
        for name in [name for name in names if name.endswith(".TK")]:
            with open(f"{self.private}/jobs/{name}", encoding="ascii") as file:
                saved = json.load(file)
            job = Job(saved["facts"], self.node)
            job.waiting, job.is_child = set(), False
            job.state, job.session, job.started = "running", saved["session"], saved["started"]
            self.jobs[job.id] = job
            if start_of(job.session) == saved["start"]:
                self.loop.watch_process(job.session, lambda job=job: self.shell_ended(job))
            else:
                self.loop.after(0, self.shell_ended, job)
        for name in [name for name in names if name.endswith(".SC") and f"{name[:-3]}.TK" not in names]:
            remove(f"{self.private}/jobs/{name}")  # of a start that nobody waits for any more

    def update(self):
        """facts 1.5: each $status_update_time. The server tells which jobs it does not know."""
        self.server.send(do="mom_update", node=self.node, jobs=[job.id for job in self.jobs.values() if job.nodenum == 0], message=self.message)
        self.loop.after(float(self.config["$status_update_time"]), self.update)

    def on_unknown(self, ids):
        """facts 2, qdel -p"""
        for job_id in ids:
            self.on_signal(job_id, "TERM")
            self.loop.after(2, self.on_signal, job_id, "KILL")

    def end(self):
        """The stand-in is over: nothing may stay."""
        for job in self.jobs.values():
            if job.session:
                kill_session(job.session, signal.SIGKILL)
        os._exit(0)


# A job's terminal


def carry(leader, qsub, master, hung_up):
    """Between qsub and the job's terminal, until either is gone. facts 8.3: when it is qsub, the job is killed."""
    os.setsid()
    with contextlib.suppress(OSError):
        while True:
            ready = select.select([qsub, master], [], [])[0]
            if master in ready:
                os.write(qsub, os.read(master, 65536))  # an error at its end
            if qsub in ready:
                data = os.read(qsub, 65536)
                if not data:
                    break
                os.write(master, data)
    if not os.path.exists(f"/proc/{leader}"):
        return
    if qsub in select.select([qsub], [], [], 0)[0]:
        os.write(hung_up, b"h")
        kill_session(leader, signal.SIGTERM)
        time.sleep(0.002)
        kill_session(leader, signal.SIGKILL)


def hook_counts(job):
    """Only of -l nodes; where its first part is a name, the count of nodes is 0 and that of slots 1 (seen)."""
    if "nodes" not in job.resources:
        return {}
    parts = [re.match(r"\d*", part)[0] for part in job.resources["nodes"].split("+")]
    ppn = re.search(r"ppn=(\d+)", job.resources["nodes"])
    return {"PBS_RESOURCE_NODES": job.resources["nodes"], "PBS_NUM_NODES": str(sum(int(part or 0) for part in parts) if parts[0] else 0),
            "PBS_NUM_PPN": ppn[1] if ppn and parts[0] else "1", "PBS_NP": str(len(job.slots()))}


# Files


def read_config(path):
    config = dict(DEFAULTS)
    try:
        with open(path, encoding="utf-8") as file:
            config.update((line.split(None, 1) + [""])[:2] for line in file.read().splitlines() if line.startswith("$"))
    except FileNotFoundError:
        pass
    return {name: value.strip() for name, value in config.items()}


def read_environment(path):
    with open(path, encoding="utf-8") as file:
        return dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)


def job_text(job):
    """facts 1.3: XML, readable for everybody."""
    rows = {"Job_Name": job.name, "Job_Owner": job.user, "exec_host": "+".join(job.slots()),
            "Resource_List": job.resource_list(), "Variable_List": ",".join(f"{name}={value}" for name, value in job.variables.items())}
    lines = "".join(f"<{name}>{xml.sax.saxutils.escape(value)}</{name}>\n" for name, value in rows.items())
    return f'<?xml version="1.0"?>\n<job>\n<jobid>{job.id}</jobid>\n{lines}</job>\n'


def remove(*paths):
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def main():
    place = Place.of(sys.argv[0])
    loop = Loop()
    os.umask(0o022)
    ready = daemonize(f"{place.home}/mom_priv/mom.lock", f"{place.base}/log")
    mom = Mom(place, loop, socket.gethostname())
    end_with(loop, place, mom.end)
    ready()
    loop.run()


if __name__ == "__main__":
    main()
