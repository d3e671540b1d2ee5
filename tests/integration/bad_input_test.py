#!/usr/bin/python3
"""Bad input gets Docker's error and changes nothing."""

import hashlib
import io
import json
import os
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError  # noqa: E402
from harness.host import HostTest, api, docker, on_host, output  # noqa: E402


def tar_of(entries):
    """A tar with (TarInfo, bytes) entries."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def file_entry(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def image_archive(layer, architecture="amd64", diff_id=None, tag="hostile:latest"):
    """A docker-archive with one layer."""
    diff = diff_id or "sha256:" + hashlib.sha256(layer).hexdigest()
    config = json.dumps({"architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [diff]}}).encode()
    name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
    return tar_of([file_entry("manifest.json", manifest), file_entry(name, config),
                   file_entry("layer.tar", layer)])


class BadInputTest(HostTest):
    def setUp(self):
        super().setUp()
        self.images_before = output("images", "-aq", "--no-trunc")

    def tearDown(self):
        super().tearDown()
        self.assertEqual(output("images", "-aq", "--no-trunc"), self.images_before)
        self.assertEqual(output("run", "--rm", "busybox", "echo", "alive"), "alive")

    def test_an_unknown_image_is_125(self):
        done = docker("run", "--rm", "no-such-image", "true", check=False)

        self.assertEqual(done.returncode, 125)
        self.assertIn(b"no-such-image", done.stderr)

    def test_malformed_json_is_400(self):
        with self.assertRaises(ApiError) as caught:
            api().call("POST", "/containers/create", body=b'{"Image": "busybox", ',
                       headers={"Content-Type": "application/json"})

        self.assertEqual(caught.exception.status, 400)

    def test_an_unknown_route_is_404(self):
        with self.assertRaises(ApiError) as caught:
            api().get("/no/such/route")

        self.assertEqual((caught.exception.status, caught.exception.message), (404, "page not found"))

    def test_a_version_from_the_future_is_400(self):
        with self.assertRaises(ApiError) as caught:
            api("v1.99").get("/containers/json")

        self.assertEqual(caught.exception.status, 400)
        self.assertIn("too new", caught.exception.message)

    def test_layers_that_escape_are_contained(self):
        hostile = [
            [file_entry("../../escape", b"x")],
            [file_entry("/tmp/containervm-escape", b"x")],
            [file_entry("link", type=tarfile.SYMTYPE, linkname="/tmp"),
             file_entry("link/containervm-escape", b"x")],
            [file_entry("hard", type=tarfile.LNKTYPE, linkname="../../etc/shadow")],
        ]
        for entries in hostile:
            docker("load", stdin=image_archive(tar_of(entries)), check=False)
            docker("rmi", "-f", "hostile:latest", check=False)

        self.assertFalse(os.path.exists("/tmp/containervm-escape"))

    def test_a_wrong_layer_digest_is_refused(self):
        layer = tar_of([file_entry("a", b"content")])

        done = docker("load", stdin=image_archive(layer, diff_id="sha256:" + "0" * 64), check=False)

        self.assertNotEqual(done.returncode, 0)

    def test_a_truncated_archive_is_refused(self):
        archive = image_archive(tar_of([file_entry("a", os.urandom(200000))]))

        for length in (100, 5000, len(archive) // 2):
            done = docker("load", stdin=archive[:length], check=False)
            self.assertNotEqual(done.returncode, 0, length)

    def test_an_image_for_another_architecture_is_refused(self):
        layer = tar_of([file_entry("a", b"content")])
        loaded = docker("load", stdin=image_archive(layer, architecture="s390x"), check=False)
        if loaded.returncode == 0:
            ran = docker("run", "--rm", "hostile:latest", "true", check=False)
            docker("rmi", "-f", "hostile:latest")
            self.assertNotEqual(ran.returncode, 0)

    def test_an_absurd_size_in_a_tar_header_is_refused(self):
        info, _ = file_entry("huge")
        info.size = 1 << 62
        layer = info.tobuf(tarfile.GNU_FORMAT) + b"\0" * 1024

        done = docker("load", stdin=image_archive(layer), check=False)

        self.assertNotEqual(done.returncode, 0)

    def test_a_full_disk_is_said_and_changes_nothing(self):
        if on_host("sh", "-c", "test -d /run/containervm-machine/state && echo own").strip() != "own":
            self.skipTest("it would fill this host's disk: only in the emulated machine, on its own")
        directory = api().get("/info")["DockerRootDir"]
        filler = f"{directory}/filler"
        layer = tar_of([file_entry("a", os.urandom(8 << 20))])
        on_host("sh", "-c", f'fallocate -l $(($(df --output=avail -B1 "{directory}" | tail -1) - '
                            f'2097152)) "{filler}"')
        try:
            loaded = docker("load", stdin=image_archive(layer), check=False)
            imported = docker("import", "-", "hostile:latest", stdin=layer, check=False)
            listed = output("images", "-aq", "--no-trunc")
        finally:
            on_host("rm", "-f", filler)

        self.assertNotEqual(loaded.returncode, 0)
        self.assertIn(b"No space left on device", loaded.stderr + loaded.stdout)
        self.assertNotEqual(imported.returncode, 0)
        self.assertIn(b"No space left on device", imported.stderr + imported.stdout)
        self.assertEqual(listed, self.images_before)

    def test_bad_limits_are_400(self):
        for host_config in ({"Memory": 1024}, {"NanoCpus": -5}, {"Memory": -1}):
            with self.assertRaises(ApiError) as caught:
                api().create("busybox", ["true"], HostConfig=host_config)
            self.assertEqual(caught.exception.status, 400, host_config)

    def test_a_name_that_is_taken_is_409(self):
        api().create("busybox", ["true"], name="taken")

        with self.assertRaises(ApiError) as caught:
            api().create("busybox", ["true"], name="taken")

        self.assertEqual(caught.exception.status, 409)


if __name__ == "__main__":
    unittest.main()
