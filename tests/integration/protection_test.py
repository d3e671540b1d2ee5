#!/usr/bin/python3
"""Every thread of a whole host, and the system calls of its monitors, compared with vmm/sandbox/PROTECTIONS.md."""

import json
import os
import pathlib
import shlex
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from harness.host import HostTest, api, docker, on_host, settle  # noqa: E402

TESTS = pathlib.Path(__file__).resolve().parents[1]
BUILD = TESTS.parent / "build" / "release"
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
        self.assertEqual(kinds.count("containervm-fileserver"), 1)
        self.assertIn("monitor that waits", kinds)
        self.assert_as_documented(processes)
        monitors = [one for one in processes if one["name"] == "containervm-vmm"]
        self.assertEqual(len({one["threads"][0]["uid"] for one in monitors}), len(monitors))

    def test_the_layer_tool(self):
        command = [*shlex.split(os.environ.get("CONTAINERVM_ON_HOST", "")), "python3",
                   str(TESTS / "integration" / "slow_layer.py"), self.state]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as registry:
            image = registry.stdout.readline().strip() + "/slow"
            pulling = threading.Thread(target=docker, args=("pull", image))
            pulling.start()
            self.addCleanup(docker, "rmi", image)
            self.addCleanup(pulling.join)

            found = json.loads(registry.stdout.readline())

            self.assert_as_documented([found])
            pulling.join()
            registry.stdin.close()
        self.assertEqual(registry.returncode, 0)

    def test_each_system_call_that_a_running_monitor_may_make_is_used(self):
        told = on_host("env", f"CONTAINERVM_VMM={BUILD / 'vmm' / 'containervm-vmm'}",
                       f"DEVICE_USER={BUILD / 'tests' / 'device_user'}",
                       "python3", str(TESTS / "native" / "monitor_calls_test.py"))

        print(told)
        self.assertIn("system calls of a monitor that runs", told)  # it was not skipped


if __name__ == "__main__":
    unittest.main()
