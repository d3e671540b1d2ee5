#!/usr/bin/python3
"""Containers that print as fast as they can: the daemon answers, others run, and nothing of their output is lost."""

import hashlib
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, docker, output  # noqa: E402

LINES = 60_000
LONG = 100_000
ROTATED = 6_000
FLOOR = ("--log-opt", "max-size=10k", "--log-opt", "max-file=100")

# Each ends by itself, after as much output as can be checked whole; what it is in the log, and its digest.
FLOODS = {
    "newlines": ([], f"yes '' | head -n {LINES}", b"\n" * LINES),
    "long lines": ([], f"line=$(yes x | head -n {LONG} | tr -d '\\n'); for n in $(seq 1 20); do echo $n$line; done",
                   b"".join(b"%d%s\n" % (n, b"x" * LONG) for n in range(1, 21))),
    # Bytes that are not UTF-8 become U+FFFD in the log, as with Docker: each of these is one.
    "binary": ([], f"head -c {LONG * 5} /dev/zero | tr '\\0' '\\377'; echo",
               "\N{REPLACEMENT CHARACTER}".encode() * (LONG * 5) + b"\n"),
    "rotation": (FLOOR, f"seq 1 {ROTATED}", b"".join(b"%d\n" % n for n in range(1, ROTATED + 1))),
}


class FloodTest(HostTest):
    def test_beside_four_floods_the_daemon_answers_and_all_output_is_there(self):
        started = {kind: output("run", "-d", *options, "busybox", "sh", "-c", script)
                   for kind, (options, script, _) in FLOODS.items()}
        while True:
            running = set(output("ps", "-q", "--no-trunc").split()) & set(started.values())
            self.assertEqual(output("run", "--rm", "busybox", "echo", "beside"), "beside")
            if not running:
                break

        for kind, container in started.items():
            with self.subTest(kind):
                self.assertEqual(output("inspect", "-f", "{{.State.ExitCode}}", container), "0")
                logged = docker("logs", container).stdout
                wanted = FLOODS[kind][2]
                self.assertEqual(len(logged), len(wanted))
                self.assertEqual(hashlib.sha256(logged).hexdigest(), hashlib.sha256(wanted).hexdigest())

    def test_attached_and_logged_are_the_same(self):
        container = output("create", *FLOOR, "busybox", "seq", "1", str(ROTATED))

        attached = docker("start", "-a", container).stdout

        self.assertEqual(attached, FLOODS["rotation"][2])
        self.assertEqual(docker("logs", container).stdout, attached)

    def test_a_container_that_never_stops_printing_is_removed(self):
        for options, script in (([], "yes ''"), (FLOOR, "yes")):
            container = output("run", "-d", *options, "busybox", "sh", "-c", script)
            followed = subprocess.Popen(["docker", "logs", "-f", container], stdout=subprocess.PIPE)
            self.addCleanup(followed.stdout.close)
            self.addCleanup(followed.wait)
            self.addCleanup(followed.kill)
            self.assertTrue(followed.stdout.read(256))

            docker("rm", "-f", container)

            self.assertNotEqual(docker("inspect", container, check=False).returncode, 0)
            # A log at the floor is short, so a follower soon comes to its end. The other's client writes
            # millions of lines of one byte each: it is ended.
            if options:
                followed.stdout.read()
                self.assertEqual(followed.wait(), 0)

    def test_options_beyond_what_a_host_survives_are_refused(self):
        for option, words in (("max-size=1", "is less than this host's least, 1000 bytes"),
                              ("max-file=1000000", "is more than this host's most, 1000")):
            refused = docker("create", "--log-opt", option, "busybox", check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(f"log opt {option} {words}", refused.stderr.decode())


if __name__ == "__main__":
    unittest.main()
