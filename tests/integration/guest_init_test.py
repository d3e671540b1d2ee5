#!/usr/bin/python3
"""guest-init without the daemon: what it does in machines of its own (guest-init/machine_test.cc and others)."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import BUILD, guest_kernel, run_on_host  # noqa: E402

TIMEOUT = 880


class GuestInitTest(unittest.TestCase):
    def test_in_machines_of_its_own(self):
        # One process, because its tests share a template.
        done = run_on_host("env", f"CONTAINERVM_VMM={BUILD / 'vmm' / 'containervm-vmm'}",
                           f"CONTAINERVM_KERNEL={guest_kernel()}",
                           f"CONTAINERVM_INITRAMFS={BUILD / 'guest-init' / 'guest-init.cpio'}",
                           BUILD / "guest-init" / "guest_init_machine_test", timeout=TIMEOUT)

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("[  PASSED  ]", done.stdout)


if __name__ == "__main__":
    unittest.main()
