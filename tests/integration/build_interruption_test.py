#!/usr/bin/python3
"""Builds that do not come to their end: cancelled, left by their client, cut short with the daemon. Nothing stays of them."""

import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.builds import begin, build, said, stream  # noqa: E402
from harness.daemon import Daemon, was_cut_off  # noqa: E402
from harness.host import HostTest, api, docker, host_state, on_host, output, settle  # noqa: E402

LONG = "FROM busybox\nLABEL interrupted=1\nRUN echo it runs; echo x > /x; sleep 1000\n"


def images():
    return set(output("images", "-aq", "--no-trunc").split())


def read_until(response, word):
    """What came of a build's stream up to `word`."""
    text = b""
    while word not in text:
        piece = response.read1(4096)
        if not piece:
            raise AssertionError(f"the build ended: {text!r}")
        text += piece
    return text


class InterruptionTest(HostTest):
    def setUp(self):
        super().setUp()
        docker("run", "--rm", "busybox", "true")  # so that the machines in advance are there
        settle()
        self._state, self._images = host_state(), images()

    def tearDown(self):
        super().tearDown()
        for image in images() - self._images:
            docker("rmi", "-f", image, check=False)

    def _nothing_is_left(self, steps):
        """`steps`: images of whole instructions, which the next build finds."""
        settle(self._state)
        self.assertEqual(host_state(), self._state)
        self.assertEqual(set(output("ps", "-aq", "--no-trunc").split()), self._before)
        self.assertEqual(len(images() - self._images), steps)
        root = api().get("/info")["DockerRootDir"]
        self.assertEqual(on_host("sh", "-c", f"find {root} -maxdepth 3 -name 'build-*' -o -maxdepth 3 -name '*.new' -o -maxdepth 3 -name '*.tmp'"), "")

    def test_the_client_goes_away_while_a_command_runs(self):
        connection, response = begin(LONG)
        read_until(response, b"it runs")
        connection.close()
        response.close()
        self._nothing_is_left(1)

    def test_a_command_that_takes_no_signal(self):
        connection, response = begin("FROM busybox\nRUN echo it runs; trap '' TERM INT; while :; do sleep 1; done\n")
        read_until(response, b"it runs")
        connection.close()
        response.close()
        self._nothing_is_left(0)

    def test_a_build_is_cancelled_while_a_command_runs(self):
        connection, response = begin(LONG, buildid="to-be-cancelled")
        text = read_until(response, b"it runs")
        self.assertEqual(api().call("POST", "/build/cancel", query={"id": "to-be-cancelled"})[0], 200)
        rest = said((text + response.read()).decode())
        connection.close()
        self.assertIn("cancelled", rest[-1]["error"].lower())
        self._nothing_is_left(1)

    def test_the_client_goes_away_while_files_are_copied(self):
        noise = os.urandom(24 << 20)
        for delay in (0, 0.3, 1):
            connection, response = begin("FROM busybox\nLABEL interrupted=2\nCOPY noise /noise\nRUN sleep 1000\n", {"noise": noise})
            read_until(response, b"Step 3/4")
            time.sleep(delay)
            connection.close()
            response.close()
            settle(self._state)
        self.assertEqual(set(output("ps", "-aq", "--no-trunc").split()), self._before)
        self.assertEqual(host_state(), self._state)

    def test_the_daemon_is_killed(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        noise = os.urandom(8 << 20)
        for text, files, word, steps in ((LONG, {}, b"it runs", 1),
                                         ("FROM busybox\nLABEL interrupted=1\nCOPY noise /noise\nRUN sleep 1000\n", {"noise": noise}, b"Step 3/4", None)):
            connection, response = begin(text, files)
            read_until(response, word)
            daemon.end("KILL")
            try:
                response.read()
            except Exception as error:  # pylint: disable=broad-except
                self.assertTrue(was_cut_off(error), error)
            connection.close()
            daemon.start()
            docker("run", "--rm", "busybox", "true")
            self._nothing_is_left(len(images() - self._images) if steps is None else steps)
        again = stream(build("FROM busybox\nLABEL interrupted=1\nRUN true\n"))
        self.assertEqual(again.count("Using cache"), 1)


if __name__ == "__main__":
    unittest.main()
