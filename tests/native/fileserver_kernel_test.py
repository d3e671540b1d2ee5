#!/usr/bin/python3
"""A file server and a real kernel: this host's FUSE driver in the place of a guest's, with its requests carried over.

CONTAINERVM_FILESERVER names the server.
"""

import ctypes
import fcntl
import mmap
import os
import pathlib
import socket
import stat
import struct
import subprocess
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from native.file_server import RELAXED, FileServer  # noqa: E402

LARGEST = (1 << 20) + 65536  # bytes of a request, and what the kernel wants to have room for
SOMEBODY, GROUP = 1234, 5678
LIBC = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, options):
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), 0, options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def carry_requests(device, session):
    try:
        while True:
            session.sendall(os.read(device, LARGEST))
    except OSError:  # it has been unmounted
        session.shutdown(socket.SHUT_WR)


def carry_answers(device, session):
    while header := session.recv(16, socket.MSG_WAITALL):
        rest = struct.unpack_from("<I", header)[0] - len(header)
        body = session.recv(rest, socket.MSG_WAITALL) if rest else b""
        try:
            os.write(device, header + body)
        except FileNotFoundError:  # nobody waits for it any more
            pass


def carry(device, session):
    """What a monitor does: requests one way, answers the other, until the file system is unmounted."""
    threading.Thread(target=carry_requests, args=(device, session), daemon=True).start()
    carry_answers(device, session)  # if the server has failed, the mount ends with this process, and nobody waits for it


class FileServerKernelTest(unittest.TestCase):
    def setUp(self):
        self.server = FileServer(self)
        self.host = pathlib.Path(self.server.share(1))
        try:
            device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            self.skipTest(f"/dev/fuse does not open: {error.strerror}")
        root = f"{self.server.directory}/mounted"
        os.mkdir(root)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other"
        try:
            mount("fileserver", root, "fuse", options)
        except OSError as error:
            os.close(device)
            self.skipTest(f"file systems cannot be mounted here: {error.strerror}")
        # In a process of their own: one that waits for its own mount waits for ever.
        ends = (device, self.server.session.fileno())
        carriers = subprocess.Popen([sys.executable, __file__, *map(str, ends)], pass_fds=ends)
        os.close(device)
        self.addCleanup(carriers.wait)
        self.addCleanup(subprocess.run, ["umount", "--lazy", root], check=True)
        self.root = pathlib.Path(root)
        self.guest = self.root / "1"

    def run_as(self, user, script):
        """What a shell of `user` says, in the shared directory; its status is in the text."""
        done = subprocess.run(["setpriv", f"--reuid={user}", f"--regid={GROUP}", "--clear-groups", "sh", "-c", script],
                              cwd=self.guest, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return f"{done.stdout}{done.returncode}"

    def test_files_are_the_hosts(self):
        (self.guest / "file").write_text("guest", encoding="utf-8")
        self.assertEqual((self.host / "file").read_text(encoding="utf-8"), "guest")

        (self.host / "file").write_text("and the host", encoding="utf-8")
        self.assertEqual((self.guest / "file").read_text(encoding="utf-8"), "and the host")
        with open(self.guest / "file", "a", encoding="utf-8") as file:
            file.write(", too")
        os.rename(self.host / "file", self.host / "other")
        self.assertEqual(os.listdir(self.guest), ["other"])
        self.assertEqual((self.guest / "other").read_text(encoding="utf-8"), "and the host, too")

    def test_the_root_shows_trees(self):
        self.server.share(7, caching=RELAXED)

        self.assertEqual(sorted(os.listdir(self.root)), ["1", "7"])
        for act in (lambda: os.mkdir(self.root / "8"), lambda: os.rmdir(self.root / "7")):
            with self.assertRaises(OSError):
                act()
        (self.root / "7" / "file").write_text("text", encoding="utf-8")
        self.assertEqual((self.root / "7" / "file").read_text(encoding="utf-8"), "text")

    def test_a_read_only_tree(self):
        (self.server.share(7, read_only=True))
        with self.assertRaisesRegex(OSError, "Read-only"):
            (self.root / "7" / "file").write_text("text", encoding="utf-8")

    def test_users_permissions_hold(self):
        (self.guest / "drop").mkdir()
        (self.guest / "drop").chmod(0o1777)
        self.assertEqual(self.run_as(SOMEBODY, "umask 027; echo mine > drop/file && mkdir drop/directory"), "0")
        made = (self.host / "drop" / "file").stat()
        self.assertEqual((made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)), (SOMEBODY, GROUP, 0o640))

        self.assertIn("Permission denied", self.run_as(SOMEBODY + 1, "echo no >> drop/file"))
        self.assertIn("Operation not permitted", self.run_as(SOMEBODY + 1, "rm drop/file"))
        self.assertIn("Permission denied", self.run_as(SOMEBODY, "echo no > file"))
        self.assertEqual(self.run_as(SOMEBODY + 1, "cat drop/file"), "mine\n0")  # of that group

    def test_a_write_takes_set_user_id_bits_off(self):
        file = self.guest / "file"
        for script in ("echo x >> file", ": > file"):
            file.write_text("text", encoding="utf-8")
            os.chown(file, SOMEBODY, GROUP)
            file.chmod(0o6755)

            self.assertEqual(self.run_as(SOMEBODY, script), "0")

            self.assertEqual(stat.S_IMODE((self.host / "file").stat().st_mode), 0o755, script)

    def test_mappings_are_written_back_in_their_place(self):
        with open(self.guest / "file", "ab+") as file:
            file.truncate(8192)
            with mmap.mmap(file.fileno(), 8192) as mapping:
                mapping[4096:4100] = b"page"
                mapping.flush()

        content = (self.host / "file").read_bytes()
        self.assertEqual((len(content), content[4096:4100]), (8192, b"page"))

    def test_locks_hold_against_the_host(self):
        with open(self.guest / "file", "w+", encoding="utf-8") as ours, \
                open(self.host / "file", "r+", encoding="utf-8") as theirs:
            for lock in (fcntl.lockf, fcntl.flock):
                lock(theirs, fcntl.LOCK_EX)
                with self.assertRaises(BlockingIOError):
                    lock(ours, fcntl.LOCK_EX | fcntl.LOCK_NB)
                waiting = threading.Thread(target=lock, args=(ours, fcntl.LOCK_EX))
                waiting.start()
                self.assertEqual(os.listdir(self.guest), ["file"])  # nothing else waits
                lock(theirs, fcntl.LOCK_UN)
                waiting.join()
                with self.assertRaises(BlockingIOError):
                    lock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
                lock(ours, fcntl.LOCK_UN)

    def test_attributes(self):
        (self.guest / "file").write_text("text", encoding="utf-8")
        os.setxattr(self.guest / "file", "trusted.one", b"1")
        os.setxattr(self.guest / "file", "user.two", b"2")

        self.assertEqual(sorted(os.listxattr(self.guest / "file")), ["trusted.one", "user.two"])
        self.assertEqual(os.getxattr(self.guest / "file", "trusted.one"), b"1")
        self.assertIn("user.containervm.trusted.one", os.listxattr(self.host / "file"))

    def test_an_overlay_can_write_to_it(self):
        for name in ("lower", "upper", "work", "merged"):
            (self.guest / name).mkdir()
        for name in ("changed", "removed"):
            (self.guest / "lower" / name).write_text("old", encoding="utf-8")
        merged = self.guest / "merged"
        mount("overlay", str(merged), "overlay",
              ",".join(f"{name}dir={self.guest / name}" for name in ("lower", "upper", "work")))
        self.addCleanup(subprocess.run, ["umount", merged], check=True)

        (merged / "changed").write_text("new", encoding="utf-8")
        (merged / "removed").unlink()
        (merged / "directory").mkdir()

        self.assertEqual(sorted(os.listdir(merged)), ["changed", "directory"])
        self.assertTrue(stat.S_ISCHR((self.host / "upper" / "removed").lstat().st_mode))
        self.assertEqual((self.guest / "lower" / "changed").read_text(encoding="utf-8"), "old")

    def test_a_whole_tree_is_copied(self):
        subprocess.run(["cp", "-a", os.path.dirname(__file__), self.guest / "copy"], check=True)

        done = subprocess.run(["diff", "-r", os.path.dirname(__file__), self.guest / "copy"], check=False)

        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1].isdigit():
        carry(int(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))
    else:
        unittest.main()
