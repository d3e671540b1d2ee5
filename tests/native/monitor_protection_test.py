#!/usr/bin/python3
"""A monitor whose machine runs here, seen from outside: is it what vmm/sandbox/PROTECTIONS.md says?

Its guest is one that any KVM can run: it halts. CONTAINERVM_VMM names the monitor.
"""

import os
import shutil
import struct
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import monitor as vmm  # noqa: E402
from harness import protections  # noqa: E402

# Of a process that is no daemon's these mean nothing.
COLUMNS = ("uid", "capabilities", "bounding set", "no_new_privs", "filters", "namespaces", "root")
START = 16 * vmm.MEBIBYTE
HALT = b"\xfa\xf4\xeb\xfc"  # cli; hlt; jmp back


def kernel_image(code):
    """An ELF executable of one segment."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, START, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 4096, START, START, len(code), len(code), 4096)
    return (header + segment).ljust(4096, b"\0") + code


class MonitorProtectionTest(unittest.TestCase):
    def setUp(self):
        if "CONTAINERVM_VMM" not in os.environ:
            self.skipTest("CONTAINERVM_VMM names no program")
        if os.geteuid() != 0:
            self.skipTest("needs root")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.skipTest("/dev/kvm does not open")
        directory = tempfile.mkdtemp(prefix="cvm-protection.")
        self.addCleanup(shutil.rmtree, directory)
        self.monitor = vmm.Monitor(directory)
        self.addCleanup(self.monitor.close)

    def boot(self, before_run=lambda: None):
        with tempfile.TemporaryFile() as image:
            image.write(kernel_image(HALT))
            image.flush()
            self.monitor.boot(image)
        before_run()
        self.monitor.do(vmm.RUN)

    def assert_as_documented(self, kind):
        # A new thread has the name and the filters of the one that made it until it runs.
        deadline = time.monotonic() + 60
        while True:
            found = protections.process(self.monitor.pid, os.getpid())
            if not protections.thread_differences(found, {vmm.UID}, COLUMNS) or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.assertEqual(protections.kind(found), kind)
        self.assertEqual(protections.thread_differences(found, {vmm.UID}, COLUMNS), [])
        self.assertEqual(protections.descriptor_differences(found), [])
        return found

    def test_it_is_in_its_sandbox_before_it_has_a_machine(self):
        self.assert_as_documented("monitor that waits")

    def test_each_thread_is_narrowed_when_the_machine_runs(self):
        self.boot()

        found = self.assert_as_documented("monitor that runs")

        self.assertEqual(sorted(thread["thread"] for thread in found["threads"]),
                         ["containervm-vmm", "disk", *["vcpu"] * vmm.VCPUS])

    def test_each_thread_is_narrowed_whatever_was_detached_before(self):
        def detach():
            with tempfile.TemporaryFile() as file:
                file.truncate(4096)
                self.monitor.do(vmm.ATTACH_DISK, struct.pack("<IIQQ", 0, 1, 0, 4096), fds=(file.fileno(),))
            self.monitor.do(vmm.DETACH_DISK, struct.pack("<IQQ", 0, 0, 1 << 40))

        self.boot(before_run=detach)

        self.assert_as_documented("monitor that runs")

    def test_the_narrowed_monitor_saves_a_template_and_ends_in_order(self):
        self.boot()
        with tempfile.TemporaryFile() as memory, tempfile.TemporaryFile() as state:
            self.monitor.send(vmm.SAVE, fds=(memory.fileno(), state.fileno()))
            self.monitor.expect(vmm.SAVED)

        self.monitor.send(vmm.STOP)

        self.monitor.expect(vmm.STOPPED)
        self.assertEqual(self.monitor.process.wait(timeout=60), 0)

    def test_the_window_and_the_cards_of_a_machine_that_runs_stay_as_they_are(self):
        self.boot()
        in_window = struct.pack("<IQQB", 1, 0, 4096, 1)
        card = struct.pack("<I6s", 0, bytes(6))

        with tempfile.TemporaryFile() as file:
            file.truncate(4096)
            for kind, payload in ((vmm.ATTACH_LAYERS, in_window), (vmm.ATTACH_NETWORK, card)):
                self.monitor.send(kind, payload, fds=(file.fileno(),))
                self.monitor.expect(vmm.FAILED)

        self.monitor.send(vmm.STOP)
        self.monitor.expect(vmm.STOPPED)

    def test_files_of_its_disks_come_and_go_while_it_runs(self):
        self.boot()
        on_disk = struct.pack("<IQQB", 1, 1 << 40, 4096, 0)
        writable = struct.pack("<IIQQ", 0, 1, 1 << 40, 4096)
        part = (1 << 40, 1 << 41)

        with tempfile.TemporaryFile() as file:
            file.truncate(4096)
            for _ in range(2):
                self.monitor.do(vmm.ATTACH_LAYERS, on_disk, fds=(file.fileno(),))
                self.monitor.do(vmm.ATTACH_DISK, writable, fds=(file.fileno(),))
                self.monitor.send(vmm.ATTACH_DISK, writable, fds=(file.fileno(),))  # its place is taken
                self.monitor.expect(vmm.FAILED)
                self.monitor.do(vmm.DETACH_LAYERS, struct.pack("<QQ", *part))
                self.monitor.do(vmm.DETACH_DISK, struct.pack("<IQQ", 0, *part))

        self.monitor.send(vmm.STOP)
        self.monitor.expect(vmm.STOPPED)


if __name__ == "__main__":
    unittest.main()
