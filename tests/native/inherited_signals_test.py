#!/usr/bin/python3
"""The daemon started by somebody who ignores SIGCHLD, as a shell under nohup or cron may: it still learns how its children end."""

import os
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.archives import tar_of  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from native.native_daemon import Daemon  # noqa: E402


class InheritedSignalsTest(unittest.TestCase):
    def test_an_ignored_end_of_children(self):
        directory = tempfile.mkdtemp(prefix="cvm-signals-")
        self.addCleanup(shutil.rmtree, directory)
        daemon = Daemon(directory, through=["env", "--ignore-signal=CHLD"])
        self.addCleanup(daemon.close)
        good = tar_of({"file": b"content"})

        daemon.stream("POST", "/images/create", {"fromSrc": "-", "repo": "good"}, body=good)
        with self.assertRaises(ApiError) as refused:
            daemon.stream("POST", "/images/create", {"fromSrc": "-", "repo": "bad"}, body=b"no tar " * 1000)

        self.assertEqual(len(daemon.inspect("good")["RootFS"]["Layers"]), 1)
        self.assertNotIn("signal", str(refused.exception))
        with open(f"/proc/{daemon.process.pid}/status", encoding="ascii") as status:
            ignored = next(int(line.split()[1], 16) for line in status if line.startswith("SigIgn:"))
        self.assertEqual(ignored >> 16 & 1, 0)  # SIGCHLD is 17


if __name__ == "__main__":
    unittest.main()
