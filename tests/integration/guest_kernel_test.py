#!/usr/bin/python3
"""The guest kernel as the monitor boots it, on the host's KVM: kernel-config/check."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import ROOT, guest_kernel, run_on_host  # noqa: E402

TIMEOUT = 580


class GuestKernelTest(unittest.TestCase):
    def test_has_what_containers_need(self):
        done = run_on_host(ROOT / "kernel-config" / "check", "--kvm", guest_kernel(), timeout=TIMEOUT)

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertRegex(done.stdout, r"kernel check: [1-9]\d* passed, 0 failed")


if __name__ == "__main__":
    unittest.main()
