#!/usr/bin/python3
"""Clones of one memory template must differ in everything that identifies or seeds a machine."""

import concurrent.futures
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, output  # noqa: E402

CLONES = 100
AT_ONCE = 4

SCRIPT = """
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \\n'; echo
cat /proc/sys/kernel/random/uuid
cat /proc/sys/kernel/random/boot_id
cat /etc/machine-id
hostname
cat /sys/class/net/eth0/address
"""
FIELDS = ("urandom", "uuid", "boot_id", "machine-id", "hostname", "MAC")


class IdentityTest(HostTest):
    def test_a_hundred_clones_share_nothing_that_identifies_them(self):
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            runs = list(pool.map(lambda _: output("run", "--rm", "debian:12", "sh", "-c", SCRIPT),
                                 range(CLONES)))

        rows = [run.split("\n") for run in runs]
        for row in rows:
            self.assertEqual(len(row), len(FIELDS), row)
            self.assertTrue(all(row), row)
        for index, field in enumerate(FIELDS):
            values = {row[index] for row in rows}
            if field == "MAC":
                # An address is free again once its machine is gone; only machines alive together differ.
                self.assertGreater(len(values), 1)
            else:
                self.assertEqual(len(values), CLONES, f"{field} repeats")

    def test_clones_alive_together_have_different_addresses(self):
        containers = [output("run", "-d", "busybox", "sleep", "1000") for _ in range(10)]

        macs = {output("inspect", "-f", "{{.NetworkSettings.MacAddress}}", c) for c in containers}
        addresses = {output("inspect", "-f", "{{.NetworkSettings.IPAddress}}", c) for c in containers}

        self.assertEqual((len(macs), len(addresses)), (10, 10))

    def test_the_clock_is_the_hosts(self):
        host_before = int(output("run", "--rm", "busybox", "date", "+%s"))
        host_after = int(output("run", "--rm", "busybox", "date", "+%s"))

        self.assertLessEqual(host_before, host_after)
        self.assertGreater(host_before, 1_700_000_000)


if __name__ == "__main__":
    unittest.main()
