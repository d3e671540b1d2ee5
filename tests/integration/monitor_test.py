#!/usr/bin/python3
"""The monitor without the daemon: real guests boot, are saved, cloned and ended (monitor_check.cc)."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import BUILD, add_tests, guest_kernel, run_on_host  # noqa: E402

CHECK = BUILD / "tests" / "monitor_check"
TIMEOUT = 300


class MonitorTest(unittest.TestCase):
    def run_check(self, name):
        done = run_on_host(CHECK, f"--gtest_filter={name}", "--vmm", BUILD / "vmm" / "containervm-vmm",
                           "--kernel", guest_kernel(), "--initramfs", BUILD / "guest-init" / "guest-init.cpio",
                           timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)


add_tests(MonitorTest, CHECK, "--vmm", "-", "--kernel", "-", "--initramfs", "-")

if __name__ == "__main__":
    unittest.main()
