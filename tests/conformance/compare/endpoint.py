"""One Docker endpoint under comparison, and how its answers are made comparable."""

import json
import re

from harness.docker_api import Api, ApiError

IMAGE = "busybox:latest"
PREFIX = "compare-"

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_LONG_ID = re.compile(r"\b[0-9a-f]{64}\b")
_SHORT_ID = re.compile(r"\b[0-9a-f]{12}\b")
_ADDRESS = re.compile(r"\b\d{1,3}(\.\d{1,3}){3}\b")
_MAC = re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b")


def comparable(value):
    """`value` without what differs between any two runs: IDs, times, addresses."""
    if isinstance(value, dict):
        return {comparable(key): comparable(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [comparable(item) for item in value]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if not isinstance(value, str):
        return value
    for pattern, word in ((_TIME, "<time>"), (_LONG_ID, "<id>"), (_SHORT_ID, "<id>"),
                          (_ADDRESS, "<address>"), (_MAC, "<mac>")):
        value = pattern.sub(word, value)
    return value.strip()


class Endpoint:
    """The calls a behaviour makes. Containers that it creates are removed after it."""

    def __init__(self, name, socket, version="v1.41"):
        self.name = name
        self.api = Api(socket, version=version)
        self._created = []
        self._sleeper = None

    # --- calls -------------------------------------------------------------------------------

    def answer(self, method, path, /, body=None, headers=None, **query):
        """[status, what was said]: an error's message, JSON, or text."""
        try:
            status, said = self.api.call(method, path, body=body, query=query, headers=headers)
            return [status, said]
        except ApiError as error:
            return [error.status, error.message]

    def status(self, method, path, body=None, **query):
        return self.answer(method, path, body, **query)[0]

    def get(self, path, **query):
        return self.api.get(path, **query)

    def create(self, command=("sleep", "1000"), name=None, **config):
        body = {"Image": IMAGE, "Cmd": list(command), **config}
        query = {"name": PREFIX + name} if name else None
        container = self.api.call("POST", "/containers/create", body=body, query=query)[1]["Id"]
        self._created.append(container)
        return container

    def try_create(self, **body):
        """The answer to a create request, which is undone."""
        said = self.answer("POST", "/containers/create", {"Image": IMAGE, "Cmd": ["true"], **body})
        if said[0] == 201:
            self._created.append(said[1]["Id"])
        return said

    def start(self, command=("sleep", "1000"), **config):
        container = self.create(command, **config)
        self.api.post(f"/containers/{container}/start")
        return container

    def wait(self, container):
        return self.api.post(f"/containers/{container}/wait")["StatusCode"]

    def ran(self, command, **config):
        """A container that has run to its end."""
        container = self.start(command, **config)
        self.wait(container)
        return container

    def run(self, command, **config):
        """[exit code, stdout, stderr]"""
        container = self.create(command, AttachStdout=True, AttachStderr=True, **config)
        stream = self.api.attach(container)
        self.api.post(f"/containers/{container}/start")
        out, err = stream.read_outputs()
        code = self.wait(container)
        stream.close()
        return [code, out.decode(errors="replace"), err.decode(errors="replace")]

    def inspect(self, container):
        return self.get(f"/containers/{container}/json")

    def logs(self, container, **query):
        """Frames as [stream, text], or the error."""
        connection = self.api.connect()
        response = self.api.send(connection, "GET", f"/containers/{container}/logs", query=query)
        data = response.read()
        connection.close()
        if response.status >= 400:
            return [response.status, json.loads(data)["message"]]
        frames = []
        while data:
            length = int.from_bytes(data[4:8], "big")
            frames.append([data[0], data[8:8 + length].decode()])
            data = data[8 + length:]
        return frames

    def exec(self, container, command, **config):
        """[exit code, stdout, stderr]"""
        body = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True, **config}
        process = self.api.post(f"/containers/{container}/exec", body=body)["Id"]
        stream = self.api.hijack(f"/exec/{process}/start", body={"Detach": False, "Tty": False})
        out, err = stream.read_outputs()
        stream.close()
        code = self.get(f"/exec/{process}/json")["ExitCode"]
        return [code, out.decode(errors="replace"), err.decode(errors="replace")]

    def headers(self, method, path, /, **query):
        connection = self.api.connect()
        response = self.api.send(connection, method, path, query=query)
        response.read()
        connection.close()
        return response.status, {key.lower(): value for key, value in response.getheaders()}

    # --- what behaviours share ---------------------------------------------------------------

    @property
    def sleeper(self):
        """A running container that no behaviour changes."""
        if self._sleeper is None:
            body = {"Image": IMAGE, "Cmd": ["sleep", "100000"]}
            made = self.api.call("POST", "/containers/create", body=body, query={"name": PREFIX + "sleeper"})
            self._sleeper = made[1]["Id"]
            self.api.post(f"/containers/{self._sleeper}/start")
        return self._sleeper

    def tidy(self):
        for container in self._created:
            self.answer("DELETE", f"/containers/{container}", force=1, v=1)
        self._created = []

    def close(self):
        self.tidy()
        for row in self.get("/containers/json", all=1):
            if any(name.startswith("/" + PREFIX) for name in row["Names"]):
                self.answer("DELETE", f"/containers/{row['Id']}", force=1, v=1)
