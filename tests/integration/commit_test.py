#!/usr/bin/python3
"""`docker diff` and `docker commit` with real guests: what changed, and what runs from the image made of it."""

import io
import json
import os
import sys
import tarfile
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError  # noqa: E402
from harness.host import HostTest, api, docker, output  # noqa: E402

CHANGE_MUCH = """
mkdir -p /made/deep; echo text > /made/deep/file; chown 12:34 /made/deep/file; chmod 4751 /made/deep/file
ln /made/deep/file /made/twin; ln -s deep/file /made/link; mkfifo /made/fifo; mknod /made/null c 1 3
rm /etc/group; chmod 600 /etc/passwd
rm -r /var/spool; mkdir /var/spool; echo new > /var/spool/new
mv /home /house
rm -r /root; echo file > /root
echo ready > /tmp/ready
"""
SEE_MUCH = """
stat -c '%n %F %a %u %g %h' /made/deep/file /made/twin /made/fifo /made/null /etc/passwd /root
readlink /made/link; cat /made/twin; ls /var/spool; ls -d /house; ls -d /etc/group /home /var/spool/mail 2>&1
[ /made/twin -ef /made/deep/file ] && echo one file
"""
SEEN = """\
/made/deep/file regular file 4751 12 34 2
/made/twin regular file 4751 12 34 2
/made/fifo fifo 644 0 0 1
/made/null character special file 644 0 0 1
/etc/passwd regular file 600 0 0 1
/root regular file 644 0 0 1
deep/file
text
new
/house
ls: /etc/group: No such file or directory
ls: /home: No such file or directory
ls: /var/spool/mail: No such file or directory
one file"""
CHANGES = {"A /made", "A /made/deep", "A /made/deep/file", "A /made/twin", "A /made/link", "A /made/fifo", "A /made/null",
           "C /etc", "D /etc/group", "C /etc/passwd", "C /var", "C /var/spool", "D /var/spool/mail", "A /var/spool/new",
           "D /home", "A /house", "C /root", "C /tmp", "A /tmp/ready"}


def state(container):
    return output("inspect", "-f", "{{.State.Status}}", container)


def config(image):
    return json.loads(output("image", "inspect", image))[0]["Config"]


class CommitTest(HostTest):
    def setUp(self):
        super().setUp()
        self._images = set(output("images", "-aq", "--no-trunc").split())

    def tearDown(self):
        super().tearDown()
        # Children first: a parent is not removed before them.
        for _ in range(3):
            left = set(output("images", "-aq", "--no-trunc").split()) - self._images
            if left:
                docker("rmi", "-f", *left, check=False)

    def changed(self, name):
        """A running container that has done CHANGE_MUCH."""
        docker("run", "-d", "--name", name, "busybox", "sh", "-c", CHANGE_MUCH + "sleep 1000")
        docker("exec", name, "sh", "-c", "while [ ! -s /tmp/ready ]; do sleep 0.1; done")

    def assert_changes(self, name):
        lines = output("diff", name).splitlines()
        house = [line for line in lines if line.startswith("A /house/")]
        self.assertEqual({line for line in lines if line not in house}, CHANGES)
        self.assertEqual(len(lines), len(set(lines)))

    def test_diff_of_a_container_in_every_state(self):
        self.changed("differs")
        self.assert_changes("differs")
        docker("pause", "differs")
        self.assert_changes("differs")
        self.assertEqual(state("differs"), "paused")
        docker("unpause", "differs")
        docker("kill", "differs")
        self.assert_changes("differs")
        docker("create", "--name", "untouched", "busybox", "true")
        self.assertEqual(output("diff", "untouched"), "")
        self.assertIsNone(api().get("/containers/untouched/changes"))
        self.assertIn(b"No such container", docker("diff", "none", check=False).stderr)

    def test_an_image_of_a_container_has_its_files(self):
        self.changed("source")
        docker("commit", "source", "copied:running")
        self.assertEqual(state("source"), "running")
        docker("stop", "-t", "1", "source")
        docker("commit", "source", "copied:stopped")

        for image in ("copied:running", "copied:stopped"):
            self.assertEqual(output("run", "--rm", image, "sh", "-c", SEE_MUCH), SEEN, image)

    def test_an_image_of_an_image_of_a_container(self):
        docker("run", "--name", "first", "busybox", "sh", "-c", "mkdir /d; touch /d/a /d/b")
        docker("commit", "first", "layers:1")
        docker("run", "--name", "second", "layers:1", "sh", "-c", "rm -r /d/a; mv /d /e; mkdir /d; touch /d/c")
        self.assertEqual(set(output("diff", "second").splitlines()),
                         {"A /e", "A /e/b", "C /d", "D /d/a", "D /d/b", "A /d/c"})
        docker("commit", "second", "layers:2")

        self.assertEqual(output("run", "--rm", "layers:2", "sh", "-c", "ls /d /e"), "/d:\nc\n\n/e:\nb")
        self.assertIn(b"image has dependent child images",
                      docker("rmi", "-f", output("images", "-q", "layers:1"), check=False).stderr)

    def test_attributes_of_files_are_kept(self):
        docker("create", "--name", "capable", "busybox", "true")
        capability = b"\x01\x00\x00\x02\x00\x20\x00\x00" + bytes(12)
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("tool")
            info.pax_headers = {"SCHILY.xattr.security.capability": capability.decode("latin-1")}
            tar.addfile(info)
        # (Python would write bytes above 127 as UTF-8: this value has none.)
        docker("cp", "-", "capable:/usr", stdin=archive.getvalue())
        docker("commit", "capable", "capable:1")
        docker("create", "--name", "again", "capable:1", "true")

        with tarfile.open(fileobj=io.BytesIO(docker("cp", "again:/usr/tool", "-").stdout)) as tar:
            headers = tar.getmembers()[0].pax_headers
        self.assertEqual(headers["SCHILY.xattr.security.capability"].encode("latin-1"), capability)

    def test_history_configuration_and_tags(self):
        docker("run", "--name", "plain", "-e", "A=1", "-w", "/srv", "busybox", "sh", "-c", "touch /x")
        first = output("commit", "-a", "me", "-m", "why", "-c", "ENV B=$A", "-c", "CMD [\"env\"]", "plain", "told:1")

        newest = json.loads(output("history", "--no-trunc", "--format", "{{json .}}", "told:1").splitlines()[0])
        self.assertEqual((newest["ID"], newest["CreatedBy"], newest["Comment"]), (first, "sh -c touch /x", "why"))
        self.assertIn("B=1", config("told:1")["Env"])
        self.assertEqual(config("told:1")["WorkingDir"], "/srv")
        self.assertIn("B=1", output("run", "--rm", "told:1"))

        second = output("commit", "plain", "told:1")
        self.assertNotEqual(first, second)
        self.assertEqual(json.loads(output("image", "inspect", first))[0]["RepoTags"], [])
        self.assertEqual(output("images", "-q", "--no-trunc", "told"), second)
        removed = output("rmi", "told:1")
        self.assertIn("Deleted: " + second, removed)

    def test_a_saved_image_is_loaded_as_the_same(self):
        docker("run", "--name", "kept", "busybox", "sh", "-c", "echo kept > /kept; rm /etc/group")
        made = output("commit", "kept", "kept:1")
        archive = docker("save", "kept:1").stdout
        docker("rmi", "kept:1")

        docker("load", stdin=archive)

        self.assertEqual(output("images", "-q", "--no-trunc", "kept"), made)
        self.assertEqual(output("run", "--rm", "kept:1", "cat", "/kept"), "kept")

    def test_what_is_in_a_volume_is_none_of_the_containers(self):
        docker("build", "-t", "commit-test:volumes", "-", stdin=b"""FROM busybox
RUN mkdir /kept && echo of the image > /kept/old
VOLUME /kept /made/data/
""")
        docker("run", "-d", "--name", "volumes", "commit-test:volumes", "sh", "-c",
               "echo x > /kept/new; rm /kept/old; echo x > /made/data/new; echo x > /made/own; echo ready > /ready; sleep 1000")
        docker("exec", "volumes", "sh", "-c", "while [ ! -s /ready ]; do sleep 0.1; done")
        changes = {"A /made", "A /made/data", "A /made/own", "A /ready"}

        self.assertEqual(set(output("diff", "volumes").splitlines()), changes)
        docker("commit", "volumes", "commit-test:made")
        self.assertEqual(output("run", "--rm", "commit-test:made", "sh", "-c", "cat /kept/*; ls /made /made/data"),
                         "of the image\n/made:\ndata\nown\n\n/made/data:")
        docker("kill", "volumes")
        self.assertEqual(set(output("diff", "volumes").splitlines()), changes)

    def test_the_pause_is_commits_own(self):
        docker("run", "-d", "--name", "paused", "busybox", "sleep", "1000")
        docker("commit", "paused")
        self.assertEqual(state("paused"), "running")
        docker("pause", "paused")
        docker("commit", "paused")
        self.assertEqual(state("paused"), "paused")

    def test_commits_at_the_same_time(self):
        docker("run", "-d", "--name", "busy", "busybox", "sh", "-c", "dd if=/dev/zero of=/big bs=1M count=8; sleep 1000")
        made = []
        threads = [threading.Thread(target=lambda: made.append(output("commit", "busy"))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        self.assertEqual(len(made), 4)
        self.assertEqual(state("busy"), "running")

    def test_what_is_refused(self):
        docker("run", "-d", "--name", "asked", "busybox", "sh", "-c", "touch /.wh.bad; sleep 1000")
        docker("exec", "asked", "sh", "-c", "while [ ! -e /.wh.bad ]; do sleep 0.1; done")

        def refusal(**query):
            with self.assertRaises(ApiError) as caught:
                api().call("POST", "/commit", query={"container": "asked", **query})
            return caught.exception

        self.assertEqual(refusal(container="none").status, 404)
        self.assertEqual(refusal(repo="Not Valid").status, 400)
        self.assertEqual(refusal(changes="RUN x").status, 400)
        error = refusal()
        self.assertEqual(error.status, 400)
        self.assertIn("/.wh.bad", error.message)
        self.assertEqual(state("asked"), "running")


if __name__ == "__main__":
    unittest.main()
