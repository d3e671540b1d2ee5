"""Behaviours of containers that run: what their processes see, states, output, exec, files."""

import base64
import io
import json
import tarfile
import time


def _inside(script, **config):
    """What a script prints in a container of its own."""
    return lambda e: e.run(["sh", "-c", script], **config)


def _host(**host):
    return {"HostConfig": host}


_SECCOMP = "grep Seccomp /proc/self/status"
_DENY_MKDIR = {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}


def _profile(*rules, default="SCMP_ACT_ALLOW", **fields):
    return {"SecurityOpt": ["seccomp=" + json.dumps({"defaultAction": default, "syscalls": list(rules), **fields})]}


# What a process sees.
_VIEWS = {
    "the exit code": _inside("exit 7"),
    "a death by signal": _inside("kill -9 $$"),
    "stdout and stderr": _inside("echo out; echo err >&2"),
    "the environment": _inside("env | grep -v HOSTNAME | sort", Env=["B=2", "A=1"]),
    "the host name": _inside("hostname; cat /etc/hostname", Hostname="box"),
    "the domain": _inside("cat /proc/sys/kernel/domainname", Domainname="example.org"),
    "the user": _inside("id", User="1000:1001"),
    "the user by name": _inside("id -un", User="nobody"),
    "an unknown user": lambda e: e.answer("POST", f"/containers/{e.create(['true'], User='nonsense')}/start"),
    "further groups": _inside("id -G", User="1000:1000", **_host(GroupAdd=["5", "6"])),
    "the working directory, made": _inside("pwd", WorkingDir="/made/for/it"),
    "capabilities": _inside("grep Cap /proc/self/status"),
    "capabilities of a user": _inside("grep Cap /proc/self/status", User="1000"),
    "a capability more": _inside("grep CapEff /proc/self/status", **_host(CapAdd=["SYS_TIME"])),
    "all capabilities dropped": _inside("grep Cap /proc/self/status", **_host(CapDrop=["ALL"])),
    "no new privileges": _inside("grep NoNewPrivs /proc/self/status", **_host(SecurityOpt=["no-new-privileges"])),
    "seccomp": _inside(_SECCOMP),
    "seccomp unconfined": _inside(_SECCOMP, **_host(SecurityOpt=["seccomp=unconfined"])),
    "seccomp of a user": _inside(_SECCOMP, User="1000"),
    "seccomp without new privileges": _inside(_SECCOMP, **_host(SecurityOpt=["no-new-privileges"])),
    "seccomp under an init": _inside(_SECCOMP, **_host(Init=True)),
    "seccomp when privileged": _inside(_SECCOMP, **_host(Privileged=True)),
    "seccomp by an empty profile": _inside(_SECCOMP, **_host(SecurityOpt=["seccomp={}"])),
    "what seccomp denies": _inside("mount -t tmpfs x /tmp; unshare -U true; hostname x; chroot / true; echo $?"),
    "what seccomp denies without capabilities": _inside("chroot / true; date -s 12:00", **_host(CapDrop=["ALL"])),
    "what seccomp opens with SYS_ADMIN": _inside("mount -t tmpfs x /tmp && unshare -U true; hostname x; hostname",
                                                 **_host(CapAdd=["SYS_ADMIN"])),
    "a denied mkdir": _inside("mkdir /x", **_host(**_profile(_DENY_MKDIR))),
    "a denied mkdir with its error": _inside("mkdir /x", **_host(**_profile({**_DENY_MKDIR, "errnoRet": 98}))),
    "a denied mkdir for all but one capability": _inside("mkdir /x", **_host(**_profile(
        {**_DENY_MKDIR, "excludes": {"caps": ["CAP_CHOWN"]}}))),
    "a denied mkdir with a kernel that is old": _inside("mkdir /x", **_host(**_profile(
        {**_DENY_MKDIR, "includes": {"minKernel": "4.8"}}))),
    "a mkdir that kills": _inside("mkdir /x", **_host(**_profile({"name": "mkdir", "action": "SCMP_ACT_KILL"}))),
    "a mkdir of a mode that is denied": _inside("mkdir -m 700 /a; mkdir -m 750 /b", **_host(**_profile(
        {**_DENY_MKDIR, "args": [{"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]}))),
    "limits of files": _inside("ulimit -n; ulimit -Hn", **_host(Ulimits=[{"Name": "nofile", "Soft": 100, "Hard": 200}])),
    "the size of /dev/shm": _inside("df -k /dev/shm | tail -1 | awk '{print $2}'", **_host(ShmSize=8 << 20)),
    "ports for all users": _inside("cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range"),
    "/dev": _inside("ls /dev"),
    "/dev/pts and /dev/fd": _inside("ls -l /dev/fd /dev/stdin | sed 's/.*-> //'"),
    "mounts by target": _inside("awk '{print $2}' /proc/mounts | sort | uniq"),
    "a tmpfs": _inside("awk '$2==\"/x\"{print $3}' /proc/mounts; touch /x/a && echo ok", **_host(Tmpfs={"/x": "size=1m"})),
    "a tmpfs of a size": _inside("df -k /x | tail -1 | awk '{print $2}'", **_host(Tmpfs={"/x": "size=1m"})),
    "a read-only root": _inside("touch /a; echo $?; touch /dev/shm/a; echo $?", **_host(ReadonlyRootfs=True)),
    "masked paths": _inside("cat /proc/kcore | head -c 1 | wc -c; ls /sys/firmware"),
    "read-only paths": _inside("echo 1 > /proc/sys/kernel/panic; echo $?"),
    "a sysctl": _inside("cat /proc/sys/net/ipv4/ip_forward", **_host(Sysctls={"net.ipv4.ip_forward": "1"})),
    "the oom score": _inside("cat /proc/self/oom_score_adj", **_host(OomScoreAdj=77)),
    "the memory limit": _inside("cat /sys/fs/cgroup/memory.max", **_host(Memory=64 << 20)),
    "the swap limit": _inside("cat /sys/fs/cgroup/memory.swap.max", **_host(Memory=64 << 20, MemorySwap=64 << 20)),
    "the cpu quota": _inside("cat /sys/fs/cgroup/cpu.max", **_host(NanoCpus=500_000_000)),
    "the cpu weight": _inside("cat /sys/fs/cgroup/cpu.weight", **_host(CpuShares=512)),
    "the pids limit": _inside("cat /sys/fs/cgroup/pids.max", **_host(PidsLimit=44)),
    "extra hosts": _inside("grep extra /etc/hosts", **_host(ExtraHosts=["extra:192.0.2.7"])),
    "resolv.conf": _inside("cat /etc/resolv.conf | grep -v '^#'",
                           **_host(Dns=["192.0.2.1"], DnsSearch=["example.org"], DnsOptions=["ndots:2"])),
    "networks with none": _inside("ls /sys/class/net", **_host(NetworkMode="none")),
    "networks with bridge": _inside("ls /sys/class/net"),
    "an init": _inside("cat /proc/1/comm", **_host(Init=True)),
    "the process numbers": _inside("echo $$"),
    "a stdin that is closed": _inside("cat; echo end"),
    "the umask": _inside("umask"),
    "/.dockerenv": _inside("ls -a / | grep dockerenv"),
    "an oom kill": lambda e: (lambda s: [s["OOMKilled"], s["ExitCode"]])(
        e.inspect(e.ran(["sh", "-c", "tail /dev/zero"], HostConfig={"Memory": 16 << 20, "MemorySwap": 16 << 20}))["State"]),
}


def _start_error(command, **config):
    return lambda e: e.answer("POST", f"/containers/{e.create(command, **config)}/start")


_BAD_PROFILES = {
    "that is a path": {"SecurityOpt": ["seccomp=/no/such.json"]},
    "that is cut short": {"SecurityOpt": ["seccomp={"]},
    "of a wrong type": {"SecurityOpt": ["seccomp=[]"]},
    "with a bad default action": _profile(default="ALLOW"),
    "without a default action": _profile(_DENY_MKDIR, default=""),
    "with a bad action": _profile({"names": ["mkdir"], "action": "DENY"}),
    "with a bad operator": _profile({**_DENY_MKDIR, "args": [{"index": 0, "op": "EQ"}]}),
    "with a bad architecture": _profile(architectures=["SCMP_ARCH_PDP11"]),
    "with a bad kernel version": _profile({**_DENY_MKDIR, "includes": {"minKernel": "x"}}),
    "with a name and names": _profile({**_DENY_MKDIR, "name": "rmdir"}),
    "with architectures and a map": _profile(architectures=["SCMP_ARCH_X86"], archMap=[{"architecture": "SCMP_ARCH_X86_64"}]),
    "with an empty name": _profile({"names": [""], "action": "SCMP_ACT_ERRNO"}),
    "with an argument too many": _profile({**_DENY_MKDIR, "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}),
}


def _after(change, then):
    """The answer of `then` on a container after `change`."""
    def look(e):
        container = change(e)
        return then(e, container)
    return look


def created(e):
    return e.create()


def running(e):
    return e.start()


def exited(e):
    return e.ran(["true"])


def paused(e):
    container = e.start()
    e.api.post(f"/containers/{container}/pause")
    return container


def _call(method, path, body=None, **query):
    return lambda e, c: e.answer(method, f"/containers/{c}{path}", body, **query)


def _state(e, container):
    return {key: value for key, value in e.inspect(container)["State"].items() if key != "Pid"}


_ACTIONS = {
    "start": _call("POST", "/start"), "stop": _call("POST", "/stop", t=0), "kill": _call("POST", "/kill"),
    "restart": _call("POST", "/restart", t=0), "pause": _call("POST", "/pause"), "unpause": _call("POST", "/unpause"),
    "top": lambda e, c: _call("GET", "/top")(e, c)[0], "remove": _call("DELETE", ""),
    "resize": _call("POST", "/resize", h=10, w=10), "exec": lambda e, c: _exec_answer(e, c),
    "stats once": lambda e, c: _call("GET", "/stats", stream=0, **{"one-shot": 1})(e, c)[0],
    "a bad signal": _call("POST", "/kill", signal="NONSENSE"), "signal 0": _call("POST", "/kill", signal="0"),
    "logs without a stream": _call("GET", "/logs"),
    "update": _call("POST", "/update", {"PidsLimit": 50}), "rename to a bad name": _call("POST", "/rename", name="-x"),
    "rename to nothing": _call("POST", "/rename", name=""),
}


def _exec_answer(e, container):
    status, said = e.answer("POST", f"/containers/{container}/exec", {"Cmd": ["true"]})
    return [status, said if status != 201 else "created"]


def _state_after(action):
    def look(e, container):
        action(e, container)
        return _state(e, container)
    return look


def _events(e, what):
    """The actions a container goes through, with the attributes' names."""
    since = time.time()
    container = what(e)
    e.answer("DELETE", f"/containers/{container}", force=1)
    time.sleep(1)
    query = {"since": f"{since:.9f}", "until": f"{time.time():.9f}",
             "filters": json.dumps({"container": [container]})}
    connection = e.api.connect()
    text = e.api.send(connection, "GET", "/events", query=query).read().decode()
    connection.close()
    rows = [json.loads(line) for line in text.splitlines() if line]
    return [[row["Type"], row["Action"], sorted(row["Actor"]["Attributes"])] for row in rows]


_LIFES = {
    "a run": lambda e: e.ran(["true"]),
    "a stop": _after(running, lambda e, c: [e.answer("POST", f"/containers/{c}/stop", t=0), c][1]),
    "a pause": _after(paused, lambda e, c: [e.answer("POST", f"/containers/{c}/unpause"), c][1]),
    "a restart": _after(running, lambda e, c: [e.answer("POST", f"/containers/{c}/restart", t=0), c][1]),
    "an exec": _after(running, lambda e, c: [e.exec(c, ["true"]), c][1]),
    "a failed start": _after(lambda e: e.create(["no-such-command"]),
                             lambda e, c: [e.answer("POST", f"/containers/{c}/start"), c][1]),
}


def _logged(e):
    return e.ran(["sh", "-c", "echo one; echo two >&2; echo three; printf four"])


_LOGS = {
    "all": {"stdout": 1, "stderr": 1}, "stdout": {"stdout": 1}, "stderr": {"stderr": 1},
    "the last": {"stdout": 1, "tail": 1}, "none of the tail": {"stdout": 1, "tail": 0},
    "a tail that is no number": {"stdout": 1, "tail": "x"}, "since a time": {"stdout": 1, "since": 4000000000},
    "until a time": {"stdout": 1, "until": 1}, "a bad since": {"stdout": 1, "since": "x"},
    "with details": {"stdout": 1, "details": 1}, "with times": {"stdout": 1, "timestamps": 1}, "no stream": {},
}

_EXECS = {
    "output and exit code": (["sh", "-c", "echo out; echo err >&2; exit 3"], {}),
    "a user": (["id", "-u"], {"User": "1000"}), "a directory": (["pwd"], {"WorkingDir": "/tmp"}),
    "variables": (["sh", "-c", "echo $A"], {"Env": ["A=b"]}),
    "a command that is not there": (["no-such-command"], {}), "a path that is not there": (["/no/such"], {}),
    "what is no program": (["/etc/passwd"], {}), "privileges": (["grep", "CapEff", "/proc/self/status"], {"Privileged": True}),
    "seccomp": (["grep", "Seccomp", "/proc/self/status"], {}),
    "seccomp with privileges": (["sh", "-c", "grep Seccomp /proc/self/status; mount -t tmpfs x /tmp"], {"Privileged": True}),
    "a directory that is not there": (["pwd"], {"WorkingDir": "/no/such"}), "an unknown user": (["true"], {"User": "nonsense"}),
}


def _tar(*names):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
    return out.getvalue()


def _listing(e, container, path):
    status, said = e.answer("GET", f"/containers/{container}/archive", path=path)
    if status != 200:
        return [status, said]
    with tarfile.open(fileobj=io.BytesIO(said)) as tar:
        return [[m.name, m.type.decode(), oct(m.mode), m.uid, m.linkname] for m in tar.getmembers()][:10]


def _path_stat(path):
    def look(e):
        status, headers = e.headers("HEAD", f"/containers/{e.sleeper}/archive", path=path)
        if status != 200:
            return status
        stat = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
        return {key: stat[key] for key in ("name", "mode", "linkTarget")}
    return look


def _put(archive, path, **query):
    def look(e):
        container = e.start()
        answer = e.answer("PUT", f"/containers/{container}/archive", archive, path=path, **query,
                          headers={"Content-Type": "application/x-tar"})
        return [answer, e.exec(container, ["sh", "-c", "ls -ln /tmp | awk '{print $1,$3,$4,$9}'"])]
    return look


def _keys(path):
    def look(e):
        return sorted(e.get(path))
    return look


def _list(filters, **query):
    def look(e):
        e.create(["true"], name="listed", Labels={"colour": "blue"})
        rows = e.get("/containers/json", filters=json.dumps(filters), **query)
        return sorted(row["Names"][0] for row in rows if row["Names"][0].startswith("/compare-"))
    return look


def _summary(e):
    row = [r for r in e.get("/containers/json", all=1) if r["Id"] == e.sleeper][0]
    return {key: value for key, value in row.items() if key not in ("Created", "Status", "ImageID")}


def _inspect_keys(e):
    value = e.inspect(e.sleeper)
    return {part: sorted(value[part]) if isinstance(value[part], dict) else type(value[part]).__name__ for part in value}


def _stats_keys(e):
    value = e.get(f"/containers/{e.sleeper}/stats", stream=0)
    return {part: sorted(value[part]) if isinstance(value[part], dict) else None
            for part in value if part not in ("memory_stats", "networks")}


BEHAVIOURS = (
    [(f"a process sees {what}", look) for what, look in _VIEWS.items()]
    + [("start of a command that is not there", _start_error(["no-such-command"])),
       ("start of a path that is not there", _start_error(["/no/such"])),
       ("start of what is no program", _start_error(["/etc/passwd"])),
       ("start of a directory", _start_error(["/etc"])),
       ("start in a directory that is a file", _start_error(["true"], WorkingDir="/etc/passwd"))]
    + [(f"start with a seccomp profile {what}", _start_error(["true"], HostConfig=host)) for what, host in _BAD_PROFILES.items()]
    + [(f"create with a seccomp profile {what}", lambda e, host=host: e.try_create(HostConfig=host)[0])
       for what, host in _BAD_PROFILES.items()]
    + [(f"{action} of a container that is {begin.__name__}", _after(begin, call))
       for begin in (created, running, exited, paused) for action, call in _ACTIONS.items()]
    + [(f"the state after {action} when {begin.__name__}", _after(begin, _state_after(_ACTIONS[action])))
       for begin, action in ((running, "stop"), (running, "kill"), (running, "pause"), (paused, "stop"),
                             (paused, "kill"), (created, "kill"))]
    + [(f"the events of {what}", lambda e, life=life: _events(e, life)) for what, life in _LIFES.items()]
    + [(f"logs: {what}", lambda e, query=query: e.logs(_logged(e), **query)) for what, query in _LOGS.items()]
    + [("logs of a container that never started", lambda e: e.logs(e.create(), stdout=1)),
       ("logs without a log", lambda e: e.logs(e.ran(["true"], HostConfig={"LogConfig": {"Type": "none"}}), stdout=1))]
    + [(f"exec: {what}", lambda e, command=command, config=config: e.exec(e.sleeper, command, **config))
       for what, (command, config) in _EXECS.items()]
    + [(f"the stat of {path}", _path_stat(path))
       for path in ("/", "/etc", "/etc/", "/etc/passwd", "/etc/passwd/", "etc/group", "/no/such", "/bin/sh", "/etc/.", "/dev")]
    + [(f"the archive of {path}", lambda e, path=path: _listing(e, e.sleeper, path))
       for path in ("/etc/passwd", "/no/such", "/home", "/tmp/.", "/tmp/", "/proc")]
    + [("put a file", _put(_tar("f"), "/tmp")), ("put below what is not there", _put(_tar("f"), "/no/such")),
       ("put into a file", _put(_tar("f"), "/etc/passwd")), ("put an outside path", _put(_tar("../../f"), "/tmp")),
       ("put a deep path", _put(_tar("a/b/c"), "/tmp")), ("put what is no archive", _put(b"nonsense" * 100, "/tmp")),
       ("put nothing", _put(b"", "/tmp")), ("put an absolute path", _put(_tar("/f"), "/tmp"))]
    + [(f"the keys of {path}", _keys(path)) for path in ("/version", "/info", "/system/df")]
    + [("the keys of inspect", _inspect_keys), ("the keys of stats", _stats_keys), ("a row of the list", _summary),
       ("the headers of ping", lambda e: {key: value for key, value in e.headers("GET", "/_ping")[1].items()
                                          if key not in ("date", "server")}),
       ("HEAD of ping", lambda e: sorted(e.headers("HEAD", "/_ping")[1]))]
    + [(f"the list by {filters} {query}", _list(filters, **query)) for filters, query in (
        ({"label": ["colour"]}, {"all": 1}), ({"label": ["colour=blue"]}, {"all": 1}), ({"label": ["colour=red"]}, {"all": 1}),
        ({"label!": ["colour"]}, {"all": 1}), ({"name": ["compare-"]}, {}), ({"name": ["^/compare-listed$"]}, {"all": 1}),
        ({"status": ["created"]}, {}), ({"status": ["running"]}, {}), ({"exited": ["0"]}, {"all": 1}),
        ({"ancestor": ["busybox"]}, {"all": 1}), ({"ancestor": ["no-such"]}, {"all": 1}), ({"network": ["bridge"]}, {"all": 1}),
        ({"health": ["none"]}, {"all": 1}), ({"is-task": ["false"]}, {"all": 1}), ({"volume": ["/x"]}, {"all": 1}))]
)
