"""A raw Docker Engine API client over a unix socket: one class, no dependencies.

The tests and benchmarks use it where the stock client would hide what happens on the wire. It speaks
HTTP/1.1 through http.client and keeps the socket of a hijacked attach. Not thread-safe: one instance
a thread.
"""

import http.client
import json
import os
import socket
import struct
import urllib.parse


class ApiError(Exception):
    """A status of 400 or more, with Docker's message."""

    def __init__(self, status, message):
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def socket_path(docker_host=None):
    """The path in a `unix://` DOCKER_HOST."""
    url = docker_host or os.environ["DOCKER_HOST"]
    if not url.startswith("unix://"):
        raise ValueError(f"only unix:// endpoints are supported, not {url}")
    return url[len("unix://"):]


def describe_daemon(api):
    """Which daemon answers: "Docker 28.5.2, containerd v2.1.4, runc 1.3.3"."""
    said = api.get("/version")
    parts = {part["Name"]: part["Version"] for part in said.get("Components", [])}
    return ", ".join([f"Docker {said['Version']}"] + [f"{name} {parts[name]}" for name in ("containerd", "runc") if name in parts])


class Stream:
    """A hijacked connection. `read_frames` cuts the multiplexed stream into (stream, bytes)."""

    def __init__(self, sock, rest):
        self._sock = sock
        self._buffer = rest

    def send(self, data):
        self._sock.sendall(data)

    def close_stdin(self):
        self._sock.shutdown(socket.SHUT_WR)

    def close(self):
        self._sock.close()

    def _read(self, size):
        while len(self._buffer) < size:
            chunk = self._sock.recv(65536)
            if not chunk:
                return None
            self._buffer += chunk
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    def read_raw(self):
        """Everything until the server closes."""
        data, self._buffer = self._buffer, b""
        while chunk := self._sock.recv(65536):
            data += chunk
        return data

    def read_frames(self):
        while header := self._read(8):
            stream, length = struct.unpack(">BxxxL", header)
            payload = self._read(length)
            if payload is None:
                raise EOFError("the stream ended inside a frame")
            yield stream, payload

    def read_outputs(self):
        """(stdout, stderr) up to the end."""
        out = {1: b"", 2: b""}
        for stream, payload in self.read_frames():
            out[stream] += payload
        return out[1], out[2]


class Api:
    """One endpoint. Every call opens a connection of its own unless it is given `keep`."""

    def __init__(self, path, timeout=120, version="v1.41"):
        self.path = path
        self.timeout = timeout
        self.version = version

    def connect(self):
        return _UnixConnection(self.path, self.timeout)

    def _target(self, path, query):
        target = f"/{self.version}{path}" if self.version else path
        if query:
            target += "?" + urllib.parse.urlencode(query)
        return target

    def send(self, connection, method, path, body=None, query=None, headers=None):
        """Sends a request and returns the response with its body unread."""
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, self._target(path, query), body=body, headers=headers)
        return connection.getresponse()

    def call(self, method, path, body=None, query=None, keep=None, headers=None):
        """One whole exchange: (status, decoded JSON or bytes). Raises ApiError from 400 up."""
        connection = keep or self.connect()
        try:
            response = self.send(connection, method, path, body, query, headers)
            data = response.read()
            if response.status >= 400:
                raise ApiError(response.status, _message(data))
            is_json = (response.getheader("Content-Type") or "").startswith("application/json")
            return response.status, json.loads(data) if is_json and data else data
        finally:
            if keep is None:
                connection.close()

    def get(self, path, **query):
        return self.call("GET", path, query=query)[1]

    def post(self, path, body=None, **query):
        return self.call("POST", path, body=body, query=query)[1]

    def delete(self, path, **query):
        return self.call("DELETE", path, query=query)[1]

    def create(self, image, command, name=None, **config):
        body = {"Image": image, "Cmd": command, "AttachStdout": True, "AttachStderr": True, **config}
        query = {"name": name} if name else None
        return self.call("POST", "/containers/create", body=body, query=query)[1]["Id"]

    def hijack(self, path, query=None, body=None):
        """POST with an Upgrade; returns the Stream."""
        payload = json.dumps(body).encode() if body is not None else b""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(self.timeout)
        sock.connect(self.path)
        head = (f"POST {self._target(path, query)} HTTP/1.1\r\nHost: docker\r\n"
                "Connection: Upgrade\r\nUpgrade: tcp\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n")
        sock.sendall(head.encode() + payload)
        data = b""
        while b"\r\n\r\n" not in data:
            chunk = sock.recv(65536)
            if not chunk:
                sock.close()
                raise ApiError(0, "connection closed before a response")
            data += chunk
        header, rest = data.split(b"\r\n\r\n", 1)
        status = int(header.split(b" ", 2)[1])
        if status not in (101, 200):
            sock.close()
            raise ApiError(status, _message(rest))
        return Stream(sock, rest)

    def attach(self, container, stdin=False):
        return self.hijack(f"/containers/{container}/attach",
                           {"stream": 1, "stdout": 1, "stderr": 1, "stdin": int(stdin)})

    def start_wait(self, container, condition="next-exit"):
        """Sends a wait and returns (connection, response) once its headers are here."""
        connection = self.connect()
        response = self.send(connection, "POST", f"/containers/{container}/wait",
                             query={"condition": condition})
        if response.status >= 400:
            message = _message(response.read())
            connection.close()
            raise ApiError(response.status, message)
        return connection, response

    def run(self, image, command, **config):
        """create, attach, wait, start, read to the end, remove: (exit code, stdout, stderr)."""
        container = self.create(image, command, **config)
        try:
            stream = self.attach(container)
            connection, response = self.start_wait(container)
            self.post(f"/containers/{container}/start")
            out, err = stream.read_outputs()
            status = json.loads(response.read())["StatusCode"]
            connection.close()
            stream.close()
            return status, out, err
        finally:
            self.delete(f"/containers/{container}", force=1)


def _message(data):
    try:
        return json.loads(data)["message"]
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace").strip()
