#!/usr/bin/python3
"""A guest that misbehaves on every device, register and port, on the host's KVM: ../hostile/check.cc.

CONTAINERVM_FUZZ_SEED repeats its guests; each test prints the one it used.
"""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import BUILD, add_tests, run_on_host  # noqa: E402

CHECK = BUILD / "tests" / "hostile_guest_check"
TIMEOUT = 580


class HostileGuestTest(unittest.TestCase):
    def run_check(self, name):
        seed = os.environ.get("CONTAINERVM_FUZZ_SEED")
        done = run_on_host(CHECK, f"--gtest_filter={name}", "--vmm", BUILD / "vmm" / "containervm-vmm",
                           "--guest", BUILD / "tests" / "hostile_guest", "--seeds", "4", "--actions", "60",
                           *(["--seed", seed] if seed else []), timeout=TIMEOUT)
        print("\n".join(line for line in done.stdout.splitlines()
                        if line.startswith(("CONTAINERVM_FUZZ_SEED", "  "))))
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ] 1 test.", done.stdout)


add_tests(HostileGuestTest, CHECK, "--vmm", "-", "--guest", "-")

if __name__ == "__main__":
    unittest.main()
