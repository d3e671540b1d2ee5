#!/usr/bin/python3
"""A monitor whose machine runs here, seen from outside: is it what vmm/sandbox/PROTECTIONS.md says?

Its guest is one that any KVM can run: it halts. CONTAINERVM_VMM names the monitor.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402

BOOT, RUN, SAVE, STOP, STATUS, DONE, FAILED, SAVED, STOPPED = 1, 8, 9, 10, 64, 65, 66, 67, 68
MEBIBYTE = 1 << 20
UID = 54321
VCPUS = 2
# Of a process that is no daemon's these mean nothing.
COLUMNS = ("uid", "capabilities", "bounding set", "no_new_privs", "filters", "namespaces", "root")
START = 16 * MEBIBYTE
HALT = b"\xfa\xf4\xeb\xfc"  # cli; hlt; jmp back


def kernel_image(code):
    """An ELF executable of one segment."""
    header = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 2, 62, 1, START, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 4096, START, START, len(code), len(code), 4096)
    return (header + segment).ljust(4096, b"\0") + code


class Monitor:
    """A containervm-vmm as the daemon would start it, in a pid namespace of its own."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(f"{directory}/run/machines/m")
        path = f"{directory}/run/machines/m/control.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(path)
        listener.listen()
        kvm = os.open("/dev/kvm", os.O_RDWR)
        result = os.open(f"{directory}/run/machines/m/result", os.O_RDWR | os.O_CREAT)
        log = os.open(f"{directory}/run/machines/m/log", os.O_WRONLY | os.O_CREAT)
        self.process = subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", os.environ["CONTAINERVM_VMM"],
             "--control-fd", str(listener.fileno()), "--kvm-fd", str(kvm), "--result-fd", str(result),
             "--uid", str(UID), "--gid", str(UID)],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
            pass_fds=(listener.fileno(), kvm, result))
        listener.close()
        for fd in (kvm, result, log):
            os.close(fd)
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(60)
        self.connection.connect(path)
        self.expect(STATUS)
        children = protections.read(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(children)

    def send(self, kind, payload=b"", fds=()):
        packet = struct.pack("<HI", kind, 7) + payload
        socket.send_fds(self.connection, [packet], fds)

    def expect(self, kind):
        packet = self.connection.recv(65536)
        got = struct.unpack_from("<H", packet)[0] if packet else None
        if got != kind:
            raise AssertionError(f"message {got}, not {kind}: {packet[2:]!r}; its log: "
                                 + protections.read(f"{self.directory}/run/machines/m/log"))

    def boot(self):
        with tempfile.TemporaryFile() as image:
            image.write(kernel_image(HALT))
            image.flush()
            shape = struct.pack("<IQ", VCPUS, 64 * MEBIBYTE)
            command_line = b"nokaslr"  # this kernel has no relocations
            self.send(BOOT, shape + struct.pack("<I", len(command_line)) + command_line,
                      (image.fileno(), image.fileno()))
            self.expect(DONE)
        self.send(RUN)
        self.expect(DONE)

    def close(self):
        self.connection.close()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


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
        self.monitor = Monitor(directory)
        self.addCleanup(self.monitor.close)

    def assert_as_documented(self, kind):
        found = protections.process(self.monitor.pid, os.getpid())
        self.assertEqual(protections.kind(found), kind)
        self.assertEqual(protections.thread_differences(found, {UID}, COLUMNS), [])
        self.assertEqual(protections.descriptor_differences(found), [])
        return found

    def test_it_is_in_its_sandbox_before_it_has_a_machine(self):
        self.assert_as_documented("monitor that waits")

    def test_each_thread_is_narrowed_when_the_machine_runs(self):
        self.monitor.boot()

        found = self.assert_as_documented("monitor that runs")

        self.assertEqual(sorted(thread["thread"] for thread in found["threads"]),
                         ["containervm-vmm", "disk", *["vcpu"] * VCPUS])

    def test_the_narrowed_monitor_saves_a_template_and_ends_in_order(self):
        self.monitor.boot()
        with tempfile.TemporaryFile() as memory, tempfile.TemporaryFile() as state:
            self.monitor.send(SAVE, fds=(memory.fileno(), state.fileno()))
            self.monitor.expect(SAVED)

        self.monitor.send(STOP)

        self.monitor.expect(STOPPED)
        self.assertEqual(self.monitor.process.wait(timeout=60), 0)

    def test_nothing_is_attached_to_a_machine_that_runs(self):
        self.monitor.boot()

        self.monitor.send(3, struct.pack("<I", 0))  # AttachLayers, of none

        self.monitor.expect(FAILED)
        self.monitor.send(STOP)
        self.monitor.expect(STOPPED)


if __name__ == "__main__":
    unittest.main()
