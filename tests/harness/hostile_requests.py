"""Requests that are broken, absurd or meant to harm, and what a client sees of the answer."""

import json
import random
import socket

# (method, path) of requests that read a body or hijack the connection; {id} is a running container.
TARGETS = [
    ("POST", "/containers/create"), ("POST", "/containers/{id}/update"), ("POST", "/containers/{id}/exec"),
    ("POST", "/containers/{id}/attach"), ("POST", "/containers/{id}/wait"), ("POST", "/containers/{id}/resize"),
    ("POST", "/containers/{id}/rename"), ("POST", "/containers/{id}/kill"), ("POST", "/commit"),
    ("GET", "/containers/{id}/logs"), ("GET", "/containers/{id}/top"), ("GET", "/containers/{id}/stats"),
    ("GET", "/containers/{id}/attach/ws"), ("GET", "/containers/{id}/archive"), ("PUT", "/containers/{id}/archive"),
    ("GET", "/containers/json"), ("GET", "/images/json"), ("GET", "/events"), ("POST", "/images/load"),
    ("POST", "/images/create"), ("POST", "/exec/none/start"), ("POST", "/auth"), ("GET", "/no/such/thing"),
    ("POST", "/volumes/create"), ("GET", "/volumes"), ("DELETE", "/volumes/{id}"),
]
QUERIES = ["", "stdout=1", "stream=1&stdin=1", "filters=", "since=99999999999999999999", "until=-1", "tail=-5",
           "tail=1e9", "h=-1&w=99999999999", "signal=KIILL", "signal=4294967305", "condition=never", "path=",
           "path=%00", "path=%zz", "ps_args=" + "x" * 5000, "limit=-1", "t=99999999999999999999", "name=%2F%2F",
           "filters=%7B%22x%22%3A", "filters=" + "%5B" * 3000, "container={id}&repo=UPPER&changes=RUN%20x",
           "fromSrc=%2D&repo=a%20b", "detachKeys=ctrl-%FF", "platform=" + "y" * 300]
VALUES = [None, True, -1, 0, 1 << 63, 1e308, "", "x" * 70000, "\x00", "\ud800", [], [[]], {}, {"a": {"b": 1}},
          ["x"] * 3000, {"x" * 300: "y"}]
FIELDS = ["Image", "Cmd", "Env", "Entrypoint", "Labels", "ExposedPorts", "Healthcheck", "StopTimeout", "User", "Tty",
          "HostConfig", "NetworkingConfig", "Memory", "RestartPolicy", "Detach", "AttachStdin", "Hostname", "Shell", "Volumes",
          "Name", "Driver", "DriverOpts"]
HOST_FIELDS = ["Memory", "NanoCpus", "Ulimits", "Sysctls", "Tmpfs", "Mounts", "SecurityOpt", "LogConfig", "CapAdd",
               "ConsoleSize", "BlkioDeviceReadBps", "BlkioWeightDevice", "PortBindings", "ShmSize", "ExtraHosts",
               "RestartPolicy", "StorageOpt", "PidsLimit", "CpusetCpus", "DeviceRequests", "MaskedPaths", "Nonsense", "Binds",
               "VolumesFrom", "VolumeDriver"]


class Generator:
    """One broken request after the other, the same for the same seed."""

    def __init__(self, seed, container):
        self.random = random.Random(seed)
        self.container = container

    def request(self):
        method, path = self.random.choice(TARGETS)
        path = path.replace("{id}", self.random.choice([self.container] * 4 + ["none", "%2e%2e", "x" * 4000]))
        query = self.random.choice(QUERIES).replace("{id}", self.container)
        target = f"/v1.{self.random.choice(['41', '51', '24', '99', 'x', '41/..'])}{path}{'?' + query if query else ''}"
        body = self._body()
        head = [f"{method} {target} HTTP/1.1", "Host: docker", *self._framing(len(body)), *self._extra_headers()]
        data = "\r\n".join(head).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + self._framed(body, head)
        return self._damaged(data)

    def _body(self):
        kind = self.random.randrange(6)
        if kind == 0:
            return b""
        if kind == 1:
            return self.random.randbytes(self.random.randrange(1, 2000))
        if kind == 2:
            return b"[" * self.random.choice([10, 1000, 200000])
        value = {"Image": "busybox", "Cmd": ["true"]}
        for _ in range(self.random.randrange(1, 4)):
            value[self.random.choice(FIELDS)] = self.random.choice(VALUES)
        if self.random.random() < 0.6:
            value["HostConfig"] = {self.random.choice(HOST_FIELDS): self.random.choice(VALUES) for _ in range(2)}
        text = json.dumps(value).encode()
        return text[:self.random.randrange(len(text))] if kind == 3 else text

    def _framing(self, size):
        return self.random.choice([
            [f"Content-Length: {size}"], [f"Content-Length: {size}"], ["Transfer-Encoding: chunked"],
            ["Content-Length: 99999999999999999999999"], ["Content-Length: -5"], ["Content-Length: 4611686018427387904"],
            [f"Content-Length: {size}", "Transfer-Encoding: chunked"], [f"Content-Length: {size}", "Content-Length: 1"],
            ["Transfer-Encoding: gzip"], []])

    def _framed(self, body, head):
        if "Transfer-Encoding: chunked" not in head:
            return body
        size = self.random.choice([f"{len(body):x}", "fffffffffffffffff", "-1", "zz", "7fffffffffffffff", ""])
        return size.encode() + b"\r\n" + body + b"\r\n" + self.random.choice([b"0\r\n\r\n", b"", b"0\r\nX: y\r\n\r\n"])

    def _extra_headers(self):
        return self.random.sample([
            "Connection: Upgrade", "Upgrade: tcp", "Upgrade: websocket", "Sec-WebSocket-Key: x",
            "Sec-WebSocket-Version: 99", "Content-Type: application/json", "Content-Type: text/html; " + "a" * 2000,
            "Expect: 100-continue", "X: " + "y" * 9000, "X-Registry-Auth: " + "%" * 100, "Host: other", ": empty",
            "No colon at all", "Accept-Encoding: \x01"], self.random.randrange(0, 5))

    def _damaged(self, data):
        if self.random.random() < 0.75:
            return data
        data = bytearray(data)
        for _ in range(self.random.randrange(1, 6)):
            data[self.random.randrange(min(len(data), 400))] = self.random.randrange(256)
        return bytes(data)


def send(path, data, timeout):
    """The status line's code, or None for a connection that was closed or that waits for the rest."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(path)
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(4096)
        except (BrokenPipeError, ConnectionResetError):
            return None
    if not answer:
        return None
    if not answer.startswith(b"HTTP/1.1 "):
        raise AssertionError(f"not a status line: {answer[:100]!r}")
    return int(answer[9:12])


def throw(path, container, seed, count, timeout=60):
    """Sends `count` requests of `seed`; {status code or None: how often}. AssertionError for a fault of the daemon's."""
    generator = Generator(seed, container)
    codes = {}
    for number in range(count):
        data = generator.request()
        try:
            code = send(path, data, timeout)
        except OSError as error:
            raise AssertionError(f"request {number} of seed {seed}: {error}; {data[:600]!r}") from error
        codes[code] = codes.get(code, 0) + 1
        # 501: what this host has not; anything else from 500 up would be a fault of its own.
        if code is not None and code >= 500 and code != 501:
            raise AssertionError(f"request {number} of seed {seed} was answered {code}: {data[:600]!r}")
    return codes
