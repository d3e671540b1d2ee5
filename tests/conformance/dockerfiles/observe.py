"""Builds an image at an endpoint and tells what came of it, so that two endpoints can be compared."""

import hashlib
import io
import json
import os
import re
import subprocess
import tarfile
import tempfile
import time

from conformance.compare.endpoint import IMAGE, comparable
from conformance.dockerfiles.context import archive
from harness.docker_api import ApiError

_DIGEST = re.compile(r"(file|dir|multi):([0-9a-f]{64})\b")
_KINDS = {tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.DIRTYPE: "directory", tarfile.SYMTYPE: "link",
          tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "fifo", tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device"}


def _shortened(value):
    """The sums of copied files are the same everywhere: what takes IDs away must not take them."""
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return _DIGEST.sub(lambda found: f"{found[1]}:{found[2][:20]}", value) if isinstance(value, str) else value


def _said(body):
    """A stream's objects; neighbouring texts are one, for how they are cut means nothing."""
    said = []
    for line in body.decode(errors="replace").split("\r\n"):
        if not line:
            continue
        item = json.loads(line)
        if item.get("status") == "Downloading":
            continue  # as often as there is time for it
        if set(item) == {"stream"} and said and isinstance(said[-1], str):
            said[-1] += item["stream"]
        else:
            said.append(item["stream"] if set(item) == {"stream"} else item)
    return [item.replace("\x1b[0m\x1b[91m", "") if isinstance(item, str) else item for item in said]


def _layer(data, base, begun):
    """An archive's entries by name."""
    entries = {}
    with tarfile.open(fileobj=io.BytesIO(data), encoding="utf-8", errors="surrogateescape") as tar:
        for info in tar:
            name = info.name.strip("/") or "."
            entry = {"kind": _KINDS.get(info.type, "unknown"), "mode": oct(info.mode & 0o7777), "owner": [info.uid, info.gid]}
            if info.isreg():
                content = tar.extractfile(info).read()
                entry["size"], entry["sum"] = len(content), hashlib.sha256(content).hexdigest()[:20]
            if info.issym() or info.islnk():
                entry["link"] = info.linkname.strip("/") if info.islnk() else info.linkname
            if info.ischr() or info.isblk():
                entry["device"] = [info.devmajor, info.devminor]
            for key, value in info.pax_headers.items():
                if key.startswith("SCHILY.xattr."):
                    entry[key[7:]] = value.encode("utf-8", "surrogateescape").hex()
            if not info.islnk():
                entry["time"] = info.mtime if info.mtime < begun - 60 else "now"
                if base.get(name) == info.mtime:
                    entry["time"] = "as in the base"
            entries[name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")] = entry
    return entries


def _one_name_first(entries):
    """Of a file with several names any may be the first: the contents belong to the one that sorts first."""
    groups = {}
    for name, entry in entries.items():
        groups.setdefault(entry["link"] if entry["kind"] == "hard link" else name, []).append(name)
    for first, names in groups.items():
        if len(names) == 1 or first not in entries:
            continue
        whole = entries[first]
        names.sort()
        for name in names:
            entries[name] = {"kind": "hard link", "link": names[0]}
        entries[names[0]] = whole
    return entries


def _merged(base, layers):
    """What a container sees beside the base's own files: by name, and null for what is gone."""
    tree = dict.fromkeys(base, "base")

    def remove(name, itself):
        for other in [other for other in tree if other.startswith(name + "/") or (itself and other == name)]:
            del tree[other]

    for entries in layers:
        for name in entries:
            directory, _, last = name.rpartition("/")
            if last == ".wh..wh..opq":
                remove(directory, False)
            elif last.startswith(".wh."):
                remove((directory + "/" if directory else "") + last[4:], True)
        for name, entry in entries.items():
            if name.rpartition("/")[2].startswith(".wh."):
                continue
            if entry["kind"] != "directory":
                remove(name, True)
            tree[name] = entry
    gone = {name: None for name in base if name not in tree}
    return {**gone, **{name: entry for name, entry in tree.items() if entry != "base"}}


def _saved(endpoint, image):
    connection = endpoint.api.connect()
    answer = endpoint.api.send(connection, "GET", f"/images/{image}/get")
    data = answer.read()
    connection.close()
    if answer.status != 200:
        raise ApiError(answer.status, json.loads(data)["message"])
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        manifest = json.load(tar.extractfile("manifest.json"))[0]
        config = json.load(tar.extractfile(manifest["Config"]))
        layers = []
        for name in manifest["Layers"]:
            layers.append(tar.extractfile(name).read())
        return config, layers


def _files(endpoint, image, begun):
    """The entries of each layer that the base does not have (how deletions are written may differ), and what
    they come to."""
    config, layers = _saved(endpoint, image)
    base = endpoint.get(f"/images/{IMAGE}/json")["RootFS"]["Layers"]
    ids = config["rootfs"]["diff_ids"]
    shared = len(base) if ids[:len(base)] == base else 0
    times = {}
    for data in layers[:shared]:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            times.update({info.name.strip("/"): info.mtime for info in tar})
    new = [_one_name_first(_layer(data, times, begun)) for data in layers[shared:]]
    plain = [{name: entry for name, entry in layer.items() if not name.rpartition("/")[2].startswith(".wh.")} for layer in new]
    return {"layers": plain, "tree": _merged(times, new)}


_CONFIG = ("Architecture", "Os", "Author", "Comment", "Config", "ContainerConfig")


def _image(endpoint, image, begun):
    inspected = endpoint.get(f"/images/{image}/json")
    config = {field: inspected.get(field) for field in _CONFIG}
    for part in ("Config", "ContainerConfig"):
        if config[part] is not None:  # From API 1.45 on there is no ContainerConfig.
            config[part] = {key: value for key, value in config[part].items() if key not in ("Hostname", "Image")}
    seen = {"config": {**config, "layers": len(inspected["RootFS"].get("Layers") or [])}}
    try:
        raw, _ = _saved(endpoint, image)
        seen["history"] = [{key: value for key, value in entry.items() if key != "created"} for entry in raw["history"]]
        seen["files"] = _files(endpoint, image, begun)
    except ApiError as error:
        seen["files"] = [error.status, error.message]
    return seen


def _ids(endpoint):
    return {row["Id"] for row in endpoint.get("/images/json", all=1)}


def _containers(endpoint):
    return {row["Id"] for row in endpoint.get("/containers/json", all=1)}


def post(endpoint, body, **query):
    """(status, objects) of a build."""
    connection = endpoint.api.connect()
    answer = endpoint.api.send(connection, "POST", "/build", body=body, query=query, headers={"Content-Type": "application/x-tar"})
    data = answer.read()
    connection.close()
    if answer.status != 200:
        return answer.status, json.loads(data)["message"]
    return answer.status, _said(data)


def _serve(endpoint, script):
    """The address of a web server; its container goes with the others that a case leaves."""
    container = endpoint.start(["sh", "-c", script + "echo ready; exec httpd -f -p 80 -h /www"])
    while not endpoint.logs(container, stdout=1):
        time.sleep(0.1)
    return endpoint.inspect(container)["NetworkSettings"]["IPAddress"]


def _observe_client(endpoint, case, begun):
    with tempfile.TemporaryDirectory() as directory:
        context = os.path.join(directory, "context")
        with tarfile.open(fileobj=io.BytesIO(case.context())) as tar:
            tar.extractall(context)
        identity = os.path.join(directory, "id")
        done = subprocess.run(["docker", "-H", f"unix://{endpoint.api.path}", "build", "--iidfile", identity, *case.client, context],
                              env={**os.environ, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": directory}, cwd=context, capture_output=True, check=False)
        seen = {"says": {"exit code": done.returncode, "stdout": done.stdout.decode(), "stderr": done.stderr.decode().replace(context, "CONTEXT")}}
        if os.path.exists(identity):
            with open(identity, encoding="ascii") as file:
                seen.update(_image(endpoint, file.read().strip(), begun))
        return seen


def _observe(endpoint, case):
    begun = time.time()
    for text, files, tag in case.bases:
        status, said = post(endpoint, archive({"Dockerfile": text, **files}), t=tag, rm=1)
        if status != 200 or any(isinstance(item, dict) and "error" in item for item in said):
            raise ValueError(f"the base {tag}: {said}")
    server = _serve(endpoint, case.web) if case.web else ""
    before = _containers(endpoint)
    if case.client is not None:
        return _observe_client(endpoint, case, begun)
    status, said = post(endpoint, case.context(server), **case.query)
    seen = {"says": {"status": status, "said": said, "containers left": len(_containers(endpoint) - before)}}
    if status == 200:
        made = [item["aux"]["ID"] for item in said if isinstance(item, dict) and "aux" in item]
        if made and not any(isinstance(item, dict) and "error" in item for item in said):
            seen.update(_image(endpoint, made[-1], begun))
    if case.again is not None:
        body = case.changed_context(server)
        seen["says again"] = list(post(endpoint, body, **{**case.query, **case.again_query}))
    return seen


def _tidy(endpoint, images, containers):
    for container in _containers(endpoint) - containers:
        endpoint.answer("DELETE", f"/containers/{container}", force=1, v=1)
    for _ in range(40):
        left = _ids(endpoint) - images
        if not left:
            return
        for image in left:
            endpoint.answer("DELETE", f"/images/{image}", force=1)


class Observer:
    """Builds a case once for each endpoint; its aspects are looked at one by one."""

    def __init__(self, case):
        self._case = case
        self._seen = {}

    def all(self, endpoint):
        if endpoint.name not in self._seen:
            images, containers = _ids(endpoint), _containers(endpoint)
            try:
                self._seen[endpoint.name] = comparable(_shortened(_observe(endpoint, self._case)))
            finally:
                _tidy(endpoint, images, containers)
        return self._seen[endpoint.name]

    def aspect(self, name):
        return lambda endpoint: self.all(endpoint).get(name, "nothing")


ASPECTS = ("says", "config", "history", "files")
