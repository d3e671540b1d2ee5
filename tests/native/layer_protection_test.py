#!/usr/bin/python3
"""A layer tool at work, seen from outside: is it what vmm/sandbox/PROTECTIONS.md says? CONTAINERVM_LAYER names it."""

import os
import socket
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from harness.archives import tar_of  # noqa: E402

# Its group and its place in the order of dying are its starter's affair.
COLUMNS = ("uid", "capabilities", "bounding set", "no_new_privs", "filters", "namespaces", "root")
WAIT = 60  # seconds
LIMIT = str(1 << 30)


class LayerProtectionTest(unittest.TestCase):
    def setUp(self):
        if "CONTAINERVM_LAYER" not in os.environ:
            self.skipTest("CONTAINERVM_LAYER names no program")
        if os.geteuid() != 0:
            self.skipTest("needs root")

    def start(self, blob, image, recipe):
        """As the store starts it, in a pid namespace of its own; it waits for its input."""
        def place():
            for fd, aside in ((image, 13), (recipe, 14)):
                os.dup2(fd, aside)
            for aside, target in ((13, 3), (14, 4)):
                os.dup2(aside, target)

        # What else is open here it closes itself.
        process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", os.environ["CONTAINERVM_LAYER"], "convert-stream",
             "0", LIMIT, LIMIT, LIMIT, "1000", "1000000"],
            stdin=blob, stdout=subprocess.PIPE, preexec_fn=place, close_fds=False)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.kill)
        return process

    def in_its_sandbox(self, process):
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            for pid in protections.read(f"/proc/{process.pid}/task/{process.pid}/children").split():
                if protections.status(f"/proc/{pid}/status")["Seccomp"] == "2":
                    return protections.process(int(pid), os.getpid())
        self.fail("it does not enter its sandbox")

    def test_it_is_confined_before_it_reads_and_does_its_work(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        with tempfile.TemporaryFile() as image, tempfile.TemporaryFile() as recipe:
            process = self.start(theirs, image.fileno(), recipe.fileno())
            theirs.close()

            found = self.in_its_sandbox(process)
            ours.sendall(tar_of({"file": b"content"}))
            ours.shutdown(socket.SHUT_WR)

            self.assertEqual(process.wait(WAIT), 0)
            self.assertEqual(protections.thread_differences(found, set(), COLUMNS), [])
            self.assertEqual(len(found["descriptors"]), 5)
            self.assertGreater(os.fstat(image.fileno()).st_size, 0)


if __name__ == "__main__":
    unittest.main()
