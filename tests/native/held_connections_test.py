#!/usr/bin/python3
"""Clients that hold connections, bodies and uploads, and another client beside them, natively."""

import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from native.native_daemon import Daemon, error_of  # noqa: E402

IDLE, BODIES, UPLOADS = 2000, 300, 33
MOST_MEMORY = 256 << 20
LARGE_BODY = (4 << 20) - 64
UPLOAD_PATHS = ["/images/load", "/images/create?fromSrc=-", "/build", "/containers/{id}/archive?path=/"]


def hold(path, kind, count, container):
    """Opens `count` connections of `kind`, says so, and holds them until its input ends. A process of its own."""
    connections = []
    for number in range(count):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(path)  # blocks while the daemon's queue is full
        connection.settimeout(60)
        connections.append(connection)
        try:
            if kind == "bodies":
                connection.sendall(b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                                   b"Content-Length: %d\r\n\r\n" % (LARGE_BODY + 1) + b" " * LARGE_BODY)
            if kind == "uploads":
                target = UPLOAD_PATHS[number % len(UPLOAD_PATHS)].replace("{id}", container)
                method = "PUT" if "archive" in target else "POST"
                connection.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                   "400\r\n".encode() + b"\0" * 0x400 + b"\r\n")
        except OSError:
            pass  # it had to make way
    print("held", flush=True)
    sys.stdin.read()


def is_sanitized(pid):
    """Its shadow and its freed memory count as memory of the process, too."""
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps:
        return "libasan" in maps.read()


def memory_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmRSS:"))


class HeldConnectionsTest(unittest.TestCase):
    def setUp(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            self.skipTest("FAKE_CONTAINERVMD names no program")
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.directory = tempfile.mkdtemp(prefix="cvm-held.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.daemon = Daemon(self.directory)
        self.addCleanup(self.daemon.close)
        self.load("busybox:latest")
        self.container = self.daemon.api.create("busybox", ["true"])

    def load(self, tag):
        archive = image_workload.archive_of([tar_of({"file": tag.encode()})], tag)
        stream = self.daemon.stream("POST", "/images/load", {}, {"Content-Type": "application/x-tar"}, archive)
        self.assertEqual(error_of(stream), "")

    def start_holding(self, kind, count):
        holder = subprocess.Popen([sys.executable, os.path.abspath(__file__), "hold", self.daemon.api.path, kind, str(count),
                                   self.container], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(holder.stdout.close)
        self.addCleanup(holder.wait)
        self.addCleanup(holder.stdin.close)
        return holder

    def hold_and_work(self, held):
        """With all of `held`, (kind, count) of a process each, another client does what clients do."""
        holders = [self.start_holding(kind, count) for kind, count in held]
        for holder in holders:
            self.assertEqual(holder.stdout.readline(), b"held\n")

        self.load("other:latest")
        built = self.daemon.build("FROM other\nLABEL a=b\n")
        ran = self.daemon.api.create("busybox", ["exit", "3"])
        self.daemon.api.post(f"/containers/{ran}/start")
        code = self.daemon.api.post(f"/containers/{ran}/wait")["StatusCode"]
        memory = memory_of(self.daemon.process.pid)

        print(f"memory {memory >> 20} MiB", flush=True)
        self.assertEqual(error_of(built), "")
        self.assertIn("Successfully built", str(built))
        self.assertEqual(code, 3)
        if not is_sanitized(self.daemon.process.pid):
            self.assertLess(memory, MOST_MEMORY)

    def test_another_client_works_beside_one_that_holds_everything(self):
        self.hold_and_work([("idle", IDLE), ("bodies", BODIES), ("uploads", UPLOADS)])

    def test_another_client_works_beside_many_that_hold_an_upload_each(self):
        self.hold_and_work([("uploads", 2)] * 40)

    def test_another_client_works_where_every_place_is_taken(self):
        self.hold_and_work([("idle", 3000), ("uploads", 1500), ("bodies", 20)])


if __name__ == "__main__":
    if sys.argv[1:2] == ["hold"]:
        hold(sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
    else:
        unittest.main()
