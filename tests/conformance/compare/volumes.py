"""Behaviours of volumes: their objects, where they are mounted, what is in them, when they go."""

import json
import os
import re
import time

from .endpoint import PREFIX

_NAME = PREFIX + "data"


def _volume(**changes):
    return {"Type": "volume", "Source": _NAME, "Target": "/v", **changes}


def _shown(volume):
    """A volume without where it lies on its host."""
    return {key: value for key, value in volume.items() if key != "Mountpoint"} if isinstance(volume, dict) else volume


def _mounts(endpoint, container):
    mounts = [{key: value for key, value in mount.items() if key != "Source"}
              for mount in endpoint.inspect(container)["Mounts"]]
    return sorted(mounts, key=lambda mount: mount["Destination"])


class _Volumes:
    """Volumes that begin with PREFIX and are removed after the block, with the containers before them."""

    def __init__(self, endpoint):
        self._endpoint = endpoint

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._endpoint.tidy()
        for volume in self._endpoint.get("/volumes")["Volumes"] or []:
            if volume["Name"].startswith(PREFIX):
                self._endpoint.answer("DELETE", f"/volumes/{volume['Name']}")

    def make(self, **body):
        return self._endpoint.answer("POST", "/volumes/create", {"Name": _NAME, **body})


def _with_volumes(look):
    def run(endpoint):
        with _Volumes(endpoint) as volumes:
            return look(endpoint, volumes)
    return run


def _made(body):
    def look(e, volumes):
        status, said = volumes.make(**body)
        return [status, _shown(said)]
    return look


def _in_turn(*runs):
    """The output of each run, in a container of its own, the next when the one before has ended."""
    def look(e, _):
        return [e.run(["sh", "-c", script], HostConfig=host, **config) for script, host, config in runs]
    return look


def _refused_or_mounted(**body):
    def look(e, _):
        status, said = e.try_create(**body)
        return [status, said] if status != 201 else [status, _mounts(e, said["Id"])]
    return look


def _binds(*binds):
    return {"HostConfig": {"Binds": list(binds)}}


def _names(e, **filters):
    rows = e.get("/volumes", filters=json.dumps(filters))["Volumes"] or []
    return sorted(row["Name"] for row in rows if row["Name"].startswith(PREFIX))


def _mask(mount):
    """A name that was made up is only known to be one."""
    return {**mount, "Name": re.sub("[0-9a-f]{64}", "<name>", mount.get("Name", ""))}


def _volume_of(mount):
    """dockerd 28 shows no name of a volume that Binds gives none; the directory of its files has it."""
    return mount.get("Name") or os.path.basename(os.path.dirname(mount["Source"]))


def _filters(e, volumes):
    volumes.make()
    e.answer("POST", "/volumes/create", {"Name": PREFIX + "labelled", "Labels": {"a": "b"}})
    e.create(["true"], **_binds(_NAME + ":/v"))
    return [_names(e, **filters) for filters in (
        {}, {"dangling": ["true"]}, {"dangling": ["false"]}, {"dangling": ["1"]}, {"label": ["a"]},
        {"label": ["a=c"]}, {"name": [_NAME]}, {"name": ["data"]}, {"driver": ["local"]}, {"driver": ["x"]})]


def _in_use(e, volumes):
    volumes.make()
    container = e.create(["true"], **_binds(_NAME + ":/v"))
    first = e.answer("DELETE", f"/volumes/{_NAME}")
    forced = e.answer("DELETE", f"/volumes/{_NAME}", force=1)
    e.answer("DELETE", f"/containers/{container}")
    return [first, forced, e.status("DELETE", f"/volumes/{_NAME}"), e.answer("DELETE", f"/volumes/{_NAME}")]


def _what_goes(v):
    """Which volumes are left after their container was removed."""
    def look(e, _):
        container = e.ran(["true"], **_binds(_NAME + ":/v", "/w"), Volumes={"/x": {}})
        names = {mount["Destination"]: _volume_of(mount) for mount in e.inspect(container)["Mounts"]}
        e.answer("DELETE", f"/containers/{container}", v=v)
        left = {place: e.status("GET", f"/volumes/{name}") for place, name in names.items()}
        for name in names.values():
            e.answer("DELETE", f"/volumes/{name}")
        return left
    return look


def _auto_remove(e, _):
    container = e.create(["true"], HostConfig={"AutoRemove": True, "Binds": [_NAME + ":/v", "/w"]})
    names = {mount["Destination"]: _volume_of(mount) for mount in e.inspect(container)["Mounts"]}
    stream = e.api.hijack(f"/containers/{container}/attach", query={"stream": 1, "stdout": 1})
    e.answer("POST", f"/containers/{container}/start")
    stream.read_outputs()
    e.answer("POST", f"/containers/{container}/wait", condition="removed")
    stream.close()
    return {place: e.status("GET", f"/volumes/{name}") for place, name in names.items()}


def _from_another(mode):
    def look(e, _):
        first = e.ran(["sh", "-c", "echo one > /v/f; echo two > /w/f"], **_binds(_NAME + ":/v", "/w"))
        second = e.create(["sh", "-c", "cat /v/f /w/f; echo x > /v/g && cat /v/g"],
                          HostConfig={"VolumesFrom": [first + mode]})
        mounts = [_mask(mount) for mount in _mounts(e, second)]
        e.answer("POST", f"/containers/{second}/start")
        return [mounts, e.wait(second), e.logs(second, stdout=1, stderr=1)]
    return look


def _archive(e, _):
    container = e.ran(["sh", "-c", "echo x > /v/f; mkdir /v/d"], **_binds(_NAME + ":/v"))
    return [e.headers("HEAD", f"/containers/{container}/archive", path=path)[0] for path in ("/v", "/v/f", "/v/d", "/v/g")]


def _changes(e, _):
    container = e.ran(["sh", "-c", "echo x > /v/f; echo y > /etc/f"], **_binds(_NAME + ":/v", "nested-compare:/etc/deep/v"))
    said = sorted((row["Path"], row["Kind"]) for row in e.get(f"/containers/{container}/changes"))
    e.tidy()
    e.answer("DELETE", "/volumes/nested-compare")
    return said


def _events(e, _):
    since = time.time()
    container = e.ran(["true"], **_binds(_NAME + ":/v:ro"))
    e.answer("DELETE", f"/containers/{container}")
    e.answer("DELETE", f"/volumes/{_NAME}")
    time.sleep(1)
    connection = e.api.connect()
    response = e.api.send(connection, "GET", "/events", query={"since": f"{since:.9f}", "until": f"{time.time():.9f}"})
    rows = [json.loads(line) for line in response.read().decode().splitlines() if line]
    connection.close()
    return [[row["Type"], row["Action"], row["Actor"]["Attributes"] if row["Type"] == "volume" else None] for row in rows]


def _list_of_containers(e, _):
    container = e.create(["true"], **_binds(_NAME + ":/v"))
    found = []
    for wanted in (_NAME, "/v", "/w"):
        rows = e.get("/containers/json", all=1, filters=json.dumps({"volume": [wanted], "id": [container]}))
        found.append(len(rows))
    return found


_LIST = r"ls -la /v | awk 'NR>1{print $1,$3,$4,$9}' | sed 's/ \.\.$//' | sort; "
_DATA = {"Binds": [_NAME + ":/v"]}

_BEHAVIOURS = {
    "made": _made({}),
    "made with labels": _made({"Labels": {"a": "b", "c": ""}}),
    "made with its driver": _made({"Driver": "local"}),
    "made with another driver": _made({"Driver": "nonsense"}),
    "made with an unknown option": _made({"DriverOpts": {"nonsense": "x"}}),
    "made with a bad name": _made({"Name": "a/b"}),
    "made with a name of one letter": _made({"Name": "a"}),
    "made with a long name": _made({"Name": "a" * 256}),
    "made twice": lambda e, v: [v.make(Labels={"a": "b"})[0], _shown(v.make(Labels={"c": "d"})[1])],
    "inspect": lambda e, v: [v.make()[0], _shown(e.get(f"/volumes/{_NAME}"))],
    "inspect of none": lambda e, v: e.answer("GET", "/volumes/" + PREFIX + "none"),
    "removal of none": lambda e, v: e.answer("DELETE", "/volumes/" + PREFIX + "none"),
    "forced removal of none": lambda e, v: e.answer("DELETE", "/volumes/" + PREFIX + "none", force=1),
    "removal in use": _in_use,
    "filters": _filters,
    "a bad filter": lambda e, v: e.answer("GET", "/volumes", filters=json.dumps({"nonsense": ["x"]})),
    "containers by volume": _list_of_containers,
    "mounts of a name": _refused_or_mounted(**_binds(_NAME + ":/v")),
    "mounts of a name, read-only": _refused_or_mounted(**_binds(_NAME + ":/v:ro")),
    "mounts with nocopy": _refused_or_mounted(**_binds(_NAME + ":/v:nocopy")),
    "a Mount": _refused_or_mounted(HostConfig={"Mounts": [_volume()]}),
    "a Mount, read-only": _refused_or_mounted(HostConfig={"Mounts": [_volume(ReadOnly=True)]}),
    "a Mount without a target": _refused_or_mounted(HostConfig={"Mounts": [_volume(Target="")]}),
    "a Mount on a relative target": _refused_or_mounted(HostConfig={"Mounts": [_volume(Target="v")]}),
    "a Mount on the root": _refused_or_mounted(HostConfig={"Mounts": [_volume(Target="/")]}),
    "a Mount with options of a tmpfs": _refused_or_mounted(HostConfig={"Mounts": [_volume(TmpfsOptions={"Mode": 7})]}),
    "a Mount of a bad name": _refused_or_mounted(HostConfig={"Mounts": [_volume(Source="a b")]}),
    "a bind without a place": _refused_or_mounted(**_binds("vv")),
    "a bind on the root": _refused_or_mounted(**_binds(_NAME + ":/")),
    "a bind with a bad mode": _refused_or_mounted(**_binds(_NAME + ":/v:nonsense")),
    "a bind with two modes": _refused_or_mounted(**_binds(_NAME + ":/v:ro,rw")),
    "a bind with four parts": _refused_or_mounted(**_binds(_NAME + ":/v:ro:x")),
    "a bind of a bad name": _refused_or_mounted(**_binds("a b:/v")),
    "a bind twice": _refused_or_mounted(**_binds(_NAME + ":/v", _NAME + "2:/v")),
    "a bind where a tmpfs is": _refused_or_mounted(HostConfig={"Binds": [_NAME + ":/v"], "Tmpfs": {"/v": ""}}),
    "volumes from nobody": _refused_or_mounted(HostConfig={"VolumesFrom": ["compare-nobody"]}),
    "volumes from with a bad mode": lambda e, v: e.try_create(HostConfig={"VolumesFrom": [e.create(["true"]) + ":x"]})[0],
    "an unknown driver": _refused_or_mounted(HostConfig={"VolumeDriver": "nonsense", "Binds": [_NAME + ":/v"]}),
    "what is kept": _in_turn(("echo x > /v/f; chmod 640 /v/f; chown 5:6 /v/f", _DATA, {}), (_LIST + "cat /v/f", _DATA, {})),
    "an empty one": _in_turn((_LIST + "stat -c '%a %u %g' /v; df /v | wc -l", _DATA, {})),
    "what the image has there": _in_turn(("ls /v | wc -l; stat -c '%a %u %g %n' /v /v/root /v/passwd | sort; echo x > /v/passwd",
                                          {"Binds": [_NAME + ":/etc", _NAME + ":/v"]}, {}),
                                         ("cat /v/passwd; ls /v | wc -l", {"Binds": [_NAME + ":/v"]}, {})),
    "nothing of what the image has there": _in_turn(("ls /etc/passwd", {"Binds": [_NAME + ":/etc:nocopy"]}, {})),
    "a read-only one": _in_turn(("echo x > /v/f; echo $?", {"Binds": [_NAME + ":/v:ro"]}, {})),
    "one under a read-only root": _in_turn(("echo x > /v/f && cat /v/f; echo y > /y", {**_DATA, "ReadonlyRootfs": True}, {})),
    "one at two places": _in_turn(("echo x > /v/f; cat /w/f", {"Binds": [_NAME + ":/v", _NAME + ":/w"]}, {})),
    "one inside of another": _in_turn(("echo x > /v/w/f; ls /v; ls /v/w",
                                       {"Binds": [_NAME + "2:/v/w", _NAME + ":/v"]}, {})),
    "one of a user": _in_turn(("touch /v/f; echo $?", _DATA, {"User": "1000"})),
    "its mount's options": _in_turn((r"awk '$2==\"/v\"{print $4}' /proc/mounts | grep -o '^r[wo]'", _DATA, {})),
    "its place cannot be removed": _in_turn(("rmdir /v; mv /v /x; echo $?", _DATA, {})),
    "without a name": lambda e, v: [_mask(m) for m in _mounts(e, e.create(["true"], Volumes={"/v": {}}))],
    "what goes with a container": _what_goes(0),
    "what goes with a container and its volumes": _what_goes(1),
    "what goes with one that removes itself": _auto_remove,
    "from another container": _from_another(""),
    "from another container, read-only": _from_another(":ro"),
    "in an archive": _archive,
    "in changes": _changes,
    "events": _events,
}


BEHAVIOURS = [(f"volume: {what}", _with_volumes(look)) for what, look in _BEHAVIOURS.items()]
