#!/usr/bin/python3
"""A second container in a machine that runs: its files are attached, taken away and attached again (api/machines)."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.checks import BUILD, guest_kernel, run_on_host  # noqa: E402

TIMEOUT = 300

# A layer with nothing but busybox, and a state directory that goes with the test.
SCRIPT = """
set -e
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
mkdir -p "$directory/root/bin" "$directory/root/etc" "$directory/root/tmp" "$directory/state"
cp "$(command -v busybox)" "$directory/root/bin/busybox"
for applet in cat echo hostname sh sleep; do ln -s busybox "$directory/root/bin/$applet"; done
mkfs.erofs "$directory/layer" "$directory/root" > /dev/null 2>&1
"$1" --state "$directory/state" --kernel "$2" --init "$3" --vmm "$4" --layer "$directory/layer" --write-back \
  --stdin x --beside 'hostname; cat /kept 2>/dev/null; echo kept >> /kept' -- cat
"""


class FurtherContainerTest(unittest.TestCase):
    def test_runs_beside_the_first_and_keeps_its_files(self):
        done = run_on_host("sh", "-c", SCRIPT, "sh", BUILD / "api" / "machines" / "machines-try", guest_kernel(),
                           BUILD / "guest-init" / "guest-init.cpio", BUILD / "vmm" / "containervm-vmm", timeout=TIMEOUT)

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        lines = [line.split(";")[0] for line in done.stdout.splitlines()]
        self.assertEqual(lines, ["container-2", "beside: exit 0", "container-2", "kept", "beside: exit 0",
                                 "xmachine 0: exit 0"], done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
