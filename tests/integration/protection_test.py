#!/usr/bin/python3
"""Every thread of a whole host, compared with vmm/sandbox/PROTECTIONS.md."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from harness.host import HostTest, api, docker, on_host, settle  # noqa: E402

UIDS = 65536
FIRST_UID = 2_000_000_000


class ProtectionTest(HostTest):
    def setUp(self):
        super().setUp()
        self.state = api().get("/info")["DockerRootDir"]

    def found(self, *arguments):
        """The host's processes as harness/protections.py sees them there."""
        lines = on_host("python3", protections.__file__, *arguments, self.state).splitlines()
        return [json.loads(line) for line in lines]

    def uids(self):
        first = FIRST_UID + int(on_host("cat", f"{self.state}/uid-range")) * UIDS
        return range(first, first + UIDS)

    def assert_as_documented(self, processes):
        uids = self.uids()
        self.assertEqual([difference for one in processes
                          for difference in protections.thread_differences(one, uids)], [])
        self.assertEqual([difference for one in processes if one["name"] == "containervm-vmm"
                          for difference in protections.descriptor_differences(one)], [])

    def test_every_thread_of_daemon_and_monitors(self):
        docker("run", "-d", "-v", "/anonymous", "busybox", "sleep", "1000")
        docker("run", "-d", "--network", "none", "busybox", "sleep", "1000")
        settle()

        processes = self.found()

        kinds = [protections.kind(one) for one in processes]
        self.assertEqual(kinds.count("containervmd"), 1)
        self.assertEqual(kinds.count("monitor that runs"), 2)
        self.assertIn("monitor that waits", kinds)
        self.assert_as_documented(processes)
        monitors = [one for one in processes if one["name"] == "containervm-vmm"]
        self.assertEqual(len({one["threads"][0]["uid"] for one in monitors}), len(monitors))


if __name__ == "__main__":
    unittest.main()
