# SPDX-License-Identifier: Apache-2.0
"""The processes of a mom: children, the site's scripts, sessions. A user's groups and limits."""

import os
import resource
import select
import signal
import stat
import time
import traceback

from common import parse_size

QUIET = ("/dev/null", "/dev/null")


def may_run(path, owner, for_all=False):
    """facts 1.4: else it is an error of permission, and the job is started again and again."""
    mode = os.stat(path)
    need = stat.S_IRUSR | stat.S_IXUSR | (stat.S_IROTH | stat.S_IXOTH if for_all else 0)
    return stat.S_ISREG(mode.st_mode) and mode.st_uid == owner and mode.st_mode & need == need and not mode.st_mode & 0o022


def user_groups(job):
    return os.getgrouplist(job.user, job.gid)


def fork(function, *words, keep=()):
    """A child that does nothing but this. Of the mom's descriptors it has those of `keep`, and those that are to be inherited."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for name in os.listdir("/proc/self/fd"):
            fd = int(name)
            if fd > 2 and fd not in keep and not (os.path.exists(f"/proc/self/fd/{fd}") and os.get_inheritable(fd)):
                os.closerange(fd, fd + 1)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:  # PIPE is ignored in jobs (facts 8.5)
            signal.signal(number, signal.SIG_DFL)
        function(*words)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(127)


def run_script(argv, environment, ids, folder, umask, fds, limit):
    """A script in a session of its own, to its end: its exit code; 0 if a signal killed it (facts, finding 5); -1 if its time was
    over, when all of its session is killed (facts 1.5)."""
    pid = fork(become_script, argv, environment, ids, folder, umask, fds, keep=fds)
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    is_over = not poll.poll(limit * 1000)
    os.close(handle)
    if is_over:
        kill_session(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return -1 if is_over else max(0, status)


def become_script(argv, environment, ids, folder, umask, fds):
    """`fds`: standard output and error: a descriptor, a path, or None for closed."""
    uid, gid, groups = ids
    os.setsid()
    fds = [os.open(fd, os.O_WRONLY) if isinstance(fd, str) else fd for fd in fds]
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    for number, fd in enumerate(fds, 1):
        if fd is None:
            os.close(number)
        else:
            os.dup2(fd, number)
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(umask)
    os.chdir(folder)
    os.execve(argv[0], argv, environment)


def processes(session):
    """The fields of /proc/PID/stat behind the name, by pid, of all that live in a session."""
    found = {}
    for name in os.listdir("/proc") if session else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(fields[3]) == session and fields[0] not in (b"Z", b"X"):
                found[int(name)] = fields
    return found


def start_of(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[19]) if fields[0] not in (b"Z", b"X") else None


def kill_session(session, number, times=1):
    """A signal to each of its processes, so many times (facts 8.2: 1.2 ms apart); how many there were. They are looked for once: on a busy
    machine that takes its time."""
    found = processes(session)
    for repeat in range(times):
        time.sleep(0.0012 if repeat else 0)
        for pid in found:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
    return len(found)


def measure_session(session):
    """Seconds of processor and bytes of memory."""
    found = processes(session).values()
    cpu = sum(int(fields[number]) for fields in found for number in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")
    return cpu, sum(int(fields[21]) for fields in found) * os.sysconf("SC_PAGE_SIZE")


def set_limits(resources):
    """facts 8.4"""
    rows = (("mem", resource.RLIMIT_DATA), ("mem", resource.RLIMIT_RSS), ("vmem", resource.RLIMIT_AS), ("file", resource.RLIMIT_FSIZE))
    for name, limit in rows:
        if name in resources:
            size = parse_size(resources[name])
            resource.setrlimit(limit, (size, size))
