#!/usr/bin/python3
"""Testcontainers for Python and for Go, as they are: modules give servers that answer, and the reaper leaves nothing.

The applications run on the host that holds the machines, as on any host: published ports are at its loopback.
"""

import json
import os
import subprocess
import sys
import time
import unittest
import uuid

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TIMEOUT, TidyHostTest, docker, host_command, on_host, output  # noqa: E402
from harness.programs import ROOT, NoToolchain, go_program, python_with  # noqa: E402

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "testcontainers")
BUILD_TIMEOUT = 4 * TIMEOUT
# By these names the libraries ask for their reaper.
REAPERS = ["testcontainers/ryuk:0.8.1", "testcontainers/ryuk:0.14.0"]
KEPT = {"redis": "kept in Redis", "belongings": "kept in Redis", "postgres": "kept in PostgreSQL"}


def setUpModule():  # pylint: disable=invalid-name
    subprocess.run([os.path.join(ROOT, "images/recipes/build"), "postgres"], check=True, timeout=BUILD_TIMEOUT)
    docker("build", *(word for name in REAPERS for word in ("-t", name)), os.path.join(HERE, "reaper"))


def tearDownModule():  # pylint: disable=invalid-name
    docker("rmi", "postgres:15", "postgres:latest", *REAPERS, check=False)


class Application:
    """One that runs on the host under test. Says what it made, and goes on until it is told to end, or killed."""

    def __init__(self, *command):
        environment = {
            "DOCKER_HOST": f"unix://{Daemon().socket}",
            "HOME": "/nonexistent",  # nobody's settings
            "RYUK_RECONNECTION_TIMEOUT": "3s",
            "TC_MAX_TRIES": str(TIMEOUT),
            "TC_POOLING_INTERVAL": "2",  # each look at a database is a process beside the one that makes it
            # This computer may be a container itself, which both would take for a sign that the daemon's ports are elsewhere.
            "TESTCONTAINERS_CONNECTION_MODE": "docker_host",
            "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",
            "TESTCONTAINERS_SESSION_ID": str(uuid.uuid4()),  # Go's; by itself all that this process starts is one session
        }
        self._process = subprocess.Popen(  # pylint: disable=consider-using-with
            host_command("env", *(f"{name}={value}" for name, value in environment.items()), *command),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{command} said nothing and ended with {self._process.wait(TIMEOUT)}")
        self.said = json.loads(line)

    def runs(self):
        return self._process.poll() is None

    def end(self):
        """In order. Its exit code."""
        self._process.stdin.close()
        return self._wait()

    def kill(self):
        on_host("kill", "-KILL", str(self.said["pid"]))
        self._process.stdin.close()
        self._wait()

    def _wait(self):
        with self._process.stdout:
            return self._process.wait(TIMEOUT)


class Library:
    """What both libraries do. Not a test by itself."""

    session_label = ""
    reaper_name = ""

    def command(self):
        """How its application is called."""
        raise NotImplementedError

    def start(self, *names):
        application = Application(*self.command(), *names)
        self.addCleanup(self.put_away, application)
        self.session = application.said["session"]
        for name in names:
            self.assertEqual(application.said[name], KEPT[name])
        return application

    def put_away(self, application):
        """What a test that failed has left."""
        if application.runs():
            application.kill()
        own = ["-f", f"label={self.session_label}={self.session}"]
        for there, remove in ((["ps", "-aq"], ["rm", "-f", "-v"]), (["network", "ls", "-q"], ["network", "rm"]),
                              (["volume", "ls", "-q"], ["volume", "rm"]), (["images", "-q"], ["rmi", "-f"])):
            if left := output(*there, *own).split():
                docker(*remove, *left, check=False)

    def belongings(self):
        """How many containers, networks, volumes and images are the session's; the reaper is not among them."""
        own = f"label={self.session_label}={self.session}"
        reaper = self.reaper()
        containers = output("ps", "-aq", "--no-trunc", "-f", own).split()
        return {"containers": len([one for one in containers if one not in reaper]),
                "networks": len(output("network", "ls", "-q", "-f", own).split()),
                "volumes": len(output("volume", "ls", "-q", "-f", own).split()),
                "images": len(output("images", "-q", "-f", own).split())}

    def reaper(self, *filters):
        """The IDs of the session's reaper, while it is there."""
        return output("ps", "-aq", "--no-trunc", "-f", f"name=^/{self.reaper_name}{self.session}$", *filters).split()

    def wait_until_nothing_is_left(self):
        deadline = time.monotonic() + TIMEOUT
        while (left := self.belongings()) and (any(left.values()) or self.reaper()):
            self.assertLess(time.monotonic(), deadline, f"left: {left}, the reaper: {self.reaper()}")
            time.sleep(0.5)

    def test_modules_give_servers_that_answer(self):
        application = self.start("redis", "postgres")

        self.assertEqual(self.belongings(), {"containers": 2, "networks": 0, "volumes": 0, "images": 0})
        self.assertEqual(len(self.reaper("-f", "status=running", *self.reaper_labels)), 1)

        self.assertEqual(application.end(), 0)
        self.assertEqual(self.belongings()["containers"], 0)
        self.wait_until_nothing_is_left()

    def test_the_reaper_removes_what_a_killed_application_leaves(self):
        application = self.start("belongings")
        self.assertEqual(self.belongings(), {"containers": 1, "networks": 1, "volumes": 1, "images": self.images})

        application.kill()

        self.wait_until_nothing_is_left()


class PythonTest(Library, TidyHostTest):
    session_label = "org.testcontainers.session-id"
    reaper_name = "testcontainers-ryuk-"
    reaper_labels = ["-f", "label=org.testcontainers=true", "-f", "label=org.testcontainers.lang=python"]
    images = 1

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.python = python_with(f"{HERE}/requirements.txt")

    def command(self):
        return self.python, os.path.join(HERE, "application.py")


class GoTest(Library, TidyHostTest):
    session_label = "org.testcontainers.sessionId"
    reaper_name = "reaper_"
    reaper_labels = ["-f", "label=org.testcontainers.reaper=true", "-f", "label=org.testcontainers.ryuk=true"]
    images = 0
    without = ""  # why there is no program

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        try:
            cls.program = go_program(f"{HERE}/go")
        except NoToolchain as error:
            cls.without = str(error)

    def setUp(self):
        if self.without:
            self.skipTest(self.without)
        super().setUp()

    def command(self):
        return (self.program,)


if __name__ == "__main__":
    unittest.main(verbosity=2)
