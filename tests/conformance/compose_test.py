#!/usr/bin/python3
"""An application of five services, by Compose: comes up, answers, survives restarts, goes without a trace."""

import os
import subprocess
import sys
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TIMEOUT, HostTest, docker, host_state, output, settle, steady_state  # noqa: E402
from harness.programs import ROOT, NoToolchain, go_program  # noqa: E402

APPLICATION = os.path.join(os.path.dirname(os.path.abspath(__file__)), "compose")
PROJECT = "composetest"
PORT = 18280  # in compose.yaml
UP_TIMEOUT = 3 * TIMEOUT


def compose_command():
    """Compose 2, and what makes its up wait; Debian's 1.29, which cannot, where there is no Go toolchain."""
    try:
        return [go_program(f"{APPLICATION}/go"), "--ansi", "never"], ["--wait"]
    except NoToolchain as error:
        print(f"with docker-compose 1: {error}", file=sys.stderr)
        return ["docker-compose", "--no-ansi"], []


class ComposeTest(HostTest):
    @classmethod
    def setUpClass(cls):
        cls.command, cls.wait = compose_command()
        # One that the host has not from its start. Its layer is kept in the cache.
        subprocess.run([os.path.join(ROOT, "images/recipes/build"), "postgres"], check=True, timeout=UP_TIMEOUT)

    @classmethod
    def tearDownClass(cls):
        docker("rmi", "postgres:15", "postgres:latest", check=False)

    def setUp(self):
        super().setUp()
        self.before = steady_state()

    def compose(self, *arguments):
        done = subprocess.run([*self.command, "-f", f"{APPLICATION}/compose.yaml", "-p", PROJECT, *arguments],
                              capture_output=True, timeout=UP_TIMEOUT, check=False,
                              # This host's own builder; else Compose 2 looks for a BuildKit.
                              env={**os.environ, "COMPOSE_HTTP_TIMEOUT": str(TIMEOUT), "DOCKER_BUILDKIT": "0"})
        if done.returncode != 0:
            raise AssertionError(f"compose {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-2000:]}")
        return done.stdout.decode().strip()

    def container(self, service):
        return self.compose("ps", "-q", service)

    def tearDown(self):
        self.compose("down", "-v", "--rmi", "local", "-t", "5")
        super().tearDown()

    def visit(self, deadline=TIMEOUT):
        """What the application says at its published port: (visits in the cache, visits in the database)."""
        end = time.monotonic() + deadline
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/", timeout=TIMEOUT) as answer:
                    return tuple(int(word) for word in answer.read().split()[:2])
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(1)

    def test_an_application_lives(self):
        self.compose("up", "-d", *self.wait)
        self.assertEqual(self.visit(), (1, 1))
        self.assertEqual(self.visit(), (2, 2))
        self.assertEqual(output("inspect", "-f", "{{.State.Health.Status}}", self.container("db")), "healthy")
        until = time.monotonic() + TIMEOUT
        while "it answers" not in self.compose("logs", "side") and time.monotonic() < until:
            time.sleep(1)
        self.assertIn("it answers", self.compose("logs", "side"))
        # Nothing leaves the network of the cache and the database.
        self.assertNotEqual(docker("exec", self.container("cache"), "timeout", "5", "bash", "-c",
                                   "echo > /dev/tcp/10.0.2.2/1", check=False).returncode, 0)

        # Compose 1.29 restarts all at the same time: a side-car whose service is down at that moment is refused. With
        # each, the front gives up when the application has no name yet. up starts them again.
        self.compose("restart", "-t", "5")
        self.compose("up", "-d", "--no-recreate")
        cached, kept = self.visit()
        self.assertEqual(kept, 3)
        self.assertIn(cached, (1, 3))  # redis writes its data when it is told to end

        Daemon().restart()
        self.assertEqual(self.visit()[1], 4)

        self.compose("down", "-t", "5")
        self.assertEqual(output("volume", "ls", "-q", "-f", f"name={PROJECT}"), f"{PROJECT}_data")
        self.compose("up", "-d", *self.wait)
        self.assertEqual(self.visit()[1], 5)

        self.compose("down", "-v", "--rmi", "local", "-t", "5")
        settle(self.before)
        self.assertEqual(host_state(), self.before)
        self.assertEqual(output("network", "ls", "-q", "-f", f"name={PROJECT}"), "")


if __name__ == "__main__":
    unittest.main(verbosity=2)
