#!/usr/bin/python3
"""The monitor without the daemon: real guests boot, are saved, cloned and ended (monitor_check.cc)."""

import os
import pathlib
import shlex
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import add_tests  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"
CHECK = BUILD / "tests" / "monitor_check"
TIMEOUT = 300


def kernel():
    done = subprocess.run([ROOT / "kernel-config" / "build", "--print-path"], capture_output=True,
                          check=True, text=True)
    return done.stdout.strip()


class MonitorTest(unittest.TestCase):
    def run_check(self, name):
        prefix = shlex.split(os.environ.get("CONTAINERVM_ON_HOST", ""))
        done = subprocess.run(
            [*prefix, CHECK, f"--gtest_filter={name}", "--vmm", BUILD / "vmm" / "containervm-vmm",
             "--kernel", kernel(), "--initramfs", BUILD / "guest-init" / "guest-init.cpio"],
            capture_output=True, timeout=TIMEOUT, check=False, text=True)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)


add_tests(MonitorTest, CHECK, "--vmm", "-", "--kernel", "-", "--initramfs", "-")

if __name__ == "__main__":
    unittest.main()
