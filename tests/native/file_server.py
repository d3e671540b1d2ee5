"""A file server that a test starts as the daemon does, and the two ends that the daemon and the monitor have of it."""

import array
import os
import shutil
import socket
import struct
import subprocess
import tempfile

DONE = struct.pack("<HI", 65, 1)  # vmm/launch/file_server.h
STRICT, RELAXED = 0, 1


class FileServer:
    """CONTAINERVM_FILESERVER in a pid namespace of its own. `session` is the monitor's end, `directory` a temporary one."""

    def __init__(self, test):
        if "CONTAINERVM_FILESERVER" not in os.environ:
            test.skipTest("CONTAINERVM_FILESERVER names no program")
        if os.geteuid() != 0:
            test.skipTest("needs root")
        self.directory = tempfile.mkdtemp(prefix="cvm-fileserver.")
        test.addCleanup(shutil.rmtree, self.directory)
        self.session, theirs = socket.socketpair()
        test.addCleanup(self.session.close)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener, theirs:
            listener.bind(f"{self.directory}/control")
            listener.listen()
            self.process = self._start(theirs.fileno(), listener.fileno())
        test.addCleanup(self.process.wait)
        test.addCleanup(self.process.kill)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        test.addCleanup(self.control.close)
        self.control.connect(f"{self.directory}/control")
        self.control.recv(64)  # Status

    @staticmethod
    def _start(session, listener):
        def place():
            for fd, aside in ((session, 13), (listener, 14)):
                os.dup2(fd, aside)
            for aside, target in ((13, 3), (14, 4)):
                os.dup2(aside, target)

        # What else is open here it closes itself.
        return subprocess.Popen(
            ["unshare", "--pid", "--fork", "--kill-child", os.environ["CONTAINERVM_FILESERVER"]],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=place,
            close_fds=False)

    def share(self, number, read_only=False, caching=STRICT):
        """Makes an empty directory and shares it; returns its path."""
        path = f"{self.directory}/share{number}"
        os.mkdir(path)
        tree = os.open(path, os.O_PATH)
        try:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [tree]))]
            self.control.sendmsg([struct.pack("<HIIBB", 1, 1, number, read_only, caching)], rights)
        finally:
            os.close(tree)
        if self.control.recv(64) != DONE:
            raise AssertionError("the directory was not shared")
        return path
