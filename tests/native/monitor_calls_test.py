#!/usr/bin/python3
"""Each system call that a running monitor may make, and how often one makes it: vmm/sandbox/PROTECTIONS.md, traced.

The guest is device_user.c, which any KVM can run. A template of it is saved, and a clone lives: it loses its daemon and gets
another one, uses every device, has streams whose readers are slow, then gone, and ends itself. CONTAINERVM_VMM and
DEVICE_USER name the programs.
"""

import collections
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections, system_calls  # noqa: E402
from harness import monitor as vmm  # noqa: E402

MOST = 40
WAIT = 60  # seconds
DISK = 4 * vmm.MEBIBYTE
ORDERS, FLOODS = 1, 2  # the guest's ports
FLOOD = vmm.MEBIBYTE  # bytes that the guest sends there
SENT_AHEAD = 65536  # bytes that a stream's socket takes of what nobody has read yet; the monitor keeps the rest
FIRST = struct.pack("<I", 0)  # disk, and network card
MAC = b"\x02\x42\0\0\0\0"  # the guest's
# Any thread may be the one for which the heap becomes larger: that one of them does is all that can be shown.
MALLOC = {"brk", "mmap", "munmap"}
REQUESTS = {  # of ioctl, as PROTECTIONS.md names them
    "ioctl 0xae80": "KVM_RUN", "ioctl 0x4020aea5": "KVM_SIGNAL_MSI", "ioctl 0x4040ae79": "KVM_IOEVENTFD",
    "ioctl 0x4008ae6a": "KVM_SET_GSI_ROUTING", "ioctl 0x400454d0": "TUNSETOFFLOAD"}
THREADS = {"containervm-vmm": "device", "disk": "disk", "vcpu": "vcpu"}


class Followed:
    """The calls of a monitor from now on, as the tracer counts them."""

    def __init__(self, monitor):
        self.tracer = subprocess.Popen([sys.executable, system_calls.__file__, str(monitor.pid)],
                                       stdout=subprocess.PIPE)
        if self.tracer.stdout.readline() != b"following\n":
            raise AssertionError("the tracer does not follow the monitor")

    def calls(self):
        """(thread, call, times) for each; waits until the monitor has ended."""
        (found,) = json.loads(self.tracer.communicate(timeout=WAIT)[0]).values()
        return [(THREADS[thread], call, times) for thread, call, times in found]


class Stream:
    """A stream between the test and the guest."""

    def __init__(self, monitor, kind, *numbers):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(WAIT)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_AHEAD)
        with theirs:
            monitor.send(kind, struct.pack(f"<{len(numbers)}I", *numbers), (theirs.fileno(),))

    def order(self, letter):
        self.socket.sendall(letter)
        answer = self.socket.recv(1)
        if answer != letter:
            raise AssertionError(f"the guest answers {answer!r} to {letter!r}")

    def read(self, size):
        while size > 0:
            size -= len(self.socket.recv(size))


class MonitorCallsTest(unittest.TestCase):
    def setUp(self):
        if "CONTAINERVM_VMM" not in os.environ or "DEVICE_USER" not in os.environ:
            self.skipTest("CONTAINERVM_VMM and DEVICE_USER name no programs")
        if os.geteuid() != 0:
            self.skipTest("needs root")
        if not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.skipTest("/dev/kvm does not open")

    def file(self, size=0):
        file = tempfile.TemporaryFile()
        self.addCleanup(file.close)
        file.truncate(size)
        return file

    def stream(self, monitor, kind, *numbers):
        stream = Stream(monitor, kind, *numbers)
        self.addCleanup(stream.socket.close)
        return stream

    def monitor(self):
        directory = tempfile.mkdtemp(prefix="cvm-calls.")
        self.addCleanup(shutil.rmtree, directory)
        monitor = vmm.Monitor(directory)
        self.addCleanup(monitor.close)
        return monitor, Followed(monitor)

    def save(self):
        """A template: its memory and its state, and the calls of the monitor that saved it."""
        memory, state = self.file(), self.file()
        monitor, followed = self.monitor()
        with open(os.environ["DEVICE_USER"], "rb") as kernel:
            monitor.boot(kernel)
        orders = self.stream(monitor, vmm.OPEN_STREAM, ORDERS, 1)
        monitor.expect(vmm.DONE)
        monitor.do(vmm.RUN)
        orders.order(b"r")
        monitor.send(vmm.SAVE, fds=(memory.fileno(), state.fileno()))
        monitor.expect(vmm.SAVED)
        monitor.send(vmm.STOP)
        monitor.expect(vmm.STOPPED)
        return memory, state, followed.calls()

    def restore(self, memory, state):
        """A clone with everything that it can have; the far end of its network, and its stream of orders."""
        monitor, followed = self.monitor()
        net, tap = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(net.close)
        extent = struct.pack("<IQQ", 1, 0, DISK)
        # All at once, as from the daemon: it runs before the last of what can be done later was done.
        with tap:
            monitor.send(vmm.RESTORE, vmm.SHAPE, (memory.fileno(), state.fileno()))
            monitor.send(vmm.ATTACH_LAYERS, extent + b"\0", (self.file(DISK).fileno(),))
            monitor.send(vmm.ATTACH_DISK, FIRST + extent, (self.file(DISK).fileno(),))
            monitor.send(vmm.ATTACH_NETWORK, FIRST + MAC, (tap.fileno(),))
            orders = self.stream(monitor, vmm.ADOPT_STREAM, 1)
            monitor.send(vmm.RUN)
        for _ in range(6):
            monitor.expect(vmm.DONE)
        return monitor, followed, net, orders

    def live(self, memory, state):
        """The whole life of a clone; its calls."""
        monitor, followed, net, orders = self.restore(memory, state)
        monitor.connect()
        net.send(bytes(12 + 60))
        orders.order(b"w")
        self.assertEqual(net.recv(2048)[12:][6:12], MAC)
        # Readers that are slower than the guest, and then gone: the monitor keeps what they do not take.
        slow = [self.stream(monitor, vmm.OPEN_STREAM, FLOODS, 2 + i) for i in range(3)]
        for _ in slow:
            monitor.expect(vmm.DONE)
        orders.order(b"r")  # so the guest has sent it all
        for stream in slow:
            stream.read(FLOOD)
            stream.socket.close()
        orders.order(b"r")
        orders.socket.sendall(b"x")
        monitor.expect(vmm.STOPPED)
        self.assertEqual(monitor.process.wait(WAIT), 0)
        return followed.calls()

    def test_each_system_call_that_a_running_monitor_may_make_is_used(self):
        memory, state, saving = self.save()
        # A monitor that saves has the same filters on its other threads.
        used = self.live(memory, state) + [found for found in saving if found[0] != "device"]

        documented = protections.documented_calls()
        tell(documented, used)

        self.assertLessEqual(len(documented), MOST)
        allowed = {(thread, call) for call, threads in documented.items() for thread in threads}
        made = {(thread, call.split()[0]) for thread, call, _ in used}
        self.assertEqual(made - allowed, set(), "these are used, but not in the table")
        self.assertEqual({pair for pair in allowed - made if pair[1] not in MALLOC}, set(), "these are never used")
        self.assertEqual(MALLOC - {call for _, call in made}, set(), "these are never used")
        requests = {(thread, REQUESTS.get(call, call)) for thread, call, _ in used if call.startswith("ioctl")}
        self.assertEqual(requests, protections.documented_requests())


def tell(documented, used):
    """How often which thread made each call, and each request of ioctl."""
    counts, requests = collections.Counter(), collections.Counter()
    for thread, call, times in used:
        counts[call.split()[0], thread] += times
        if call.startswith("ioctl"):
            requests[REQUESTS.get(call, call), thread] += times
    print(f"{len(documented)} system calls of a monitor that runs, and how often each thread makes them:")
    for call, threads in sorted(documented.items()):
        print(f"  {call:16}", *(f"{thread} {counts[call, thread]}" for thread in sorted(threads)))
    print("  of ioctl:", "; ".join(f"{request} {thread} {times}" for (request, thread), times in sorted(requests.items())))


if __name__ == "__main__":
    unittest.main()
