"""Behaviours that are one request each: errors, and what create makes of every field.

Each is (name, function of an Endpoint). What it returns is compared.
"""

MISSING = "compare-no-such-container"

# Every operation on a container that does not exist.
_ON_MISSING = [
    ("GET", "/json", {}), ("GET", "/top", {}), ("GET", "/logs", {"stdout": 1}), ("GET", "/changes", {}),
    ("GET", "/export", {}), ("GET", "/stats", {"stream": 0}), ("POST", "/resize", {"h": 1, "w": 1}),
    ("POST", "/start", {}), ("POST", "/stop", {}), ("POST", "/restart", {}), ("POST", "/kill", {}),
    ("POST", "/update", {}), ("POST", "/rename", {"name": "x"}), ("POST", "/pause", {}), ("POST", "/unpause", {}),
    ("POST", "/attach", {"stream": 1}), ("POST", "/wait", {}), ("DELETE", "", {}), ("GET", "/archive", {"path": "/"}),
    ("PUT", "/archive", {"path": "/"}), ("POST", "/exec", {}), ("HEAD", "/archive", {"path": "/"}),
]

_EXEC_MISSING = [("POST", "/exec/none/start", {}), ("POST", "/exec/none/resize", {"h": 1, "w": 1}),
                 ("GET", "/exec/none/json", {})]

_OTHER = [
    ("GET", "/nothing", {}), ("GET", "/images/no-such-image/json", {}), ("GET", "/images/no-such-image/history", {}),
    ("DELETE", "/images/no-such-image", {}), ("POST", "/images/no-such-image/tag", {"repo": "x"}),
    ("GET", "/networks/no-such-network", {}), ("DELETE", "/networks/no-such-network", {}),
    ("GET", "/volumes/no-such-volume", {}), ("GET", "/containers/json", {"filters": "{"}),
    ("GET", "/containers/json", {"filters": '{"nonsense":["x"]}'}),
    ("GET", "/containers/json", {"filters": '{"status":["nonsense"]}'}),
    ("GET", "/containers/json", {"filters": '{"health":["nonsense"]}'}),
    ("GET", "/containers/json", {"filters": '{"before":["no-such"]}'}),
    ("GET", "/containers/json", {"limit": "x"}),
    ("GET", "/events", {"since": "x"}), ("GET", "/events", {"since": 9, "until": 8}),
    ("GET", "/events", {"filters": '{"nonsense":["x"]}', "until": 1}),
    ("POST", "/containers/prune", {"filters": '{"nonsense":["x"]}'}),
    ("GET", "/nodes", {}), ("GET", "/services", {}), ("GET", "/tasks", {}), ("GET", "/secrets", {}), ("GET", "/configs", {}),
    ("GET", "/swarm", {}), ("POST", "/swarm/leave", {}), ("GET", "/plugins", {}), ("GET", "/volumes", {}),
]

# Create requests that are wrong, or nearly.
_CREATE = {
    "an empty body": {"Image": ""},
    "an image that is not there": {"Image": "compare-no-such-image"},
    "an invalid image name": {"Image": "UPPER:x:y"},
    "no command": {"Cmd": []},
    "a relative working directory": {"WorkingDir": "relative"},
    "a bad environment": {"Env": ["=x"]},
    "a variable without a value": {"Env": ["ALONE"]},
    "a bad stop signal": {"StopSignal": "NONSENSE"},
    "a negative stop timeout": {"StopTimeout": -5},
    "a bad exposed port": {"ExposedPorts": {"x/tcp": {}}},
    "too little memory": {"HostConfig": {"Memory": 1}},
    "negative memory": {"HostConfig": {"Memory": -1}},
    "swap without memory": {"HostConfig": {"MemorySwap": 100 << 20}},
    "swap below memory": {"HostConfig": {"Memory": 100 << 20, "MemorySwap": 50 << 20}},
    "reservation above memory": {"HostConfig": {"Memory": 100 << 20, "MemoryReservation": 200 << 20}},
    "reservation too small": {"HostConfig": {"MemoryReservation": 1}},
    "a bad swappiness": {"HostConfig": {"MemorySwappiness": 101}},
    "negative cpus": {"HostConfig": {"NanoCpus": -1}},
    "too many cpus": {"HostConfig": {"NanoCpus": 1000_000_000_000}},
    "cpus and quota": {"HostConfig": {"NanoCpus": 500_000_000, "CpuQuota": 1000}},
    "cpus and period": {"HostConfig": {"NanoCpus": 500_000_000, "CpuPeriod": 1000}},
    "a short period": {"HostConfig": {"CpuPeriod": 10}},
    "a small quota": {"HostConfig": {"CpuQuota": 10}},
    "a bad cpuset": {"HostConfig": {"CpusetCpus": "x"}},
    "a cpu that is not there": {"HostConfig": {"CpusetCpus": "4000"}},
    "a bad mems": {"HostConfig": {"CpusetMems": "x"}},
    "a bad restart policy": {"HostConfig": {"RestartPolicy": {"Name": "nonsense"}}},
    "retries with always": {"HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 1}}},
    "negative retries": {"HostConfig": {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": -1}}},
    "restart and remove": {"HostConfig": {"AutoRemove": True, "RestartPolicy": {"Name": "always"}}},
    "a bad log driver": {"HostConfig": {"LogConfig": {"Type": "nonsense"}}},
    "a bad log option": {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"nonsense": "1"}}}},
    "a bad log mode": {"HostConfig": {"LogConfig": {"Type": "json-file", "Config": {"mode": "x"}}}},
    "a bad capability": {"HostConfig": {"CapAdd": ["NONSENSE"]}},
    "a bad dropped capability": {"HostConfig": {"CapDrop": ["NONSENSE"]}},
    "a bad security option": {"HostConfig": {"SecurityOpt": ["nonsense"]}},
    "a bad extra host": {"HostConfig": {"ExtraHosts": ["nonsense"]}},
    "a bad dns server": {"HostConfig": {"Dns": ["nonsense"]}},
    "a bad ipc mode": {"HostConfig": {"IpcMode": "nonsense"}},
    "a bad pid mode": {"HostConfig": {"PidMode": "nonsense"}},
    "a bad uts mode": {"HostConfig": {"UTSMode": "nonsense"}},
    "a bad userns mode": {"HostConfig": {"UsernsMode": "nonsense"}},
    "a bad cgroupns mode": {"HostConfig": {"CgroupnsMode": "nonsense"}},
    "a bad isolation": {"HostConfig": {"Isolation": "nonsense"}},
    "a bad runtime": {"HostConfig": {"Runtime": "nonsense"}},
    "a negative shm size": {"HostConfig": {"ShmSize": -1}},
    "a bad oom score": {"HostConfig": {"OomScoreAdj": 2000}},
    "a soft ulimit above the hard": {"HostConfig": {"Ulimits": [{"Name": "nofile", "Soft": 9, "Hard": 8}]}},
    "a bad ulimit": {"HostConfig": {"Ulimits": [{"Name": "nonsense", "Soft": 1, "Hard": 1}]}},
    "a relative tmpfs": {"HostConfig": {"Tmpfs": {"relative": ""}}},
    "a bad tmpfs option": {"HostConfig": {"Tmpfs": {"/x": "nonsense"}}},
    "a mount without a target": {"HostConfig": {"Mounts": [{"Type": "tmpfs"}]}},
    "a mount of a bad type": {"HostConfig": {"Mounts": [{"Type": "nonsense", "Target": "/x"}]}},
    "a tmpfs mount with a source": {"HostConfig": {"Mounts": [{"Type": "tmpfs", "Target": "/x", "Source": "/y"}]}},
    "a bad storage option": {"HostConfig": {"StorageOpt": {"nonsense": "1"}}},
    "a bad health check": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5}},
    "a negative health retry": {"Healthcheck": {"Test": ["CMD", "true"], "Retries": -1}},
    "a string where a number belongs": {"HostConfig": {"Memory": "x"}},
    "a number where a string belongs": {"User": 5},
    "a string for a command": {"Cmd": "true"},
    "an object for a command": {"Cmd": {}},
    "a long host name": {"Hostname": "h" * 80},
}

# A value each, and where inspect shows it.
_FIELDS = {
    "Config": {
        "Hostname": "box", "Domainname": "example.org", "User": "1000:1000", "Tty": True, "OpenStdin": True,
        "StdinOnce": True, "Env": ["A=1", "B="], "Labels": {"a": "1", "b": ""}, "WorkingDir": "/tmp/new",
        "Entrypoint": ["sh", "-c"], "StopSignal": "SIGINT", "StopTimeout": 3, "ExposedPorts": {"80/tcp": {}},
        "Shell": ["/bin/sh"], "AttachStdout": True, "NetworkDisabled": True,
        "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000, "Retries": 2},
    },
    "HostConfig": {
        "Memory": 64 << 20, "MemoryReservation": 32 << 20, "NanoCpus": 500_000_000, "CpuShares": 512,
        "CpuPeriod": 50000, "CpuQuota": 25000, "CpusetCpus": "0", "PidsLimit": 100, "ShmSize": 1 << 20,
        "OomScoreAdj": 5, "ReadonlyRootfs": True, "Privileged": True, "Init": True, "AutoRemove": False,
        "CapAdd": ["NET_ADMIN"], "CapDrop": ["CHOWN"], "Dns": ["192.0.2.1"], "DnsSearch": ["example.org"],
        "DnsOptions": ["ndots:2"], "ExtraHosts": ["a:192.0.2.2"], "GroupAdd": ["5"], "IpcMode": "private",
        "SecurityOpt": ["no-new-privileges"], "Tmpfs": {"/x": "size=1m"}, "Sysctls": {"net.ipv4.ip_forward": "1"},
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}],
        "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "2"}},
        "NetworkMode": "none", "MaskedPaths": [], "ReadonlyPaths": [], "Annotations": {"a": "b"},
        "Mounts": [{"Type": "tmpfs", "Target": "/m"}], "CgroupnsMode": "private", "MemorySwappiness": -1,
    },
}


def _on_missing(method, path, query):
    return lambda e: e.answer(method, f"/containers/{MISSING}{path}", **query)


def _plain(method, path, query):
    return lambda e: e.answer(method, path, **query)


def _create(body):
    def look(e):
        status, said = e.try_create(**body)
        return [status, said if status != 201 else {"Warnings": said["Warnings"]}]
    return look


def _field(part, name, value):
    def look(e):
        body = {name: value} if part == "Config" else {"HostConfig": {name: value}}
        status, said = e.try_create(**body)
        return [status, e.inspect(said["Id"])[part].get(name, "absent") if status == 201 else said]
    return look


def _default(part, name):
    return lambda e: e.inspect(e.create(["true"]))[part].get(name, "absent")


BEHAVIOURS = (
    [(f"{method} {path or '/'} of a container that is not there", _on_missing(method, path, query))
     for method, path, query in _ON_MISSING]
    + [(f"{method} {path}", _plain(method, path, query)) for method, path, query in _EXEC_MISSING]
    + [(f"{method} {path} {query or ''}".strip(), _plain(method, path, query)) for method, path, query in _OTHER]
    + [(f"create with {what}", _create(body)) for what, body in _CREATE.items()]
    + [(f"{part}.{name} is shown", _field(part, name, value))
       for part, fields in _FIELDS.items() for name, value in fields.items()]
    + [(f"{part}.{name} by default", _default(part, name)) for part, fields in _FIELDS.items() for name in fields]
)
