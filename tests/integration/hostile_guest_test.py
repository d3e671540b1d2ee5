#!/usr/bin/python3
"""A guest that misbehaves on every device, register and port, on the host's KVM: ../hostile/check.cc.

CONTAINERVM_FUZZ_SEED repeats its guests; each test prints the one it used.
"""

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
CHECK = BUILD / "tests" / "hostile_guest_check"
TIMEOUT = 580


class HostileGuestTest(unittest.TestCase):
    def run_check(self, name):
        prefix = shlex.split(os.environ.get("CONTAINERVM_ON_HOST", ""))
        seed = os.environ.get("CONTAINERVM_FUZZ_SEED")
        done = subprocess.run(
            [*prefix, CHECK, f"--gtest_filter={name}", "--vmm", BUILD / "vmm" / "containervm-vmm",
             "--guest", BUILD / "tests" / "hostile_guest", "--seeds", "4", "--actions", "60",
             *(["--seed", seed] if seed else [])],
            capture_output=True, timeout=TIMEOUT, check=False, text=True)
        print("\n".join(line for line in done.stdout.splitlines()
                        if line.startswith(("CONTAINERVM_FUZZ_SEED", "  "))))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)


add_tests(HostileGuestTest, CHECK, "--vmm", "-", "--guest", "-")

if __name__ == "__main__":
    unittest.main()
