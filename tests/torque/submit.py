#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Submission to Torque, and what a job finds: rows of the page of facts, for the stand-in and for a real Torque. Speaks TAP."""

import os

from bed import TemporaryUser, equal, make_bed, wait_for
from lib import run_tests

BED = None


def default_resources():
    """facts 1.1, 3: names, defaults and arguments of a plain job"""
    job = BED.wait(BED.qsub("exit 7"))
    equal((job["exit_status"], job["Resource_List.nodes"]), ("7", "1"))
    assert "Resource_List.walltime" in job and job["submit_args"].endswith(job["Job_Name"]), job


def output_files():
    """facts 3: output and errors are delivered to the folder of qsub, the owner's, 0600"""
    job = BED.wait(BED.qsub("echo out; echo err >&2"))
    equal((BED.output(job), BED.output(job, "Error")), ("out\n", "err\n"))
    number = job["Output_Path"].rpartition(".o")[2]
    path = f"{BED.folder}/{job['Job_Name']}.o{number}"
    equal(job["Output_Path"].partition(":")[2], path)
    equal((os.stat(path).st_uid, os.stat(path).st_mode & 0o777), (BED.user.uid, 0o600))


def join_and_paths():
    """facts 3: -j oe, -o and -e"""
    equal(BED.finish("echo out; echo err >&2", "-j", "oe")[1:], ("out\nerr\n", None))
    job = BED.wait(BED.qsub("echo out; echo err >&2", "-o", "there", "-e", f"{BED.folder}/err"))
    equal((BED.output(job), BED.output(job, "Error")), ("out\n", "err\n"))
    equal(job["Output_Path"].partition(":")[2], f"{BED.folder}/there")


def standard_input():
    """facts 1.1, 3: a script on standard input is named STDIN"""
    result = BED.run("qsub", input="echo $PBS_JOBNAME\n")
    job = BED.wait(result.out.decode().strip())
    equal((job["Job_Name"], BED.output(job)), ("STDIN", "STDIN\n"))


def login_shell():
    """facts 3: the login shell reads one line, the path of the copy; 8.5: it leads session and group, no terminal, umask 0077"""
    text = "tr '\\0' ' ' < /proc/$PPID/cmdline; echo; echo $0; pwd; umask; ls -l /proc/$PPID/fd/0 | grep -c pipe; " \
           "cut -d' ' -f1,5,6,7 /proc/$PPID/stat; grep SigIgn /proc/self/status"
    status, out, err = BED.finish(f"#!/bin/sh\n{text}\n")
    lines = out.splitlines()
    equal((status, err, lines[0].strip(), lines[2:5]), (0, "", "-bash", [BED.user.home, "0077", "1"]))
    assert lines[1].startswith(f"{BED.home}/mom_priv/jobs/") and lines[1].endswith(".SC"), lines
    pid, group, session, terminal = lines[5].split()
    equal((group, session, terminal), (pid, pid, "0"))
    assert int(lines[6].split()[1], 16) & 1 << 12, lines  # PIPE


def interpreters():
    """facts 8.5: #! of any program, with all its words as one; its own exit code"""
    equal(BED.finish("#!/usr/bin/python3 -u\nimport sys\nprint(sys.argv[0][-3:])\nsys.exit(9)\n")[:2], (9, ".SC\n"))
    equal(BED.finish("#!/no/such/program\n")[0], 127)
    equal(BED.finish("\n#!/usr/bin/python3\necho $((6 * 7))\n")[1], "42\n")


def exit_statuses():
    """facts 2: the script's code; 128+n for a death that the shell reports"""
    for text, status in (("exit 0", 0), ("exit 255", 255), ("kill -SEGV $$", 139), ("kill -TERM $$", 143)):
        equal(BED.finish(text)[0], status, text)


def arguments():
    """facts 3: -F"""
    equal(BED.finish('for word; do echo "<$word>"; done', "-F", "a 'b c'")[1], "<a>\n<b c>\n")


def variables():
    """facts 3: -v with blanks, quotes and backslashes, -V; a comma in a value, which only what looks like a variable can follow (seen)"""
    show = 'echo "$X|$Y|${Z-unset}"'
    path, environment = BED.script(show), {**BED.user.environment(), "PATH": f"{BED.prefix}/bin:/usr/bin:/bin", "Z": "from,'e\"n\\v"}
    rows = (("X=a b,Y=c\\,d=e,Z=", "a b|c,d=e|"), ("X='a \"b',Y=a\\b\\\\", "'a \"b'|ab\\|unset"), ("Z=,Y=1", "|1|from,'e\"n\\v"), ("X=1,Z", "1||from,'e\"n\\v"),
            ("none,XX=1", "1||unset"), ("X=1,", "1||unset"), ("Y=c\\,Z,X=1", "1|c,Z=from,'e\"n\\v|unset"))
    for words, wanted in rows:
        done = BED.run("qsub", "-v", words, path, env=environment)
        equal((done.status, BED.output(BED.wait(done.out.decode().strip()))), (0, f"{wanted}\n"), words)
    for words in ("=1", "X=1,,Y=2", "none,X=1", "X=c\\,d,Y="):
        equal(BED.run("qsub", "-v", words, path, env=environment), (3, b"", b"invalid -v syntax\n"), words)
    environment = {**BED.user.environment(), "PATH": f"{BED.prefix}/bin:/usr/bin:/bin", "MINE": "x=y;z"}
    equal(BED.output(BED.wait(BED.qsub('echo "$MINE"', "-V", env=environment))), "x=y;z\n")
    equal(BED.output(BED.wait(BED.qsub('echo "$MINE"', "-v", "MINE", env=environment))), "x=y;z\n")
    equal(BED.finish('echo "$MINE"')[1], "\n")


def environment_of_jobs():
    """facts 5: what a job finds in its environment"""
    _, out, _ = BED.finish("env; cat $PBS_NODEFILE | sed 's/^/node /'", "-l", "nodes=1:ppn=2,walltime=0:05:00", "-N", "some")
    found = dict(line.split("=", 1) for line in out.splitlines() if "=" in line)
    wanted = {"PBS_ENVIRONMENT": "PBS_BATCH", "ENVIRONMENT": "BATCH", "PBS_JOBNAME": "some", "PBS_NP": "2", "PBS_NUM_PPN": "2", "PBS_NUM_NODES": "1",
              "PBS_NODENUM": "0", "PBS_VNODENUM": "0", "PBS_WALLTIME": "300", "PBS_O_WORKDIR": BED.folder, "HOME": BED.user.home,
              "USER": BED.user.name, "LOGNAME": BED.user.name, "PBS_O_LOGNAME": BED.user.name, "PBS_O_HOME": BED.user.home,
              "PBS_NODEFILE": f"{BED.home}/aux//{found['PBS_JOBID']}"}
    equal({name: found.get(name) for name in wanted}, wanted)
    names = "PBS_QUEUE PBS_GPUFILE PBS_MICFILE PBS_JOBCOOKIE PBS_MOMPORT PBS_TASKNUM PBS_VERSION PBS_O_HOST PBS_O_LANG PBS_O_PATH " \
            "PBS_O_QUEUE PBS_O_SERVER PBS_O_SHELL SHELL HOSTNAME"
    equal([name for name in names.split() if name not in found], [])
    equal(out.count("node "), 2)


def working_directory():
    """facts 3: -d is where the job starts, and PBS_O_WORKDIR; -w the latter alone; output goes there (seen)"""
    folder = f"{BED.folder}/below"
    os.mkdir(folder)
    os.chown(folder, BED.user.uid, BED.user.gid)
    for word, place in (("-d", folder), ("-w", BED.user.home)):
        job = BED.wait(BED.qsub("pwd; echo $PBS_O_WORKDIR", word, folder))
        equal((BED.output(job), os.path.dirname(job["Output_Path"].partition(":")[2])), (f"{place}\n{folder}\n", folder), word)


def directives():
    """facts 3: several on a line, quotes, continued, the last one counts, the command line over all; none behind the first command"""
    text = "#!/bin/sh\n\n# comment\n: ${x}\n#PBS -N first -l walltime=60\n#PBS -N \\\n second\n#PBS -v 'X=a b'\necho $PBS_JOBNAME $X\n#PBS -N third\n"
    equal(BED.finish(text)[1], "second a b\n")
    equal(BED.finish(text, "-N", "line")[1], "line a b\n")
    equal(BED.finish("#VM -N other\n#PBS -N mine\necho $PBS_JOBNAME\n", "-C", "#VM")[1], "other\n")


def vm_option():
    """facts 3: what qsub makes of -vm"""
    path = BED.script("echo ran")
    result = BED.run("qsub", "-vm", "vcpus=2", path)
    equal((result.status, result.out), (1, b""))
    assert b"vcpus=2" in result.err and b"cannot be loaded" in result.err, result
    for words in (("-vm", path), ("-vm=vcpus=2", path)):
        equal(BED.output(BED.wait(BED.run("qsub", *words).out.decode().strip())), "ran\n")
    job = BED.wait(BED.qsub("#PBS -vm vcpus=2,img=x\necho ran"))
    assert "vcpus" not in job["Variable_List"], job


def refusals():
    """facts 3: usage is 2, a script that is not there 1; nothing is submitted"""
    path = BED.script("echo ran")
    rows = (("-Q",), ("-N", "a b"), ("-d", "/nowhere"), ("-p", "2000"), ("-c", "name=x"))
    for words in rows:
        result = BED.run("qsub", *words, path)
        equal((result.status, result.out), (2, b""), words)
        assert result.err, words
    result = BED.run("qsub", "-l", "gres=a,b", path)
    equal((result.status, result.out), (1, b""))
    assert result.err
    result = BED.run("qsub", "-W", "foo=bar", path)
    assert result.status == 154 and b"unknown attribute" in result.err, result
    result = BED.run("qsub", "-l", "vm=1", path)
    assert result.status and b"nknown resource" in result.err, result
    equal(BED.run("qsub", "/nowhere").status, 1)
    result = BED.root("qsub", path)
    assert result.status and not result.out, result
    result = BED.run("qsub", "-l", "nodes=1:nosuchproperty", path)
    assert result.status and not result.out, result


def cr_lf():
    """facts 8.5: CR LF on any line is refused"""
    result = BED.run("qsub", BED.script("echo one\necho two\r\n"))
    assert result.status and not result.out and result.err, result


def text():
    """the first 50 bytes of a script's file are ASCII text, or it is refused (seen); standard input is not looked at"""
    head = b"#!/bin/sh\necho ok\n"
    for count, status in ((31, 1), (32, 0)):
        script = head + b"#" * count + "\u00e9\n".encode()
        result = BED.run("qsub", "-h", BED.script(script))
        equal((result.status, result.err), (status, b"qsub:  file must be an ascii script\n" * status), count)
        equal(BED.run("qsub", "-h", input=script).status, 0)


def long_script():
    """facts 8.5: a script over 65,536 bytes is queued all the same, and cut; one below is not"""
    text = "echo begin\n"
    small = text + "#" + "x" * (65070 - len(text) - 13) + "\necho end\nx=1\n"
    equal(BED.finish(small[:65070])[1], "begin\nend\n")
    before = set(BED.root("qstat").out.decode().split())
    result = BED.run("qsub", BED.script(text + "#" + "x" * 65536 + "\necho end\n", "long"))
    assert result.status and b"cannot locate new job" in result.err, result
    job_id = next(word for word in BED.root("qstat").out.decode().split() if word not in before and "." in word)
    equal(BED.output(BED.wait(job_id)), "begin\n")


def copy_of_the_script():
    """facts 3: a change of the script after qsub has no effect"""
    path = BED.script("echo before", "changed")
    job_id = BED.run("qsub", "-h", path).out.decode().strip()
    BED.script("echo after", "changed")
    equal(BED.job(job_id)["job_state"], "H")
    BED.run("qrls", job_id)
    equal(BED.output(BED.wait(job_id)), "before\n")


def quiet_and_extension():
    """facts 3: -z prints nothing; -W x= is kept and appended to"""
    result = BED.run("qsub", "-z", BED.script("true"))
    equal(result, (0, b"", b""))
    equal(BED.wait(BED.qsub("true", "-W", "x=one", "-W", "x=two"))["x"], "one;two")


def gres():
    """facts 8.1: the last gres wins, the line over directives, gpus over all; both in one by + or quotes"""
    rows = (((), "foo:1"), (("-l", "gres=vtorque:X"), "vtorque:X"), (("-l", "gres=a:1,gres=vtorque:X"), "vtorque:X"),
            (("-l", "gres=a", "-l", "gres=b"), "b"), (("-l", "gres=foo:1+vtorque:X"), "foo:1+vtorque:X"), (("-l", 'gres="foo:1,vtorque:X"'), "foo:1,vtorque:X"),
            (("-l", "gres=" + "A" * 8000), "A" * 8000), (("-l", "gres=vtorque:X", "-l", "gpus=1"), "gpus:1"))
    for words, value in rows:
        equal(BED.job(BED.qsub("#PBS -l gres=foo:1\ntrue", "-h", *words))["Resource_List.gres"], value, words)


def alter():
    """facts 4, 8.1: the owner may change gres while the job waits, and not any more when it runs"""
    job_id = BED.qsub("sleep 60", "-h", "-l", "gres=old")
    equal(BED.run("qalter", "-l", "gres=new", job_id).status, 0)
    equal(BED.job(job_id)["Resource_List.gres"], "new")
    BED.run("qrls", job_id)
    BED.wait(job_id, "R")
    assert BED.run("qalter", "-l", "gres=newer", job_id).status
    equal(BED.job(job_id)["Resource_List.gres"], "new")
    BED.run("qdel", job_id)
    BED.wait(job_id)


def arrays():
    """facts 3, 1.1: -t makes jobs N[i] with PBS_ARRAYID and a name of their own, at most as many at once as its limit"""
    text = f"ls {BED.folder}/slot.* 2>/dev/null | wc -l; touch {BED.folder}/slot.$PBS_ARRAYID; sleep 0.3; rm {BED.folder}/slot.$PBS_ARRAYID; echo $PBS_ARRAYID $PBS_JOBID $0"
    array = BED.qsub(text, "-t", "0-2%1", "-N", "many")
    assert "[]." in array, array
    for index in range(3):
        job_id = array.replace("[]", f"[{index}]")
        job = BED.wait(job_id)
        others, words = BED.output(job).splitlines()
        number, _, server = array.partition("[].")
        equal((others, words.split()[:2], words.endswith(f"/{number}-{index}.{server}.SC")), ("0", [str(index), job_id], True))
        equal(os.path.basename(job["Output_Path"]), f"many.o{number}-{index}")
    array = BED.qsub("echo $PBS_ARRAYID", "-t", "3", "-N", "many", "-o", "given.$PBS_JOBNAME", "-k", "e")  # seen
    BED.wait(array.replace("[]", "[3]"))
    number = array.partition("[")[0]
    wanted = {f"{BED.folder}/given.many-3-3", f"{BED.user.home}/many-3.e{number}"}
    equal([path for path in wanted if not os.path.exists(path)], [])


def dependencies():
    """docs: -W depend"""
    first = BED.qsub("exit 1", "-h")
    later = {kind: BED.qsub(f"echo {kind}", "-W", f"depend={kind}:{first}") for kind in ("afterany", "afternotok", "afterok")}
    equal(BED.job(later["afterany"]).get("job_state"), "H")
    BED.run("qrls", first)
    for kind in ("afterany", "afternotok"):
        equal(BED.output(BED.wait(later[kind])), f"{kind}\n")
    wait_for(lambda: BED.job(later["afterok"]).get("job_state", "C") == "C", "the end of a job that can never run")


def submit_filter():
    """facts 3.1: the filter gets script and words, its output is the script; 255 rejects"""
    path = f"{BED.home}/torque.cfg"
    program = BED.script(f"#!/bin/sh\necho \"$@\" > {BED.folder}/filtered\n[ \"$1\" = -h ] && exit 255\n[ \"$1\" = -z ] && exit 3\n"
                         "sed 's/^#PBS -vm/#PBS -v VM=x -A/'\n", "filter")
    BED.write(path, f"SUBMITFILTER {program}\n")
    try:
        job = BED.wait(BED.qsub("#PBS -vm spec\necho $VM\n", "-l", "nodes=1"))
        equal((BED.output(job), job["Account_Name"]), ("x\n", "spec"))
        with open(f"{BED.folder}/filtered", encoding="utf-8") as file:
            assert file.read().startswith("-l nodes=1 "), job
        for word in ("-h", "-z"):
            result = BED.run("qsub", word, BED.script("true"))
            equal((result.status, result.out), (1, b""), word)
    finally:
        os.unlink(path)


def unknown_jobs():
    """docs: a job that is unknown is an error of every client"""
    for name in ("qstat", "qdel", "qsig", "qalter"):
        result = BED.run(name, "99999")
        assert result.status and (result.err or name == "qalter"), (name, result)  # a real qalter says nothing


TESTS = (default_resources, output_files, join_and_paths, standard_input, login_shell, interpreters, exit_statuses, arguments, variables, environment_of_jobs,
         working_directory, directives, vm_option, refusals, cr_lf, text, long_script, copy_of_the_script, quiet_and_extension, gres, alter, arrays,
         dependencies, submit_filter, unknown_jobs)

if __name__ == "__main__":
    with TemporaryUser() as user, make_bed(user) as BED:
        run_tests(TESTS, jobs=1)
