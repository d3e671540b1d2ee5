#!/usr/bin/python3
"""Hostile requests against the daemon on fake machines, natively: with a sanitized build it is a check of memory, too.

HOSTILE_REQUESTS says how many, HOSTILE_SEED repeats a run.
"""

import os
import random
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import hostile_requests, image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from native.native_daemon import Daemon  # noqa: E402

REQUESTS = int(os.environ.get("HOSTILE_REQUESTS", "1000"))


class HostileRequestsTest(unittest.TestCase):
    def test_each_is_refused(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            self.skipTest("FAKE_CONTAINERVMD names no program")
        directory = tempfile.mkdtemp(prefix="cvm-hostile.")
        self.addCleanup(shutil.rmtree, directory)
        daemon = Daemon(directory)
        self.addCleanup(daemon.close)
        archive = image_workload.archive_of([tar_of({"file": b"x"})], "busybox:latest")
        daemon.stream("POST", "/images/load", {}, {"Content-Type": "application/x-tar"}, archive)
        container = daemon.api.create("busybox", ["sleep", "100000"])
        daemon.api.post(f"/containers/{container}/start")
        seed = int(os.environ.get("HOSTILE_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}", flush=True)

        codes = hostile_requests.throw(daemon.api.path, container, seed, REQUESTS)

        print(f"answers {codes}", flush=True)
        self.assertIsNone(daemon.process.poll(), "the daemon ended")
        self.assertGreater(sum(n for code, n in codes.items() if code and 400 <= code < 500), REQUESTS / 4)


if __name__ == "__main__":
    unittest.main()
