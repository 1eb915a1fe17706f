#!/usr/bin/python3 -IS
# SPDX-License-Identifier: Apache-2.0
"""The clients of the stand-in: qsub qstat qdel qsig qrerun qhold qrls qalter pbsnodes. The name that it is called by says which."""

import contextlib
import getopt
import itertools
import json
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
from common import Place, SCRIPT_LIMIT, connect

NAME = os.path.basename(sys.argv[0])
PLACE = Place.of(sys.argv[0])
OPTIONS = "a:A:b:c:C:d:D:e:EfF:hi:Ij:J:k:K:l:L:m:M:nN:o:p:P:q:r:S:t:T:u:v:Vw:W:Xxz"  # facts 3
DIRECTIVE_LIMIT = 32768
TEXT_LIMIT = 50  # bytes of a script's file that have to be ASCII text (seen)
# facts 4: what pbs_server knows of resources
RESOURCES = set("""arch cput file flags gattr geometry gpus gres host jobtype mem mpparch mpphost mpplabels mppnodes ncpus naccesspolicy neednodes nice
nodes nodect opsys os other partition pcput pmem pmcd proc_bitmap procs procs_bitmap pvmem qos reqattr software image template var vcores size
prologue epilogue trl vmem walltime feature mppwidth mppdepth mppnppn mppmem mpptime minwclimit cpuclock""".split())
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&apos;"})
ATTRIBUTES = set("depend x umask group_list jobtype stagein stageout".split())


WRONG = {  # facts 3
    "N": lambda value: not value or any(char.isspace() for char in value),
    "d": lambda value: not os.path.isdir(value),
    "c": lambda value: value.startswith("name="),
    "p": lambda value: not value.lstrip("-").isdigit() or abs(int(value)) > 1024,
    "j": lambda value: value not in ("oe", "eo", "n"),
    "t": lambda value: not all(word.isdigit() for word in value.replace("%", ",").replace("-", ",").split(",")),
    "K": lambda value: not value.isdigit(),
}


class Usage(Exception):
    """What was said on the command line, or in a directive, makes no sense: exit status 2."""


def fail(text, status, whole=False):
    print(text if whole else f"{NAME}: {text}", file=sys.stderr)
    sys.exit(status)


def ask(**request):
    """One request to the server. Its error numbers give the exit status (facts 3)."""
    connection = connect(PLACE.socket)
    connection.sendall(json.dumps(request).encode() + b"\n")
    data = b""
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    answer = json.loads(data)
    if "error" in answer:
        fail(" ".join(filter(None, (answer["text"], request.get("id") or " ".join(request.get("ids", ()))))), answer["error"] & 255)
    return answer


# qsub: what was said


def split_words(line):
    """The words of a directive: quotes and backslashes as in a shell (facts 3)."""
    words, word, quote, position = [], None, "", 0
    while position < len(line):
        char = line[position]
        position += 1
        if char == "\\" and quote != "'" and position < len(line):
            word = (word or "") + line[position]
            position += 1
        elif char == quote:
            quote = ""
        elif not quote and char in "'\"":
            quote, word = char, word or ""
        elif not quote and char in " \t":
            words += [word] if word is not None else []
            word = None
        else:
            word = (word or "") + char
    return words + ([word] if word is not None else [])


def split_list(text):
    """Parts between commas that stand in no quotes; the quotes are taken off, and a backslash keeps what follows (facts 3, 8.1)."""
    parts, part, quote, position = [], "", "", 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "\\" and position < len(text):
            part += text[position]
            position += 1
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif char == "," and not quote:
            parts.append(part)
            part = ""
        else:
            part += char
    return [*parts, part]


def read_variables(text):
    """Name and value of each variable of -v (seen). Each comma parts, an escaped one, too; what it has parted is one again if the second
    part is NAME=VALUE or the name of a variable that is there. Of one that is not there the next part loses its first character."""
    parts, is_last = [], False
    while not is_last:
        part, comma, text = text.partition(",")
        is_last = not comma
        name, sign, value = part.partition("=")
        if not name and (sign or comma):
            fail("invalid -v syntax", 3, whole=True)
        if value or sign and is_last:
            parts.append(part)
        elif name in os.environ:
            parts.append(f"{name}={escape(os.environ[name])}")
        else:
            parts.append(f"{name}=" if comma else "name=")
            text = text if sign else text[1:]
    return [(name, value) for name, _, value in (part.partition("=") for part in unescape(",".join(parts)))]


def escape(value):
    return "".join(f"\\{char}" if char in "\\,'\"\n" else char for char in value)


def unescape(text):
    """The parts between commas without a backslash."""
    parts, position = [""], 0
    while position < len(text):
        if text[position] == ",":
            parts.append("")
        else:
            position += text[position] == "\\"
            parts[-1] += text[position:position + 1]
        position += 1
    return parts


def directives(script, prefix):
    """The lines of options up to the first line that a shell would execute (facts 3)."""
    lines = iter(script.split("\n"))
    for line in lines:
        text = line.strip(" \t")
        if prefix and text.startswith(prefix):
            text = text[len(prefix):]
            while text.endswith("\\"):
                text = text[:-1] + next(lines, "").strip(" \t")
            if len(text) > DIRECTIVE_LIMIT:
                raise Usage(f"directive line longer than {DIRECTIVE_LIMIT}")
            yield text
        elif text and text[0] not in "#:":
            return


class Submission:
    """What options and directives come to. Directives first, the command line over them; the last one counts."""

    def __init__(self):
        self.flags, self.values, self.resources, self.variables, self.attributes = set(), {}, {}, {}, {}

    def take(self, options):
        for option, value in options:
            letter = option[1:]
            if letter == "l":
                self.take_resources(value)
            elif letter == "v":
                self.variables.update(read_variables(value))
            elif letter == "W":
                self.take_attributes(value)
            elif letter + ":" in OPTIONS:
                if WRONG.get(letter, lambda _: False)(value):
                    raise Usage(f"illegal -{letter} value")
                self.values[letter] = value
            else:
                self.flags.add(letter)

    def take_resources(self, value):
        for part in split_list(value):
            name, sign, text = part.partition("=")
            if not sign or not name:
                fail("illegal -l value", 1)  # facts 8.1: an unquoted comma in gres
            if name not in RESOURCES:
                fail(f"submit error (Unknown resource type  Resource_List.{name})", 15035 & 255)  # facts 4
            if name == "gpus":
                name, text = "gres", f"gpus:{text}"  # facts 8.1: takes the place of another gres
            self.resources[name] = text

    def take_attributes(self, value):
        # facts 3: x= takes all of the rest, and is appended to
        if value.startswith("x="):
            self.attributes["x"] = ";".join(filter(None, (self.attributes.get("x"), value[2:])))
            return
        name, sign, text = value.partition("=")
        if sign and name not in ATTRIBUTES:
            fail("submit error (Undefined attribute  MSG=detected presence of an unknown attribute)", 15002 & 255)  # seen
        self.attributes[name] = text


def filter_script(script, words):
    """facts 3.1: SUBMITFILTER of torque.cfg. Runs by a shell, with the words unquoted; the value of -C is lost."""
    try:
        with open(f"{PLACE.home}/torque.cfg", encoding="utf-8") as file:
            settings = dict(line.split(None, 1) for line in file.read().splitlines() if len(line.split(None, 1)) == 2)
    except FileNotFoundError:
        return script
    if "SUBMITFILTER" not in settings:
        return script
    import subprocess
    words = [word for position, word in enumerate(words) if not position or words[position - 1] != "-C"]
    result = subprocess.run(["sh", "-c", " ".join([settings["SUBMITFILTER"].strip(), *words])], input=script.encode("latin-1"), stdout=subprocess.PIPE)
    if result.returncode == 255:
        fail("Your job has been administratively rejected by the queueing system.", 1)
    if result.returncode:
        fail("submit filter returned an error code, aborting job submission.", 1)
    return result.stdout.decode("latin-1")


def read_script(path):
    if path is None:
        return sys.stdin.buffer.read().decode("latin-1")
    try:
        with open(path, "rb") as file:
            return file.read().decode("latin-1")
    except OSError as error:
        fail(f"script file '{path}' cannot be loaded - {error.strerror}", 1)  # facts 3


def target(path, folder):
    """[path, is it a folder] of an -o or -e, below PBS_O_WORKDIR."""
    path = os.path.join(folder, path.partition(":")[2] if ":" in path else path) if path else folder
    return [path, os.path.isdir(path) or path.endswith("/")]


def start_time(text):
    """-a [[[[CC]YY]MM]DD]hhmm[.SS]"""
    import time
    text, _, seconds = text.partition(".")
    now = time.strftime("%Y%m%d%H%M")
    moment = time.mktime(time.strptime(now[:len(now) - len(text)] + text + (seconds or "00"), "%Y%m%d%H%M%S"))
    return moment if moment > time.time() or len(text) > 4 else moment + 86400


def qsub(words):
    if os.getuid() == 0:
        fail("qsub can not be run as root", 1)  # facts 3
    options, operands = getopt.gnu_getopt(words, OPTIONS, ["version", "about", "help"])
    if any(option.startswith("--") for option, _ in options):
        print("Version: stand-in for Torque", file=sys.stderr)
        return
    path = operands[0] if operands else None
    is_interactive = any(option == "-I" for option, _ in options)
    script = read_script(path) if path or not is_interactive else ""
    if path and not all(char.isspace() or " " <= char <= "~" for char in script[:TEXT_LIMIT]):
        fail(" file must be an ascii script", 1)
    if "\r\n" in script:
        fail("script is written in DOS/Windows text format", 1)  # facts 8.5
    script = filter_script(script, words)
    given = Submission()
    prefix = next((value for option, value in reversed(options) if option == "-C"), "#PBS")
    for line in directives(script, prefix):
        given.take(getopt.getopt(split_words(line), OPTIONS)[0])
    given.take(options)
    if "x" in given.flags and ("I" not in given.flags or not path):
        raise Usage("'-x' invalid on non-interactive job, or without a script")
    submit(given, script, path, words)


def submit(given, script, path, words):
    flags, values = given.flags, given.values
    default_name = os.path.basename(path) if path else "STDIN"
    terminal = prepare_terminal(values, "x" in flags) if "I" in flags else None
    if "X" in flags:
        raise Usage("-X: DISPLAY not set")
    folder = os.path.abspath(values.get("d") or values.get("w") or os.getcwd())
    variables = {**(os.environ if "V" in flags else {}), **given.variables}
    for name in ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "MAIL", "TZ"):
        if name in os.environ:
            variables[f"PBS_O_{name}"] = os.environ[name]
    host = os.uname().nodename
    variables.update(PBS_O_HOST=host, PBS_O_WORKDIR=folder)
    if "PBS_SERVER" in os.environ:
        variables["PBS_SERVER"] = os.environ["PBS_SERVER"]
    fields = {"name": values.get("N", default_name), "host": host, "resources": given.resources, "variables": variables,
              "init_work_dir": folder if {"d", "w"} & set(values) else None,
              "directory": folder if "d" in values else None,  # -w: the job starts in the home directory all the same (seen)
              "output": target(values.get("o"), folder), "error": target(values.get("e"), folder), "join": values.get("j", "n"), "keep": values.get("k", "n"),
              "mail": values.get("m", "a"), "priority": values.get("p", "0"), "rerunable": values.get("r", "y") == "y", "checkpoint": values.get("c", "u"),
              "queue": values.get("q", "").partition("@")[0], "account": values.get("A", ""), "shell": values.get("S", ""), "array": values.get("t", ""),
              "arguments": values.get("F", ""), "holds": ["u"] if "h" in flags else [], "exclusive": "n" in flags,
              "kill_delay": int(values["K"]) if "K" in values else None, "start_at": start_time(values["a"]) if "a" in values else 0,
              "jobtype": values.get("T") or given.attributes.get("jobtype", ""), "umask": given.attributes.get("umask", ""),
              "depend": given.attributes.get("depend"), "x": given.attributes.get("x"), "submit_args": " ".join(words),
              "interactive": terminal.getsockname()[1] if terminal else 0, "command": path if "x" in flags else None}
    if terminal:
        fields["rerunable"] = False
        interact(ask(do="submit", fields=fields, script="")["id"], terminal)  # a script is not sent (source)
        return
    job_id = ask(do="submit", fields=fields, script=script[:SCRIPT_LIMIT + 1])["id"]
    if "z" not in flags:
        print(job_id)


# qsub -I: this end of the terminal (facts 8.3)


def prepare_terminal(values, has_command):
    """The socket that the job's mom is to connect to."""
    import socket
    if "t" in values:
        fail("interactive job can not be job array.", 2)
    if not has_command and not (os.isatty(0) and os.isatty(1)):
        fail("\tstandard input and output must be a terminal for \n\tinteractive job submission", 1)
    return socket.create_server(("127.0.0.1", 0))


def interact(job_id, terminal):
    import select
    print(f"qsub: waiting for job {job_id} to start", flush=True)
    while not select.select([terminal], [], [], 1)[0]:
        if dict(ask(do="status", ids=[job_id])["jobs"][0]["attributes"])["job_state"] == "C":
            fail(f"Job {job_id} apparently deleted", 1)
    mom, _ = terminal.accept()
    size = os.get_terminal_size(0) if os.isatty(0) else (80, 24)
    mom.sendall(json.dumps({"term": os.environ.get("TERM", "dumb"), "columns": size[0], "rows": size[1]}).encode() + b"\n")
    print(f"qsub: job {job_id} ready\n", flush=True)
    carry(mom)
    mom.close()
    print(f"\nqsub: job {job_id} completed", flush=True)


def carry(mom):
    """What is typed goes there, what is shown comes from there, until the job is over."""
    import select
    import termios
    import tty
    modes = termios.tcgetattr(0) if os.isatty(0) else None
    if modes:
        tty.setraw(0, termios.TCSANOW)  # nothing that is typed already is lost
    try:
        ends = [mom, 0]
        while True:
            ready = select.select(ends, [], [])[0]
            if mom in ready:
                data = mom.recv(65536)
                if not data:
                    return
                os.write(1, data)
            if 0 in ready:
                data = os.read(0, 65536)
                if not data and modes:
                    return  # hung up
                if not data:
                    ends.remove(0)
                mom.sendall(data)
    except OSError:
        pass
    finally:
        if modes:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, modes)


# The others


def as_xml(job):
    """Resources are elements of their list's (Torque's source, src/cmds/qstat.c and MXML.c)."""
    def element(name, text):
        return f"<{name}>{text}</{name}>"

    text = element("Job_Id", job["id"])
    for group, pairs in itertools.groupby(job["attributes"], lambda pair: pair[0].rpartition(".")[0]):
        inner = "".join(element(name.rpartition(".")[2], value.translate(ESCAPES)) for name, value in pairs)
        text += element(group, inner) if group else inner
    return element("Job", text)


def qstat(words):
    options, ids = getopt.gnu_getopt(words, "fnrtaeixGuB1Q:q")
    jobs = ask(do="status", ids=ids)["jobs"]
    if ("-x", "") in options:
        print('<?xml version="1.0"?>')
        print(f"<Data>{''.join(as_xml(job) for job in jobs)}</Data>")
    elif ("-f", "") in options:
        for job in jobs:
            print(f"Job Id: {job['id']}")
            print("".join(f"    {name} = {value}\n" for name, value in job["attributes"]))
    elif jobs:
        print("Job ID                    Name             User            Time Use S Queue")
        print("------------------------- ---------------- --------------- -------- - -----")
        for job in jobs:
            values = dict(job["attributes"])
            print(f"{job['id'][:25]:25} {values['Job_Name'][:16]:16} {job['user'][:15]:15} "
                  f"{values.get('resources_used.cput', '0')[:8]:>8} {values['job_state']} {values['queue']:15}")


def for_each(words, letters, request):
    """The request for each job that is named; the first error's status."""
    options, ids = getopt.gnu_getopt(words, letters)
    if not ids:
        raise Usage("no job named")
    status = 0
    for job_id in ids:
        try:
            ask(id=job_id, **request(dict(options)))
        except SystemExit as error:
            status = status or error.code
    sys.exit(status)


def alteration(options):
    given = Submission()
    given.take([(name, value) for name, value in options.items() if name == "-l"])
    comment = options.get("-W", "").removeprefix("comment=")
    return {"do": "alter", "resources": given.resources, "comment": comment, "name": options.get("-N")}


def pbsnodes(_words):
    for node in ask(do="nodes")["nodes"]:
        print(node["name"])
        for name in ("state", "np", "properties", "jobs", "message"):
            value = ", ".join(node[name]) if name in ("properties", "jobs") else node[name]
            if value:
                print(f"     {name} = {value}")
        print()


COMMANDS = {
    "qsub": qsub, "qstat": qstat, "pbsnodes": pbsnodes,
    "qdel": lambda words: for_each(words, "pW:m:", lambda options: {
        "do": "delete", "purge": "-p" in options, "delay": int(options["-W"].removeprefix("delay=")) if "-W" in options else None}),
    "qsig": lambda words: for_each(words, "s:", lambda options: {"do": "signal", "name": options.get("-s", "TERM")}),
    "qrerun": lambda words: for_each(words, "f", lambda options: {"do": "rerun"}),
    "qhold": lambda words: for_each(words, "h:", lambda options: {"do": "hold", "types": options.get("-h", "u")}),
    "qrls": lambda words: for_each(words, "h:", lambda options: {"do": "release", "types": options.get("-h", "u")}),
    "qalter": lambda words: for_each(words, "l:W:N:", alteration),
}


if __name__ == "__main__":
    try:
        COMMANDS[NAME](sys.argv[1:])
    except (Usage, getopt.GetoptError) as error:
        print(f"{NAME}: {error}\nusage: {NAME} [options] [operands]", file=sys.stderr)
        sys.exit(2)  # facts 3
