#!/usr/bin/python3
"""`docker cp` both ways and `docker export`, of running, paused and stopped containers."""

import base64
import io
import json
import os
import sys
import tarfile
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError  # noqa: E402
from harness.host import HostTest, api, docker, output  # noqa: E402


def members(archive):
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {member.name: member for member in tar.getmembers()}


def archive_with(*entries):
    """A tar of (name, type, link or contents)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, kind, what in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            data = b""
            if kind == tarfile.REGTYPE:
                data = what
                info.size = len(data)
            else:
                info.linkname = what
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def put(container, archive, **query):
    """(status, message) of putting an archive into /root."""
    try:
        api().call("PUT", f"/containers/{container}/archive", body=archive, query={"path": "/root", **query},
                   headers={"Content-Type": "application/x-tar"})
    except ApiError as error:
        return error.status, str(error)
    return 200, ""


class CopyTest(HostTest):
    def setUp(self):
        super().setUp()
        self._directory = tempfile.TemporaryDirectory()
        self.here = self._directory.name

    def tearDown(self):
        self._directory.cleanup()
        super().tearDown()

    def write(self, name, text):
        path = os.path.join(self.here, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_a_tree_comes_back_as_it_was(self):
        docker("run", "-d", "--name", "tree", "busybox", "sleep", "1000")
        source = os.path.join(self.here, "source")
        os.makedirs(os.path.join(source, "sub"))
        self.write("source/sub/file", "text\n" * 50000)
        os.chmod(os.path.join(source, "sub/file"), 0o4711)
        os.utime(os.path.join(source, "sub/file"), (1_000_000_000, 1_000_000_000))
        os.symlink("file", os.path.join(source, "sub/link"))
        os.link(os.path.join(source, "sub/file"), os.path.join(source, "sub/twin"))

        docker("cp", source, "tree:/tmp/there")
        docker("cp", "tree:/tmp/there", os.path.join(self.here, "back"))

        back = os.path.join(self.here, "back/sub")
        with open(os.path.join(back, "file"), encoding="utf-8") as file:
            self.assertEqual(file.read(), "text\n" * 50000)
        status = os.stat(os.path.join(back, "file"))
        self.assertEqual(int(status.st_mtime), 1_000_000_000)
        self.assertEqual(os.readlink(os.path.join(back, "link")), "file")
        self.assertEqual(status.st_ino, os.stat(os.path.join(back, "twin")).st_ino)
        self.assertEqual(output("exec", "tree", "stat", "-c", "%a %h", "/tmp/there/sub/file"), "4711 2")

    def test_a_stopped_container_takes_and_gives_files_too(self):
        docker("create", "--name", "stopped", "busybox", "cat", "/root/new")

        docker("cp", self.write("new", "put before the start\n"), "stopped:/root/")
        given = docker("cp", "stopped:/root/new", "-").stdout

        self.assertEqual(members(given)["new"].size, len("put before the start\n"))
        self.assertEqual(output("start", "-a", "stopped"), "put before the start")

    def test_a_paused_container_stays_paused(self):
        docker("run", "-d", "--name", "held", "busybox", "sleep", "1000")
        docker("pause", "held")

        docker("cp", self.write("in", "x"), "held:/root/in")

        self.assertEqual(members(docker("cp", "held:/root/in", "-").stdout)["in"].size, 1)
        self.assertEqual(output("inspect", "-f", "{{.State.Status}}", "held"), "paused")

    def test_missing_paths_and_wrong_kinds_are_dockers_errors(self):
        docker("run", "-d", "--name", "wrong", "busybox", "sleep", "1000")
        file = self.write("file", "x")
        directory = os.path.join(self.here, "directory")
        os.mkdir(directory)

        def refusal(*arguments):
            done = docker("cp", *arguments, check=False)
            self.assertEqual(done.returncode, 1)
            return done.stderr.decode()

        self.assertIn("Could not find the file /no/such in container wrong", refusal("wrong:/no/such", "-"))
        self.assertIn("no such directory", refusal(file, "wrong:/no/such/"))
        self.assertIn("cannot copy directory", refusal(directory, "wrong:/etc/hosts"))

    def test_the_path_header_tells_what_a_link_leads_to(self):
        docker("run", "-d", "--name", "linked", "busybox", "sh", "-c", "ln -s ../etc/hosts /tmp/link; sleep 1000")
        docker("exec", "linked", "sh", "-c", "while [ ! -L /tmp/link ]; do :; done")

        connection = api().connect()
        answer = api().send(connection, "HEAD", "/containers/linked/archive", query={"path": "/tmp/link"})
        stat = json.loads(base64.b64decode(answer.getheader("X-Docker-Container-Path-Stat")))
        connection.close()

        self.assertEqual(stat["name"], "link")
        self.assertEqual(stat["linkTarget"], "/etc/hosts")
        self.assertTrue(stat["mode"] & (1 << 27))

    def test_kernel_files_are_not_copied(self):
        docker("run", "-d", "--name", "kernel", "busybox", "sleep", "1000")

        names = members(docker("cp", "kernel:/proc", "-").stdout)

        self.assertEqual(list(names), ["proc"])

    def test_an_archive_cannot_leave_its_place(self):
        docker("run", "-d", "--name", "inside", "busybox", "sleep", "1000")
        escape = archive_with(("../../escaped", tarfile.REGTYPE, b"x"))
        link = archive_with(("hard", tarfile.LNKTYPE, "../etc/hosts"))

        for archive in (escape, link, b"no archive " * 100, escape[:300]):
            status, message = put("inside", archive)
            self.assertEqual(status, 400, message)

        self.assertEqual(output("exec", "inside", "ls", "/root"), "")
        self.assertEqual(docker("exec", "inside", "ls", "/escaped", check=False).returncode, 1)

    def test_no_overwrite_keeps_directories(self):
        docker("run", "-d", "--name", "kept", "busybox", "sh", "-c", "mkdir /root/d; touch /root/f; sleep 1000")
        docker("exec", "kept", "sh", "-c", "while [ ! -f /root/f ]; do :; done")

        over_directory = put("kept", archive_with(("d", tarfile.REGTYPE, b"x")), noOverwriteDirNonDir=1)
        over_file = put("kept", archive_with(("f", tarfile.DIRTYPE, "")), noOverwriteDirNonDir=1)

        self.assertEqual((over_directory[0], over_file[0]), (400, 400))
        self.assertIn("cannot overwrite directory", over_directory[1])
        self.assertIn("cannot overwrite non-directory", over_file[1])

    def test_files_become_the_containers_users(self):
        for name, user, owner in (("named", "nobody", "65534 65534"), ("numbered", "7:8", "7 8"), ("root", "", "1000 1000")):
            docker("run", "-d", "--name", name, "--user", user, "busybox", "sleep", "1000")
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                info = tarfile.TarInfo("f")
                info.uid = info.gid = 1000
                tar.addfile(info)
            self.assertEqual(put(name, archive.getvalue(), copyUIDGID=1)[0], 200)
            self.assertEqual(output("exec", "--user", "0", name, "stat", "-c", "%u %g", "/root/f"), owner)

    def test_a_read_only_container_takes_nothing(self):
        docker("run", "-d", "--name", "fixed", "--read-only", "busybox", "sleep", "1000")

        done = docker("cp", self.write("x", "x"), "fixed:/root/", check=False)

        self.assertEqual(done.returncode, 1)
        self.assertIn(b"container rootfs is marked read-only", done.stderr)


class ExportTest(HostTest):
    def test_export_has_the_files_and_nothing_that_is_mounted(self):
        docker("run", "--name", "exported", "busybox", "sh", "-c", "echo kept > /root/kept; rm /bin/vi")

        names = members(docker("export", "exported").stdout)

        self.assertIn("root/kept", names)
        self.assertIn("proc", names)
        self.assertNotIn("bin/vi", names)
        self.assertFalse([name for name in names if name.startswith(("proc/", "sys/"))])

    def test_an_exported_container_can_be_imported(self):
        docker("run", "--name", "origin", "busybox", "sh", "-c", "echo moved > /moved")
        exported = docker("export", "origin").stdout
        try:
            docker("import", "--change", "CMD [\"cat\", \"/moved\"]", "-", "copy:test", stdin=exported)

            self.assertEqual(output("run", "--rm", "copy:test"), "moved")
        finally:
            docker("rmi", "-f", "copy:test", check=False)


if __name__ == "__main__":
    unittest.main()
