"""A containervm-vmm without a daemon: started and given orders as vmm/launch/messages.h says. Needs root and a /dev/kvm."""

import os
import signal
import socket
import struct
import subprocess

from harness import protections

(BOOT, RESTORE, ATTACH_LAYERS, ATTACH_DISK, ATTACH_NETWORK, OPEN_STREAM, ADOPT_STREAM, RUN, SAVE, STOP, DETACH_LAYERS,
 DETACH_DISK) = range(1, 13)
STATUS, DONE, FAILED, SAVED, STOPPED = range(64, 69)
MEBIBYTE = 1 << 20
UID = 54321
VCPUS = 2
SHAPE = struct.pack("<IQI", VCPUS, 64 * MEBIBYTE, 1)  # one network card


class Monitor:
    """One as the daemon would start it, in a pid namespace of its own. CONTAINERVM_VMM names the program."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(f"{directory}/run/machines/m")
        self.path = f"{directory}/run/machines/m/control.sock"
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
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
        self.connection = None
        self.connect()
        children = protections.read(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        self.pid = int(children)

    def connect(self):
        """Also a second time, as a daemon does that was restarted."""
        if self.connection:
            self.connection.close()
        self.connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.connection.settimeout(60)
        self.connection.connect(self.path)
        self.expect(STATUS)

    def send(self, kind, payload=b"", fds=()):
        packet = struct.pack("<HI", kind, 7) + payload
        socket.send_fds(self.connection, [packet], fds)

    def expect(self, kind):
        packet = self.connection.recv(65536)
        got = struct.unpack_from("<H", packet)[0] if packet else None
        if got != kind:
            raise AssertionError(f"message {got}, not {kind}: {packet[2:]!r}; its log: "
                                 + protections.read(f"{self.directory}/run/machines/m/log"))
        return packet[2:]

    def do(self, kind, payload=b"", fds=()):
        self.send(kind, payload, fds)
        self.expect(DONE)

    def boot(self, kernel):
        """`kernel`: a file that has no relocations. The machine does not run yet."""
        command_line = b"nokaslr"
        self.do(BOOT, SHAPE + struct.pack("<I", len(command_line)) + command_line,
                (kernel.fileno(), kernel.fileno()))

    def close(self):
        self.connection.close()
        # The monitor does not die with its parent: that wish went when it changed its identity.
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
