"""Does what Testcontainers' Ryuk does: removes what belongs to a session when nobody of it is connected any more.

A client connects to port 8080 and says in lines what is its: "label=KEY=VALUE&label=KEY=VALUE". Each is answered with "ACK".
When the last connection has ended and none has come for RYUK_RECONNECTION_TIMEOUT, all containers, networks, volumes and
images with all labels of one of the lines are removed, and the program ends. Nobody comes for RYUK_CONNECTION_TIMEOUT: it
ends. Docker is at /var/run/docker.sock.
"""

import http.client
import json
import os
import re
import selectors
import socket
import sys
import time
import urllib.parse

DOCKER = "/var/run/docker.sock"
PORT = 8080
LONGEST_LINE = 64 << 10
ROUNDS = 60
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def seconds(duration):
    """Of Go's kind: "1m30s"."""
    return sum(float(number) * UNITS[unit] for number, unit in re.findall(r"([\d.]+)(ms|s|m|h)", duration))


class Docker(http.client.HTTPConnection):
    """One request to the daemon."""

    def __init__(self):
        super().__init__("docker", timeout=120)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(DOCKER)


def ask(method, path, **query):
    connection = Docker()
    try:
        connection.request(method, path + "?" + urllib.parse.urlencode(query))
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def found(path, labels, **query):
    status, answer = ask("GET", path, filters=json.dumps({"label": labels}), **query)
    if status != 200:
        raise OSError(f"{path}: {answer}")
    return answer or []


def belongings(labels):
    """What is there with all `labels`, as requests that remove it, in an order in which that works."""
    for container in found("/containers/json", labels, all="1"):
        yield f"/containers/{container['Id']}", {"force": "1", "v": "1"}
    for network in found("/networks", labels):
        yield f"/networks/{network['Id']}", {}
    for volume in found("/volumes", labels)["Volumes"] or []:
        yield f"/volumes/{volume['Name']}", {"force": "1"}
    for image in found("/images/json", labels):
        yield f"/images/{image['Id']}", {"force": "1"}


def reap(sessions):
    """What cannot be removed yet, such as a network of a container that is on its way, is tried again."""
    for _ in range(ROUNDS):
        left = [request for labels in sessions for request in belongings(sorted(labels))]
        if not left:
            return
        for path, query in left:
            status, answer = ask("DELETE", path, **query)
            print("reaper removes", path, status, answer or "")
        time.sleep(0.5)
    print("reaper leaves", left)


class Clients:
    """The connections, and what was said on them."""

    def __init__(self):
        self.sessions = set()
        self._unread = {}
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("0.0.0.0", PORT))
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._connection_timeout = seconds(os.environ.get("RYUK_CONNECTION_TIMEOUT", "1m"))
        self._reconnection_timeout = seconds(os.environ.get("RYUK_RECONNECTION_TIMEOUT", "10s"))

    def serve(self):
        """Returns when nobody is connected any more, or nobody has come."""
        patience = self._connection_timeout
        while True:
            ready = self._selector.select(None if self._unread else patience)
            if not ready:
                return
            for key, _ in ready:
                if key.fileobj is self._listener:
                    self._accept()
                else:
                    self._read(key.fileobj)
                patience = self._reconnection_timeout

    def _accept(self):
        client, address = self._listener.accept()
        print("reaper: a connection from", address)
        self._unread[client] = b""
        self._selector.register(client, selectors.EVENT_READ)

    def _read(self, client):
        try:
            data = client.recv(4096)
        except OSError:
            data = b""
        *lines, rest = (self._unread[client] + data).split(b"\n")
        self._unread[client] = rest
        if not data or len(rest) > LONGEST_LINE or not all(self._answer(client, line) for line in lines):
            print("reaper: a connection ends")
            self._selector.unregister(client)
            del self._unread[client]
            client.close()

    def _answer(self, client, line):
        labels = frozenset(value for key, value in urllib.parse.parse_qsl(line.decode(errors="replace").strip()) if key == "label")
        if labels:  # without any it would be all that there is
            self.sessions.add(labels)
        try:
            client.sendall(b"ACK\n")
        except OSError:
            return False
        return True


def main():
    clients = Clients()
    print("reaper Started!")
    clients.serve()
    reap(clients.sessions)
    print("reaper ends")


if __name__ == "__main__":
    sys.exit(main())
