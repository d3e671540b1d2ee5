#!/usr/bin/python3
"""The monitor without the daemon: real guests boot, are saved, cloned and ended (monitor_check.cc)."""

import os
import pathlib
import shlex
import subprocess
import unittest

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


def add_tests():
    """One test here for each one there."""
    listed = subprocess.run([CHECK, "--gtest_list_tests", "--vmm", "-", "--kernel", "-",
                             "--initramfs", "-"], capture_output=True, check=True, text=True)
    suite = ""
    for line in listed.stdout.splitlines():
        if line.startswith(" "):
            name = line.split()[0]
            setattr(MonitorTest, f"test_{name}",
                    lambda self, full=suite + name: self.run_check(full))
        else:
            suite = line.strip()


add_tests()

if __name__ == "__main__":
    unittest.main()
