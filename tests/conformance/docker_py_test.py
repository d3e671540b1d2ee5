#!/usr/bin/python3
"""Debian's python3-docker drives the host as an application would."""

import io
import os
import sys
import tarfile
import threading
import unittest

import docker
import docker.errors

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import TIMEOUT, HostTest  # noqa: E402


class DockerPyTest(HostTest):
    def setUp(self):
        super().setUp()
        self.client = docker.from_env(version="auto", timeout=TIMEOUT)

    def tearDown(self):
        self.client.close()
        super().tearDown()

    def test_ping_version_and_info(self):
        self.assertTrue(self.client.ping())
        version = self.client.version()
        info = self.client.info()

        self.assertEqual((version["Os"], version["Arch"]), ("linux", "amd64"))
        self.assertEqual(info["OSType"], "linux")
        self.assertEqual(info["Containers"], info["ContainersRunning"] + info["ContainersPaused"]
                         + info["ContainersStopped"])

    def test_run_returns_the_output(self):
        text = self.client.containers.run("busybox", ["echo", "hello"], remove=True)

        self.assertEqual(text, b"hello\n")

    def test_run_raises_for_a_failing_command(self):
        with self.assertRaises(docker.errors.ContainerError) as caught:
            self.client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 3"], remove=True)

        self.assertEqual(caught.exception.exit_status, 3)
        self.assertIn(b"why", caught.exception.stderr)

    def test_an_unknown_image_raises_image_not_found(self):
        with self.assertRaises(docker.errors.ImageNotFound):
            self.client.images.get("no-such-image")

    def test_an_unknown_container_raises_not_found(self):
        with self.assertRaises(docker.errors.NotFound):
            self.client.containers.get("no-such-container")

    def test_the_lifecycle_of_a_container(self):
        container = self.client.containers.create("busybox", ["sleep", "1000"], name="lifecycle",
                                                  labels={"colour": "blue"})
        self.assertEqual(container.status, "created")

        container.start()
        container.reload()
        self.assertEqual(container.status, "running")
        found = self.client.containers.list(filters={"label": "colour=blue"})
        self.assertEqual([c.id for c in found], [container.id])

        container.kill()
        self.assertEqual(container.wait()["StatusCode"], 137)
        container.reload()
        self.assertEqual(container.status, "exited")

        container.remove()
        with self.assertRaises(docker.errors.NotFound):
            container.reload()

    def test_logs_of_both_streams(self):
        container = self.client.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2"],
                                               detach=True)
        container.wait()

        self.assertEqual(container.logs(stdout=True, stderr=False), b"out\n")
        self.assertEqual(container.logs(stdout=False, stderr=True), b"err\n")
        self.assertEqual(container.logs(tail=0), b"")

    def test_a_log_stream_ends_with_the_container(self):
        container = self.client.containers.run("busybox", ["sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done"],
                                               detach=True)

        lines = b"".join(container.logs(stream=True, follow=True)).split()

        self.assertEqual(lines, [b"1", b"2", b"3"])

    def test_attach_socket_carries_stdin(self):
        container = self.client.containers.create("busybox", ["cat"], stdin_open=True)
        sock = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        container.start()

        sock._sock.sendall(b"through\n")
        header = sock.read(8)
        payload = sock.read(header[7])

        self.assertEqual((header[0], payload), (1, b"through\n"))
        sock.close()
        container.kill()

    def test_events_of_one_run_come_in_order(self):
        seen = []
        events = self.client.events(decode=True, filters={"type": "container"})
        reader = threading.Thread(target=lambda: self._collect(events, seen))
        reader.start()
        self.client.containers.run("busybox", ["true"], remove=True, name="watched")
        reader.join(timeout=60)
        events.close()

        actions = [e["Action"] for e in seen]
        wanted = ["create", "start", "die", "destroy"]
        self.assertEqual([a for a in actions if a in wanted], wanted)
        self.assertTrue(all(e["Actor"]["Attributes"]["name"] == "watched" for e in seen))

    def _collect(self, events, seen):
        for event in events:
            seen.append(event)
            if event["Action"] == "destroy":
                return

    def test_execs_with_a_terminal_are_framed_unless_their_start_says_otherwise(self):
        container = self.client.containers.run("busybox", ["sleep", "1000"], detach=True)
        low = self.client.api

        def started(**options):
            process = low.exec_create(container.id, ["sh", "-c", "echo out; echo err >&2"], tty=True)
            return low.exec_start(process["Id"], **options)

        self.assertEqual(started(), b"out\r\nerr\r\n")
        self.assertEqual(started(demux=True), (b"out\r\nerr\r\n", None))
        self.assertEqual(started(tty=True), b"out\r\nerr\r\n")

    def test_tags_and_removes_an_image(self):
        image = self.client.images.get("busybox")

        self.assertTrue(image.tag("conformance", tag="one"))
        self.assertIn("conformance:one", self.client.images.get("busybox").tags)
        self.client.images.remove("conformance:one")

        with self.assertRaises(docker.errors.ImageNotFound):
            self.client.images.get("conformance:one")
        self.assertIn("busybox:latest", self.client.images.get("busybox").tags)

    def test_imports_a_root_filesystem(self):
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as tar:
            entry = tarfile.TarInfo("greeting")
            entry.size = 3
            tar.addfile(entry, io.BytesIO(b"hi\n"))

        self.client.api.import_image_from_data(data.getvalue(), repository="imported", tag="latest")
        image = self.client.images.get("imported:latest")

        self.assertEqual(image.attrs["Os"], "linux")
        self.assertEqual(len(image.attrs["RootFS"]["Layers"]), 1)
        self.client.images.remove("imported:latest")

    def test_wait_for_removal(self):
        container = self.client.api.create_container(
            "busybox", ["sh", "-c", "exit 4"],
            host_config=self.client.api.create_host_config(auto_remove=True))
        identity = container["Id"]
        result = {}
        waiter = threading.Thread(
            target=lambda: result.update(self.client.api.wait(identity, condition="removed")))
        waiter.start()
        self.client.api.start(identity)
        waiter.join(timeout=60)

        self.assertEqual(result.get("StatusCode"), 4)


if __name__ == "__main__":
    unittest.main()
