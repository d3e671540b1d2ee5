"""Behaviours of diff and commit: what counts as a change, what an image made of a container is."""

import json
import time

from .endpoint import IMAGE, comparable

MISSING = "no-such-container"

# What containers do to their files: name -> script.
_SCRIPTS = {
    "nothing": "true",
    "a new file": "echo x > /etc/new",
    "a new file at the top": "echo x > /new",
    "a new tree": "mkdir -p /a/b/c; echo x > /a/b/c/f",
    "a file removed": "rm /etc/group",
    "a directory removed": "rm -r /var/spool",
    "a directory emptied": "rm -r /var/spool/*",
    "a directory made again": "rm -r /var/spool; mkdir /var/spool; echo x > /var/spool/new",
    "a directory in the place of a file": "rm /etc/group; mkdir /etc/group; touch /etc/group/x",
    "a file in the place of a directory": "rm -r /var/spool; echo x > /var/spool",
    "a link in the place of a file": "rm /etc/group; ln -s passwd /etc/group",
    "contents changed": "echo x >> /etc/passwd",
    "a mode changed": "chmod 600 /etc/passwd",
    "a mode set as it was": "chmod $(stat -c %a /etc/passwd) /etc/passwd",
    "an owner changed": "chown 7:7 /etc/passwd",
    "a time changed": "touch -d '2001-01-01 00:00:00' /etc/passwd",
    "a file opened to write": "true >> /etc/passwd",
    "a directory's mode changed": "chmod 700 /var",
    "a directory's time changed": "touch /var",
    "a file made and removed": "touch /etc/x; rm /etc/x",
    "a file moved": "mv /etc/group /etc/other",
    "a directory moved": "mv /var/spool /var/other",
    "a hard link": "ln /etc/passwd /etc/twin",
    "a symbolic link": "ln -s /etc/passwd /etc/twin",
    "a fifo": "mkfifo /root/fifo",
    "a device": "mknod /root/device c 1 3",
    "a file in /tmp": "echo x > /tmp/x",
    "a file in /dev": "echo x > /dev/shm/x; touch /dev/new",
    "network files": "echo x >> /etc/hosts",
    "the marker removed": "rm /.dockerenv",
}


def _changes_of(endpoint, container):
    said = endpoint.answer("GET", f"/containers/{container}/changes")
    if said[0] != 200 or not isinstance(said[1], list):
        return said
    return sorted([change["Path"], change["Kind"]] for change in said[1])


def _changes(script, **config):
    return lambda e: _changes_of(e, e.ran(["sh", "-c", script], **config))


def _running_changes(e):
    container = e.start(["sh", "-c", "echo x > /x; sleep 1000"])
    e.exec(container, ["sh", "-c", "while [ ! -s /x ]; do :; done; rm /etc/group"])
    return _changes_of(e, container)


class _Committed:
    """An image made of a container, removed with the block."""

    def __init__(self, endpoint, container, body=None, **query):
        self._endpoint = endpoint
        self.status, self.said = endpoint.answer("POST", "/commit", body, container=container, **query)
        self.image = self.said["Id"] if self.status == 201 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.image:
            self._endpoint.answer("DELETE", f"/images/{self.image}", force=1)

    def inspect(self):
        return self._endpoint.get(f"/images/{self.image}/json")


def _committed(look, script="echo x > /x", config=None, body=None, **query):
    """What `look` sees of the image of a container that ran `script`."""
    def behaviour(e):
        container = e.ran(["sh", "-c", script], **(config or {}))
        with _Committed(e, container, body, **query) as made:
            return look(e, made) if made.image else [made.status, made.said]
    return behaviour


_IMAGE_FIELDS = ("Cmd", "Entrypoint", "Env", "ExposedPorts", "Healthcheck", "Labels", "OnBuild", "Shell",
                 "StopSignal", "User", "Volumes", "WorkingDir")


def _config(_, made):
    config = made.inspect()["Config"]
    return {field: config.get(field) for field in _IMAGE_FIELDS}


def _shape(e, made):
    image = made.inspect()
    base = e.get(f"/images/{IMAGE}/json")
    return {"tags": image["RepoTags"], "parent": image["Parent"] == base["Id"], "comment": image["Comment"],
            "author": image["Author"], "container": "Container" in image,
            "layers": len(image["RootFS"]["Layers"]) - len(base["RootFS"]["Layers"]),
            "platform": [image["Os"], image["Architecture"]]}


def _history(e, made):
    newest = e.get(f"/images/{made.image}/history")[0]
    return [newest["CreatedBy"], newest["Comment"], newest["Tags"], newest["Size"] > 0]


def _tree(e, made):
    """What a container of the image sees."""
    # How many links a directory has depends on the file system of the layer.
    script = ("for f in /x /etc/group /etc/passwd /var/spool /a /a/* /root/*; do [ -e $f ] || continue; "
              "stat -c '%n %F %a %u %g' $f; [ -d $f ] || stat -c %h $f; done; cat /x 2>/dev/null; ls -A /var/spool 2>/dev/null")
    return e.run(["sh", "-c", script], Image=made.image)


_TREES = {
    "a new file": "echo x > /x; chmod 4711 /x; chown 3:4 /x",
    "a removed file": "rm /etc/group",
    "a directory made again": "rm -r /var/spool; mkdir -m 700 /var/spool; echo x > /var/spool/new",
    "a file in the place of a directory": "rm -r /var/spool; echo x > /var/spool",
    "links": "mkdir /a; echo x > /a/1; ln /a/1 /a/2; ln -s 1 /a/3; mkfifo /a/4",
    "a link to a file of the image": "ln /etc/passwd /root/twin",
    "a device": "mknod /root/device c 1 3",
    "a changed mode": "chmod 600 /etc/passwd",
    "a directory moved": "mv /var/spool /a",
}

_FULL = {"Env": ["A=1", "B=2"], "Labels": {"a": "1"}, "ExposedPorts": {"80/tcp": {}}, "User": "7",
         "WorkingDir": "/w", "StopSignal": "SIGQUIT"}
_CONFIGS = {
    "as it was": {},
    "of a container with much": {"config": _FULL},
    "and a body": {"config": _FULL, "body": {"Env": ["B=3", "C=4"], "Labels": {"b": "2"}, "User": "8",
                                             "ExposedPorts": {"81/tcp": {}}, "Cmd": ["other"]}},
    "and an empty body": {"config": _FULL, "body": {}},
    "and another entrypoint": {"body": {"Entrypoint": ["/entry"]}},
    "and a health check": {"config": {"Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000}},
                           "body": {"Healthcheck": {"Retries": 4}}},
    "and a trigger": {"body": {"OnBuild": ["RUN x"]}},
}
_CHANGES = ['CMD ["a", "b"]', "CMD a b", 'ENTRYPOINT ["e"]', "ENTRYPOINT e", "ENV X=1 Y='2 3'", "ENV X 1 2",
            "ENV PATH=$PATH:/opt", "ENV X=${NONE:-other} Y=\\$PATH", "EXPOSE 80 53/udp", "LABEL a=b 'c d'=e",
            "ONBUILD RUN x", "USER a:b", "VOLUME /v", 'VOLUME ["/v", "/w"]', "WORKDIR /w", "WORKDIR w",
            "STOPSIGNAL SIGINT", "HEALTHCHECK CMD true", "HEALTHCHECK --interval=5s --retries=2 CMD true",
            "HEALTHCHECK NONE", "RUN true", "COPY a b", "FROM x", "nonsense", "ENV", "ENV A", "EXPOSE x", "WORKDIR"]


def _commit_events(e):
    container = e.create(name="committed")
    e.api.post(f"/containers/{container}/start")
    since = time.time()
    with _Committed(e, container, repo="compare", tag="events", comment="why"):
        time.sleep(1)
        query = {"since": f"{since:.9f}", "until": f"{time.time():.9f}"}
        connection = e.api.connect()
        text = e.api.send(connection, "GET", "/events", query=query).read().decode()
        connection.close()
    events = [json.loads(line) for line in text.splitlines() if line]
    return [[event["Type"], event["Action"], comparable(event["Actor"]["Attributes"])] for event in events
            if event["Action"] in ("commit", "pause", "unpause", "tag", "create")]


def _state_after(paused_before, **query):
    def look(e):
        container = e.start()
        if paused_before:
            e.api.post(f"/containers/{container}/pause")
        with _Committed(e, container, **query) as made:
            return [made.status, e.inspect(container)["State"]["Status"]]
    return look


def _moved_tag(e):
    container = e.ran(["sh", "-c", "echo x > /x"])
    with _Committed(e, container, repo="compare", tag="moved") as first:
        with _Committed(e, container, repo="compare", tag="moved", comment="another"):
            return first.inspect()["RepoTags"]


def _removals(e):
    """A parent with a child, then the child, then the parent."""
    first = e.ran(["sh", "-c", "echo x > /x"])
    with _Committed(e, first, repo="compare", tag="parent") as parent:
        second = e.create(["sh", "-c", "true"], Image="compare:parent")
        e.answer("DELETE", f"/containers/{first}")
        with _Committed(e, second, repo="compare", tag="child"):
            e.answer("DELETE", f"/containers/{second}")
            refused = e.answer("DELETE", f"/images/{parent.image}", force=1)
            by_name = e.answer("DELETE", "/images/compare:parent")
            child = e.answer("DELETE", "/images/compare:child")
            return [refused, by_name, child]


def _refused(**query):
    return lambda e: e.answer("POST", "/commit", **{"container": e.sleeper, **query})


BEHAVIOURS = (
    [(f"changes: {what}", _changes(script)) for what, script in _SCRIPTS.items()]
    + [("changes: a container that never started", lambda e: _changes_of(e, e.create())),
       ("changes: a container that runs", _running_changes),
       ("changes: a working directory that was made", _changes("true", WorkingDir="/made/here")),
       ("changes: the place of a tmpfs", _changes("true", HostConfig={"Tmpfs": {"/place/here": ""}})),
       ("changes: no such container", lambda e: e.answer("GET", f"/containers/{MISSING}/changes"))]
    + [(f"commit: the tree with {what}", _committed(_tree, script)) for what, script in _TREES.items()]
    + [(f"commit: the configuration {what}", _committed(_config, **how)) for what, how in _CONFIGS.items()]
    + [(f"commit: with {change}", _committed(_config, changes=change)) for change in _CHANGES]
    + [("commit: the image", _committed(_shape)),
       ("commit: the image with all that is said of it", _committed(_shape, repo="compare", tag="x", author="me", comment="why")),
       ("commit: the image without changes", _committed(_shape, script="true")),
       ("commit: the history", _committed(_history, repo="compare", tag="x", comment="why")),
       ("commit: the history without changes", _committed(_history, script="true")),
       ("commit: the default tag", _committed(_shape, repo="compare")),
       ("commit: the tag of a registry", _committed(_shape, repo="example.com:5000/a/b", tag="x")),
       ("commit: a moved tag", _moved_tag),
       ("commit: removals", _removals),
       ("commit: the events", _commit_events),
       ("commit: the state of one that runs", _state_after(False)),
       ("commit: the state without a pause", _state_after(False, pause=0)),
       ("commit: the state of a paused one", _state_after(True)),
       ("commit: no such container", _refused(container=MISSING)),
       ("commit: no container", lambda e: e.answer("POST", "/commit")),
       ("commit: a bad repository", _refused(repo="Not Valid")),
       ("commit: a bad tag", _refused(repo="compare", tag="/")),
       ("commit: a digest", _refused(repo="compare@sha256:" + "a" * 64)),
       ("commit: a repository with a tag in it", _committed(_shape, repo="compare:inside")),
       ("commit: a bad body", lambda e: e.answer("POST", "/commit", {"Env": "x"}, container=e.sleeper)),
       ("GET checkpoints", lambda e: e.answer("GET", f"/containers/{e.sleeper}/checkpoints")),
       ("POST checkpoints", lambda e: e.answer("POST", f"/containers/{e.sleeper}/checkpoints", {"CheckpointID": "x"})),
       ("DELETE checkpoints", lambda e: e.answer("DELETE", f"/containers/{e.sleeper}/checkpoints/x"))]
)
