#!/usr/bin/python3
"""What an idle container's machine keeps for itself: the pages it does not share with its template.

The whole cost, with what the kernel keeps for it, is measured by `./containervm bench memory`. This
test notices when a machine begins to touch much more memory than it has to.
"""

import os
import re
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, docker, on_host  # noqa: E402

CONTAINERS = 4
MOST_BYTES_EACH = 7 << 20

# The private memory of the monitor that has the container's disk open.
PRIVATE_OF = """
for p in $(pgrep containervm-vmm); do
  if ls -l /proc/$p/fd | grep -q "$1"; then awk '/^Private/ {sum += $2} END {print sum}' /proc/$p/smaps_rollup; fi
done
"""


class IdleMemoryTest(HostTest):
    def test_a_sleeping_container_keeps_little_for_itself(self):
        containers = [api().create("busybox", ["sleep", "1000"]) for _ in range(CONTAINERS)]
        for container in containers:
            api().post(f"/containers/{container}/start")
        time.sleep(3)  # what the kernel does after the start belongs to the cost

        kib = [on_host("sh", "-c", PRIVATE_OF, "sh", f"/{container}/").split() for container in containers]

        for container, found in zip(containers, kib, strict=True):
            self.assertEqual(len(found), 1, f"monitors that serve {container}: {found}")
            self.assertRegex(found[0], re.compile(r"^\d+$"))
            self.assertLess(int(found[0]) * 1024, MOST_BYTES_EACH)
            docker("rm", "-f", container)


if __name__ == "__main__":
    unittest.main()
