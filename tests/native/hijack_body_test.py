#!/usr/bin/python3
"""A body that comes with a request which takes over its connection is no input of the process, natively."""

import json
import os
import shutil
import socket
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from native.native_daemon import Daemon  # noqa: E402

OPTIONS = json.dumps({"stream": True, "stdin": True, "stdout": True, "Detach": False, "Tty": False}).encode()


def with_length(body):
    return b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(body):
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


class HijackBodyTest(unittest.TestCase):
    def setUp(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            self.skipTest("FAKE_CONTAINERVMD names no program")
        directory = tempfile.mkdtemp(prefix="cvm-hijack.")
        self.addCleanup(shutil.rmtree, directory)
        self.daemon = Daemon(directory)
        self.addCleanup(self.daemon.close)
        archive = image_workload.archive_of([tar_of({"file": b"x"})], "busybox:latest")
        self.daemon.stream("POST", "/images/load", {}, {"Content-Type": "application/x-tar"}, archive)

    def cat(self, path, body, upgrade):
        """What `cat` gets of the request and of what follows it."""
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        head += "Connection: Upgrade\r\nUpgrade: tcp\r\n" if upgrade else ""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(60)
            connection.connect(self.daemon.api.path)
            connection.sendall(head.encode() + body + b"input")
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        status, _, output = answer.partition(b"\r\n\r\n")
        self.assertIn(status.split(b"\r\n")[0], (b"HTTP/1.1 101 UPGRADED", b"HTTP/1.1 200 OK"))
        return output[8:]  # behind the frame's header

    def test_attach(self):
        for framed in (with_length, in_chunks):
            for upgrade in (True, False):
                container = self.daemon.api.create("busybox", ["cat"], OpenStdin=True, StdinOnce=True, AttachStdin=True)
                self.daemon.api.post(f"/containers/{container}/start")

                got = self.cat(f"/containers/{container}/attach?stream=1&stdin=1&stdout=1", framed(OPTIONS), upgrade)

                self.assertEqual(got, b"input", (framed, upgrade))

    def test_exec(self):
        container = self.daemon.api.create("busybox", ["sleep", "1000"])
        self.daemon.api.post(f"/containers/{container}/start")
        for framed in (with_length, in_chunks):
            for upgrade in (True, False):
                started = self.daemon.api.post(f"/containers/{container}/exec",
                                               {"Cmd": ["cat"], "AttachStdin": True, "AttachStdout": True})

                got = self.cat(f"/exec/{started['Id']}/start", framed(OPTIONS), upgrade)

                self.assertEqual(got, b"input", (framed, upgrade))


if __name__ == "__main__":
    unittest.main()
