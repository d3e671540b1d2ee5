#!/usr/bin/python3
"""Requests that are broken, absurd or meant to harm: each gets an answer from 400 to 499 or a closed connection.

HOSTILE_REQUESTS says how many (CI sends some hundreds), HOSTILE_SEED repeats a run. The daemon must stay the
same process, and its memory must not grow with what is thrown at it.
"""

import os
import random
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import hostile_requests  # noqa: E402
from harness.daemon import Daemon  # noqa: E402
from harness.docker_api import socket_path  # noqa: E402
from harness.host import HostTest, api, on_host, output  # noqa: E402

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "400"))
GROWTH_KIB = 64 << 10
SECONDS = 60


class HostileRequestsTest(HostTest):
    def setUp(self):
        super().setUp()
        self.container = output("run", "-d", "busybox", "sleep", "100000")
        self.daemon = Daemon()

    def _resident_kib(self):
        text = on_host("grep", "VmRSS", f"/proc/{self.daemon.pid}/status")
        return int(text.split()[1])

    def test_each_is_refused_and_nothing_grows(self):
        seed = int(os.environ.get("HOSTILE_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}", flush=True)
        images = output("images", "-aq", "--no-trunc")
        before = self._resident_kib()
        codes = hostile_requests.throw(socket_path(), self.container, seed, REQUESTS, SECONDS)
        print(f"answers {codes}", flush=True)
        self.assertGreater(sum(n for code, n in codes.items() if code and 400 <= code < 500), REQUESTS / 4)
        api().get("/version")
        self.assertEqual(Daemon().pid, self.daemon.pid)
        self.assertEqual(output("run", "--rm", "busybox", "echo", "alive"), "alive")
        self.assertEqual(output("images", "-aq", "--no-trunc"), images)
        self.assertLess(self._resident_kib() - before, GROWTH_KIB)

    def test_clients_of_stats_that_leave_at_once(self):
        """Each leaves while the guest is being asked."""
        request = f"GET /v1.41/containers/{self.container}/stats HTTP/1.1\r\nHost: docker\r\n\r\n".encode()

        codes = {hostile_requests.send(socket_path(), request, SECONDS) for _ in range(40)}

        self.assertEqual(codes, {200})
        self.assertEqual(Daemon().pid, self.daemon.pid)

    def test_headers_without_end_are_cut_off(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(socket_path())
            sent = 0
            with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                connection.sendall(b"GET /_ping HTTP/1.1\r\n")
                while sent < (64 << 20):
                    connection.sendall(b"X: " + b"y" * 4096 + b"\r\n")
                    sent += 4096
                if not connection.recv(1):
                    raise ConnectionResetError
            self.assertLess(sent, 64 << 20)


if __name__ == "__main__":
    unittest.main()
