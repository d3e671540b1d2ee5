#!/usr/bin/python3
"""A file server at work, seen from outside: is it what vmm/sandbox/PROTECTIONS.md says? CONTAINERVM_FILESERVER names it."""

import os
import pathlib
import socket
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from native.file_server import FileServer  # noqa: E402

# Its group and its place in the order of dying are its starter's affair.
COLUMNS = ("uid", "capabilities", "bounding set", "no_new_privs", "filters", "namespaces", "root")
WAIT = 60  # seconds
INIT, LOOKUP = 26, 1  # linux/fuse.h


class FileServerProtectionTest(unittest.TestCase):
    def setUp(self):
        self.server = FileServer(self)

    def ask(self, opcode, node, payload):
        """The body of the answer to one FUSE request."""
        header = struct.pack("<IIQQIIIHH", 40 + len(payload), opcode, 1, node, 0, 0, 0, 0, 0)
        self.server.session.sendall(header + payload)
        length, error, _ = struct.unpack("<IiQ", self.server.session.recv(16, socket.MSG_WAITALL))
        self.assertEqual(error, 0)
        return self.server.session.recv(length - 16, socket.MSG_WAITALL) if length > 16 else b""

    def node(self, parent, name):
        return struct.unpack_from("<Q", self.ask(LOOKUP, parent, name + b"\0"))[0]

    def found(self):
        starter = self.server.process.pid
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            for pid in protections.read(f"/proc/{starter}/task/{starter}/children").split():
                if protections.status(f"/proc/{pid}/status")["Seccomp"] == "2":
                    return protections.process(int(pid), os.getpid())
        self.fail("it does not enter its sandbox")

    def test_each_thread_and_descriptor_is_as_documented(self):
        pathlib.Path(self.server.share(1), "file").write_text("text", encoding="utf-8")
        self.ask(INIT, 0, struct.pack("<IIII", 7, 41, 0, 0xffffffff) + b"\0" * 48)
        self.assertNotEqual(self.node(self.node(1, b"1"), b"file"), 0)

        found = self.found()

        self.assertEqual(len(found["threads"]), 11)
        self.assertEqual(protections.thread_differences(found, set(), COLUMNS), [])
        self.assertEqual(protections.file_server_descriptor_differences(found), [])
        self.server.session.shutdown(socket.SHUT_RDWR)
        self.assertEqual(self.server.process.wait(WAIT), 0)


if __name__ == "__main__":
    unittest.main()
