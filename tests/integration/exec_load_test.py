#!/usr/bin/python3
"""Many exec loops at once in one container: every output and exit code right, nothing left on either side.

EXEC_LOOPS and EXEC_SECONDS say how many and how long (CI does a few seconds; 20 for 600 is the soak by hand).
"""

import concurrent.futures
import os
import re
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import HostTest, api, on_host, output, settle  # noqa: E402

LOOPS = int(os.environ.get("EXEC_LOOPS", "20"))
SECONDS = float(os.environ.get("EXEC_SECONDS", "15"))
# What thousands of execs may add at most: allocators keep some, a leak of 1 KiB an exec would be seen by hand.
GROWTH_KIB = 16 << 10
SCRIPT = "echo out $0; echo err $0 >&2; head -c 20000 /dev/zero | tr '\\0' x; exit $1"


def process_facts(pid):
    """(open descriptors, resident KiB) of a process on the host."""
    text = on_host("sh", "-c", f"ls /proc/{pid}/fd | wc -l; grep VmRSS /proc/{pid}/status")
    descriptors, resident = re.findall(r"\d+", text)
    return int(descriptors), int(resident)


class ExecLoadTest(HostTest):
    def test_loops_lose_nothing_and_leave_nothing(self):
        container = output("run", "-d", "busybox", "sleep", "100000")
        daemon = Daemon()
        monitor = api().get(f"/containers/{container}/json")["State"]["Pid"]
        self._loop(container, "warm", time.monotonic() + 2)
        settle()
        before = self._facts(container, daemon.pid, monitor)

        end = time.monotonic() + SECONDS
        with concurrent.futures.ThreadPoolExecutor(LOOPS) as pool:
            counts = list(pool.map(lambda i: self._loop(container, f"loop{i}", end), range(LOOPS)))

        settle()
        after = self._facts(container, daemon.pid, monitor)
        print(f"{sum(counts)} execs by {LOOPS} loops; before {before}, after {after}", flush=True)
        self.assertGreater(min(counts), 0)
        for exact in ("daemon descriptors", "monitor descriptors", "processes"):
            self.assertEqual(after[exact], before[exact], exact)
        for bounded in ("daemon KiB", "monitor KiB", "guest KiB in use"):
            self.assertLess(after[bounded] - before[bounded], GROWTH_KIB, bounded)

    def _loop(self, container, name, end):
        count = 0
        while True:
            count += 1
            self._exec(container, f"{name}-{count}", count % 200)
            if time.monotonic() >= end:
                return count

    def _exec(self, container, name, code):
        number = api().post(f"/containers/{container}/exec", {
            "Cmd": ["sh", "-c", SCRIPT, name, str(code)], "AttachStdout": True, "AttachStderr": True})["Id"]
        stream = api().hijack(f"/exec/{number}/start", body={"Detach": False, "Tty": False})
        out, err = stream.read_outputs()
        stream.close()
        self.assertEqual((out.decode(), err.decode()), (f"out {name}\n" + "x" * 20000, f"err {name}\n"))
        self.assertEqual(api().get(f"/exec/{number}/json")["ExitCode"], code)

    def _facts(self, container, daemon, monitor):
        daemon_descriptors, daemon_kib = process_facts(daemon)
        monitor_descriptors, monitor_kib = process_facts(monitor)
        memory = dict(re.findall(r"(\w+): +(\d+)", output("exec", container, "cat", "/proc/meminfo")))
        return {"daemon descriptors": daemon_descriptors, "daemon KiB": daemon_kib,
                "monitor descriptors": monitor_descriptors, "monitor KiB": monitor_kib,
                "guest KiB in use": int(memory["MemTotal"]) - int(memory["MemAvailable"]),
                "processes": len(api().get(f"/containers/{container}/top")["Processes"])}


if __name__ == "__main__":
    unittest.main()
