#!/usr/bin/python3
"""Many containers, many at once: none lost, none hung, nothing left on the host.

CHURN_CONTAINERS says how many (CI runs fewer than a soak by hand: 200 take 4 minutes in the emulated machine).
"""

import concurrent.futures
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, host_state, output, settle  # noqa: E402

CONTAINERS = int(os.environ.get("CHURN_CONTAINERS", "60"))
AT_ONCE = 20


def one_run(number):
    status, out, err = api().run("busybox", ["sh", "-c", f"echo {number}; echo e{number} >&2; exit {number % 7}"])
    return number, status, out, err


class ChurnTest(HostTest):
    def test_many_containers_twenty_at_once(self):
        one_run(0)
        settle()
        before = host_state()

        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            results = list(pool.map(one_run, range(CONTAINERS)))

        for number, status, out, err in results:
            self.assertEqual(status, number % 7)
            self.assertEqual(out.decode(), f"{number}\n")
            self.assertEqual(err.decode(), f"e{number}\n")
        self.assertEqual(output("ps", "-aq"), "")
        settle(before)
        self.assertEqual(host_state(), before)


if __name__ == "__main__":
    unittest.main()
