#!/usr/bin/python3
"""Every thread of a whole host, compared with vmm/sandbox/PROTECTIONS.md; and which system calls monitors use."""

import io
import json
import os
import random
import sys
import tarfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from harness.host import HostTest, api, docker, on_host, output, settle  # noqa: E402

TRACE = "/tmp/containervm-monitor.trace"
UIDS = 65536
FIRST_UID = 2_000_000_000
IMPORTED = 48 << 20  # bytes: the layer tool is busy with them for seconds

# What a container does so that its monitor has work of every kind. Privileged, with a volume at /v.
WORK = """
wget -q -O /dev/null http://$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p')/ 2>&1
dd if=/dev/zero of=/v/file bs=1M count=8 2>&1; sync; echo 3 >/proc/sys/vm/drop_caches
cat /v/file >/dev/null; rm /v/file; sync; fstrim /v
dd if=/dev/hwrng of=/dev/null bs=64 count=4 2>&1
dd if=/dev/zero of=/dev/shm/file bs=1M count=32 2>&1; rm /dev/shm/file; sleep 5
"""

# From within its directory: the whole path is longer than an address may be.
CONNECT = """import os, socket, sys
os.chdir(sys.argv[1])
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.connect("control.sock"); s.recv(65536)"""


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

    def test_the_layer_tool(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("random")
            entry.size = IMPORTED
            tar.addfile(entry, io.BytesIO(random.Random(1).randbytes(IMPORTED)))
        importing = threading.Thread(target=docker, args=("import", "-", "protection-test"),
                                     kwargs={"stdin": archive.getvalue()})
        importing.start()
        self.addCleanup(docker, "rmi", "protection-test")
        self.addCleanup(importing.join)

        processes = self.found("--wait-for", "containervm-lay")

        self.assert_as_documented(processes)

    def test_each_system_call_that_a_running_monitor_may_make_is_used(self):
        settle()
        waiting = [str(one["pid"]) for one in self.found()
                   if protections.kind(one) == "monitor that waits"]
        self.assertGreaterEqual(len(waiting), 2)
        on_host("sh", "-c", "exec setsid strace -f -q -o \"$0\" $(printf -- '-p %s ' \"$@\") "
                ">/dev/null 2>&1 </dev/null & sleep 2", TRACE, *waiting)
        self.addCleanup(on_host, "rm", "-f", TRACE)

        worker = output("run", "-d", "--privileged", "-v", "/v", "busybox", "sleep", "1000")
        other = output("run", "-d", "busybox", "sleep", "1000")
        docker("exec", worker, "sh", "-c", WORK)
        docker("stop", "-t", "1", worker)
        # Who takes over a machine's control connection without being its daemon ends the machine.
        on_host("python3", "-c", CONNECT, f"{self.state}/run/machines/{other}")
        docker("wait", other)
        while on_host("sh", "-c", "pgrep -f \"^strace .*$0\" || true", TRACE).strip():
            time.sleep(1)

        calls = json.loads(on_host("python3", protections.__file__, "--calls", TRACE))

        documented = protections.documented_calls()
        for call in sorted(documented):
            print(f"{call:16} {calls.get(call, 0):7}  {', '.join(sorted(documented[call]))}")
        self.assertLessEqual(len(documented), 40)
        self.assertEqual(sorted(set(documented) - set(calls)), [], "these are allowed, but not used")
        self.assertEqual(sorted(set(calls) - set(documented)), [], "these are used, but not in the table")


if __name__ == "__main__":
    unittest.main()
