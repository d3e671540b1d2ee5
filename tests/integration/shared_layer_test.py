#!/usr/bin/python3
"""Layers are read where they lie in the host's memory: no machine keeps pages of its own for them, and none can
change them. What it costs the host is measured by `./containervm bench layers`."""

import hashlib
import io
import os
import pathlib
import random
import re
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, docker, on_host, output  # noqa: E402

IMAGE = "shared-layer-test:latest"
WRITER = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "tests" / "mapped_write"
SIZE = (16 << 20) + 1234  # not whole pages: the last one ends in zeros
CACHED = "sed -n 's/^Cached: *//p' /proc/meminfo"


def layer_with(contents):
    """What `docker export` gives of a busybox, with /data and the program /mapped_write."""
    container = api().create("busybox", ["true"])
    exported = api().get(f"/containers/{container}/export")
    docker("rm", container)
    out = io.BytesIO(exported)
    with tarfile.open(fileobj=out, mode="a") as tar:
        for name, data in (("data", contents), ("mapped_write", WRITER.read_bytes())):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class SharedLayerTest(HostTest):
    @classmethod
    def setUpClass(cls):
        cls.contents = random.Random(7).randbytes(SIZE)
        cls.digest = hashlib.sha256(cls.contents).hexdigest()
        docker("import", "-c", "ENV PATH=/bin", "-", IMAGE, stdin=layer_with(cls.contents))

    @classmethod
    def tearDownClass(cls):
        docker("rmi", "-f", IMAGE, check=False)

    def kib_cached_by(self, command, *options):
        """How much the guest's page cache grows by the command, which must print the file's digest."""
        lines = output("run", "--rm", *options, IMAGE, "sh", "-c", f"{CACHED}; {command}; {CACHED}").splitlines()
        before, after = (int(re.match(r"\d+", line)[0]) for line in (lines[0], lines[-1]))
        self.assertEqual(lines[1].split()[0], self.digest)
        return after - before

    def test_reading_a_layer_leaves_nothing_in_the_guests_page_cache(self):
        self.assertLess(self.kib_cached_by("sha256sum /data"), 2 << 10)

    def test_a_container_with_a_rate_on_reads_gets_its_layers_over_the_disk(self):
        state = api().get("/info")["DockerRootDir"]
        device = on_host("sh", "-c", f"df --output=source '{state}' | tail -n 1").strip()

        grown = self.kib_cached_by("sha256sum /data", "--device-read-iops", f"{device}:1000000")

        self.assertGreater(grown, 15 << 10)

    def test_what_is_mapped_is_the_layers_too(self):
        # The kernel maps a program's pages to run it, and a write to one of them is the process's own.
        self.assertEqual(output("run", "--rm", IMAGE, "sh", "-c", "mkdir /own && cp /bin/busybox /own/echo && "
                                "cmp /bin/busybox /own/echo && /own/echo same"), "same")

    def test_a_changed_file_is_the_containers_own(self):
        text = output("run", "--rm", IMAGE, "sh", "-c", "echo more >>/data; tail -c 5 /data; sha256sum /data")

        self.assertTrue(text.startswith("more\n"))
        self.assertNotIn(self.digest, text)
        self.assertIn(self.digest, output("run", "--rm", IMAGE, "sha256sum", "/data"))

    def test_pages_of_a_layer_can_be_a_disks_buffers(self):
        self.assertIn(self.digest, output("run", "--rm", IMAGE, "sh", "-c",
                                          "/mapped_write /data /copy && sha256sum /copy"))

    def test_the_window_refuses_writes(self):
        for command in ("echo x >/dev/pmem0", "echo x >/dev/pmem0p1"):
            with self.subTest(command):
                done = docker("run", "--rm", "--privileged", IMAGE, "sh", "-c", command, check=False)
                self.assertNotEqual(done.returncode, 0)

    def test_a_guest_that_makes_the_window_writable_changes_nothing(self):
        # Its writes leave the guest as accesses to registers that nobody has; or the machine ends.
        docker("run", "--rm", "--privileged", IMAGE, "sh", "-c",
               "blockdev --setrw /dev/pmem0; blockdev --setrw /dev/pmem0p1; "
               "dd if=/dev/zero of=/dev/pmem0 bs=4096 count=4 conv=fsync; "
               "dd if=/dev/zero of=/dev/pmem0p1 bs=4096 count=4 conv=fsync", check=False)

        self.assertIn(self.digest, output("run", "--rm", IMAGE, "sha256sum", "/data"))
        self.assertEqual(output("run", "--rm", IMAGE, "echo", "alive"), "alive")


if __name__ == "__main__":
    unittest.main()
