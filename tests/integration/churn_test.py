#!/usr/bin/python3
"""Many containers, many at once: none lost, none hung, nothing left on the host.

CHURN_CONTAINERS says how many (CI runs fewer than a soak by hand: 200 take 4 minutes in the emulated machine).
"""

import concurrent.futures
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, on_host, output  # noqa: E402

CONTAINERS = int(os.environ.get("CHURN_CONTAINERS", "60"))
AT_ONCE = 20


def host_state():
    """What a container may have left. The pool of machines in advance is part of it, so it is compared."""
    state = api().get("/info")["DockerRootDir"]
    counts = {
        "monitors": "pgrep -c containervm-vmm || test $? = 1",
        "taps": "ls /sys/class/net | wc -l",
        "machines": f"ls '{state}/run/machines' | wc -l",
        "containers": f"ls '{state}/containers' | wc -l",
        "groups": "ls -d /sys/fs/cgroup/containervm-*/* | grep -c /machine- || test $? = 1",
        "rules": "nft list ruleset | wc -l",
    }
    lines = on_host("sh", "-c", "\n".join(counts.values())).split()
    return dict(zip(counts, lines, strict=True))


def one_run(number):
    status, out, err = api().run("busybox", ["sh", "-c", f"echo {number}; echo e{number} >&2; exit {number % 7}"])
    return number, status, out, err


class ChurnTest(HostTest):
    def test_many_containers_twenty_at_once(self):
        one_run(0)
        self._settle()
        before = host_state()

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(one_run, range(CONTAINERS)))

        for number, status, out, err in results:
            self.assertEqual(status, number % 7)
            self.assertEqual(out.decode(), f"{number}\n")
            self.assertEqual(err.decode(), f"e{number}\n")
        self.assertEqual(output("ps", "-aq"), "")
        self._settle(before)
        self.assertEqual(host_state(), before)

    def _settle(self, wanted=None):
        """Teardown is off the critical path: give it a bounded time."""
        deadline = time.monotonic() + 60
        last = host_state()
        while time.monotonic() < deadline:
            time.sleep(1)
            now = host_state()
            if now == (wanted or last):
                return
            last = now


if __name__ == "__main__":
    unittest.main()
