#!/usr/bin/python3
"""Volumes with real guests, in directories, on disks, and where a client says: what is in them lives on."""

import io
import json
import os
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TidyHostTest, api, docker, host_state, on_host, output, refused  # noqa: E402

DATA = "volume-test-data"
OTHER = "volume-test-other"


def run(mount, script, *options):
    return output("run", "--rm", "-v", mount, *options, "busybox", "sh", "-c", script)


def inspect(volume):
    return json.loads(output("volume", "inspect", volume))[0]


def bound(device, words="bind"):
    """The options of a volume that is a directory of the host."""
    return ("-o", "type=none", "-o", f"device={device}", "-o", f"o={words}")


class VolumeTest(TidyHostTest):
    """What holds for all kinds, with volumes in directories."""

    def setUp(self):
        super().setUp()
        for name in (DATA, OTHER):
            docker("volume", "create", *self.options(name), name)

    def options(self, name):
        return ()

    def tearDown(self):
        super().tearDown()
        docker("volume", "rm", "-f", DATA, OTHER, check=False)

    def test_what_was_written_last_is_there_for_the_next(self):
        run(f"{DATA}:/v", "mkdir /v/d; echo x > /v/d/f; chown 5:6 /v/d/f; chmod 4750 /v/d/f; ln -s f /v/d/l")

        self.assertEqual(run(f"{DATA}:/w/deep", "ls -A /w/deep; stat -c '%a %u %g %s' /w/deep/d/f; cat /w/deep/d/l"),
                         "d\n4750 5 6 2\nx")
        self.assertEqual(inspect(DATA)["Driver"], "local")
        self.assertEqual(output("volume", "ls", "-q", "-f", f"name={DATA}"), DATA)

    def test_what_a_killed_container_wrote_is_there(self):
        container = output("run", "-d", "-v", f"{DATA}:/v", "busybox", "sh", "-c",
                           "dd if=/dev/zero of=/v/big bs=1M count=8 2>/dev/null; echo done > /v/f; exec sleep 1000")
        docker("exec", container, "sh", "-c", "until [ -s /v/f ]; do sleep 0.1; done")

        docker("rm", "-f", container)

        self.assertEqual(run(f"{DATA}:/v", "cat /v/f; stat -c %s /v/big"), "done\n8388608")

    def test_a_new_one_has_what_the_image_has_there(self):
        docker("build", "-t", "volume-test:image", "-", stdin=b"""FROM busybox
RUN mkdir -p /data/sub && echo a > /data/sub/a && ln /data/sub/a /data/b && ln -s b /data/c && mkfifo /data/p \
 && chown -R 7:8 /data && chmod 711 /data && chmod 6755 /data/b && touch -d '2001-02-03 04:05:06' /data/sub
VOLUME /data
""")
        see = "cd /data; stat -c '%n %F %a %u %g %h' . b p sub/a; stat -c %Y sub; readlink c; cat c; ls"
        seen = output("run", "--rm", "--entrypoint", "sh", "volume-test:image", "-c", see)
        named = output("run", "--rm", "-v", f"{DATA}:/data", "volume-test:image", "sh", "-c", see + "; rm c")
        again = output("run", "--rm", "-v", f"{DATA}:/data", "volume-test:image", "ls", "/data")
        other = output("run", "--rm", "-v", f"{OTHER}:/data:nocopy", "volume-test:image", "ls", "-A", "/data")
        docker("rmi", "volume-test:image")

        self.assertEqual(seen, ". directory 711 7 8 3\nb regular file 6755 7 8 2\np fifo 644 7 8 1\nsub/a regular file 6755 7 8 2\n"
                               "981173106\nb\na\nb\nc\np\nsub")
        self.assertEqual(named, seen)
        self.assertEqual(again, "b\np\nsub")
        self.assertEqual(other, "")

    def test_read_only(self):
        run(f"{DATA}:/v", "echo x > /v/f")

        self.assertEqual(run(f"{DATA}:/v:ro", "cat /v/f; echo y > /v/f; echo $?", "--privileged"),
                         "x\n1")
        self.assertEqual(run(f"{DATA}:/v", "cat /v/f"), "x")

    def test_mounts(self):
        run(f"{DATA}:/v", "mkdir -p /v/one/two; echo x > /v/one/two/f")

        self.assertEqual(output("run", "--rm", "--mount", f"type=volume,src={DATA},dst=/s,volume-subpath=one/two",
                                "--mount", f"type=volume,src={OTHER},dst=/s/nested", "--mount", "type=tmpfs,dst=/s/nested/t",
                                "busybox", "sh", "-c", "cat /s/f; touch /s/nested/t/x /s/nested/y; ls /s /s/nested"),
                         "x\n/s:\nf\nnested\n\n/s/nested:\nt\ny")
        self.assertIn("none", refused("run", "--rm", "--mount", f"type=volume,src={DATA},dst=/s,volume-subpath=none",
                                      "busybox", "true"))
        self.assertIn("passwd", refused("run", "--rm", "-v", f"{DATA}:/etc/passwd", "busybox", "true"))

    def test_from_another_container(self):
        first = output("run", "-d", "-v", f"{DATA}:/v", "-v", "/w", "busybox", "sh", "-c", "echo x > /v/f; echo y > /w/f")
        docker("wait", first)

        self.assertEqual(output("run", "--rm", "--volumes-from", first + ":ro", "busybox", "sh", "-c",
                                "cat /v/f /w/f; touch /w/g 2>/dev/null || echo no"), "x\ny\nno")
        self.assertEqual(len(output("inspect", "-f", "{{range .Mounts}}{{.Name}} {{end}}", first).split()), 2)

    def test_copies_into_and_out_of_it(self):
        container = output("create", "-v", f"{DATA}:/v", "busybox", "sh", "-c", "cat /v/f; echo out > /v/g; exec sleep 1000")
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo("f")
            member.size = 3
            tar.addfile(member, io.BytesIO(b"in\n"))
        docker("cp", "-", f"{container}:/v", stdin=archive.getvalue())
        docker("start", container)
        docker("exec", container, "sh", "-c", "until [ -s /v/g ]; do sleep 0.1; done")

        self.assertEqual(output("logs", container), "in")
        for _ in ("running", "stopped"):
            with tarfile.open(fileobj=io.BytesIO(docker("cp", f"{container}:/v", "-").stdout)) as tar:
                self.assertEqual(sorted(tar.getnames()), ["v", "v/f", "v/g"])
            docker("kill", container, check=False)
        with tarfile.open(fileobj=io.BytesIO(docker("export", container).stdout)) as tar:
            self.assertEqual([name for name in tar.getnames() if name.startswith("v/")], [])

    def test_goes_with_its_container_if_it_has_no_name(self):
        container = output("create", "-v", "/v", "-v", f"{DATA}:/w", "busybox", "true")
        names = output("inspect", "-f", "{{range .Mounts}}{{.Name}}\n{{end}}", container).split()
        docker("rm", "-v", container)
        left = set(output("volume", "ls", "-q").split())

        self.assertEqual(left & set(names), {DATA})

    def test_survives_the_daemon(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        container = output("run", "-d", "-v", f"{DATA}:/v", "busybox", "sh", "-c",
                           "echo x > /v/f; until [ -e /go ]; do sleep 0.2; done; echo y > /v/g")

        daemon.restart()

        self.see_from_another_container()
        docker("exec", container, "touch", "/go")
        docker("wait", container)
        self.assertEqual(run(f"{DATA}:/v", "cat /v/f /v/g"), "x\ny")

    def test_outlives_a_daemon_that_dies_when_its_container_ends(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        container = output("run", "-d", "-v", f"{DATA}:/v", "busybox", "sh", "-c",
                           "dd if=/dev/urandom of=/v/big bs=1M count=24 2>/dev/null; sha256sum /v/big; echo x > /v/f; echo y > /kept")
        docker("wait", container)

        daemon.restart()  # while the guest writes back, if that takes longer than the kill

        digest = output("logs", container).split()[0]
        self.assertEqual(run(f"{DATA}:/v", "cat /v/f; sha256sum < /v/big | cut -d' ' -f1"), f"x\n{digest}")
        self.assertEqual(docker("cp", f"{container}:/kept", "-").returncode, 0)

    def test_carries_an_overlay(self):
        """What BuildKit and a Docker in a container do with theirs."""
        self.assertEqual(run(f"{DATA}:/v", "cd /v; mkdir low up work merged; echo a > low/a; echo b > low/b; "
                             "mount -t overlay x -o lowerdir=low,upperdir=up,workdir=work merged; "
                             "echo c > merged/a; rm merged/b; cat merged/*; ls -l up | grep -c '^c'; umount merged", "--privileged"),
                         "c\n1")

    def see_from_another_container(self):
        self.assertEqual(run(f"{DATA}:/w", "cat /w/f"), "x")


class DirectoryVolumeTest(TidyHostTest):
    """What volumes in directories have more."""

    def tearDown(self):
        super().tearDown()
        docker("volume", "rm", "-f", DATA, check=False)

    def test_is_several_running_containers(self):
        first = output("run", "-d", "-v", f"{DATA}:/v", "-v", "/w", "busybox", "sleep", "1000")
        reader = output("run", "-d", "-v", f"{DATA}:/v:ro", "busybox", "sleep", "1000")
        other = output("run", "-d", "--volumes-from", first, "busybox", "sleep", "1000")

        docker("exec", first, "sh", "-c", "echo x > /v/f; echo y > /w/f")
        self.assertEqual(output("exec", reader, "cat", "/v/f"), "x")
        self.assertIn("Read-only", refused("exec", reader, "touch", "/v/g"))
        self.assertEqual(output("exec", other, "sh", "-c", "cat /v/f /w/f; echo z > /v/f"), "x\ny")
        self.assertEqual(output("exec", reader, "cat", "/v/f"), "z")
        self.assertIn("volume is in use", refused("volume", "rm", DATA))

    def test_is_a_directory_of_the_host(self):
        run(f"{DATA}:/v", "echo x > /v/f; mkdir /v/d")

        place = inspect(DATA)["Mountpoint"]
        self.assertEqual(on_host("sh", "-c", f"cat {place}/f; ls {place}"), "x\nd\nf\n")
        on_host("sh", "-c", f"echo y > {place}/d/g")
        self.assertEqual(run(f"{DATA}:/v", "cat /v/d/g"), "y")

    def test_is_removed_however_deep_it_is(self):
        before = host_state()["volumes"]
        run(f"{DATA}:/v", "cd /v; for i in $(seq 200); do mkdir d; cd d; done; touch f")
        docker("volume", "rm", DATA)
        self.assertEqual(host_state()["volumes"], before)

    def test_prune_and_df(self):
        docker("volume", "create", DATA)
        anonymous = output("volume", "create")
        rows = json.loads(output("system", "df", "-v", "--format", "{{json .}}"))["Volumes"]

        self.assertLessEqual({DATA, anonymous}, {row["Name"] for row in rows})
        self.assertIn(anonymous, output("volume", "prune", "-f"))
        self.assertNotIn(anonymous, output("volume", "ls", "-q"))
        self.assertEqual(output("volume", "ls", "-q", "-f", f"name={DATA}"), DATA)


class BindVolumeTest(VolumeTest):
    """Volumes that are directories of the host which a client names.

    Beside the daemon's own, as what the emulated machine has elsewhere is an overlay, which can carry none.
    """

    def setUp(self):
        state = api().get("/info")["DockerRootDir"]
        self.directory = on_host("mktemp", "-d", f"{state}/volume-test-XXXXXX").strip()
        self.addCleanup(on_host, "rm", "-rf", self.directory)
        super().setUp()

    def options(self, name):
        on_host("mkdir", self.path(name))
        return bound(self.path(name))

    def path(self, name):
        return f"{self.directory}/{name}"

    def sh_on_host(self, script):
        return on_host("sh", "-c", f"cd {self.directory}; {script}").rstrip("\n")

    def test_is_what_the_host_has_there_for_several_containers(self):
        self.sh_on_host(f"echo before > {DATA}/f")
        first = output("run", "-d", "-v", f"{DATA}:/v", "busybox", "sleep", "1000")
        second = output("run", "-d", "-v", f"{DATA}:/w:ro", "busybox", "sleep", "1000")

        docker("exec", first, "sh", "-c", "cat /v/f > /v/g; chown 5:6 /v/g")
        self.assertEqual(output("exec", second, "cat", "/w/g"), "before")
        self.assertIn("Read-only", refused("exec", second, "touch", "/w/h"))
        self.sh_on_host(f"echo after > {DATA}/f")
        self.assertEqual(output("exec", first, "cat", "/v/f"), "after")
        self.assertEqual(self.sh_on_host(f"stat -c '%u %g %s' {DATA}/g"), "5 6 7")
        self.assertIn("volume is in use", refused("volume", "rm", DATA))

    def test_is_shown_as_it_was_asked_for(self):
        shown = inspect(DATA)

        self.assertEqual(shown["Options"], {"type": "none", "device": self.path(DATA), "o": "bind"})
        self.assertTrue(shown["Mountpoint"].endswith(f"/{DATA}/_data"))
        container = output("create", "-v", f"{DATA}:/v", "busybox")
        mount = json.loads(output("inspect", "-f", "{{json .Mounts}}", container))[0]
        self.assertEqual((mount["Type"], mount["Name"], mount["Source"]), ("volume", DATA, shown["Mountpoint"]))
        usage = json.loads(output("system", "df", "-v", "--format", "{{json .}}"))["Volumes"]
        self.assertNotIn(DATA, [row["Name"] for row in usage])

    def test_is_as_its_options_say_for_each_container(self):
        docker("volume", "rm", OTHER)
        docker("volume", "create", *bound(self.path(OTHER), "bind,ro,nosuid,nodev,noexec"), OTHER)
        self.sh_on_host(f"printf '#!/bin/sh\\necho ran\\n' > {OTHER}/program; chmod 755 {OTHER}/program; mkdir {OTHER}/in")

        self.assertEqual(run(f"{OTHER}:/v:rw", "touch /v/f || echo no; /v/program || echo no; cat /v/program | sh; "
                             "grep -c ' /v .*nosuid,nodev,noexec' /proc/mounts; mount -o remount,rw /v; touch /v/in/f || echo no",
                             "--privileged"), "no\nno\nran\n1\nno")
        self.assertEqual(self.sh_on_host(f"ls {OTHER}"), "in\nprogram")

    def test_has_what_is_mounted_below_if_it_says_so(self):
        docker("volume", "rm", OTHER)
        docker("volume", "create", *bound(self.path(DATA), "rbind"), OTHER)
        self.sh_on_host(f"mkdir {DATA}/m; mount -t tmpfs x {DATA}/m; touch {DATA}/m/f")
        self.addCleanup(on_host, "umount", self.path(f"{DATA}/m"))

        self.assertEqual(run(f"{OTHER}:/v", "ls /v/m"), "f")
        self.assertEqual(run(f"{DATA}:/v", "ls /v/m"), "")

    def test_must_be_there_when_a_container_starts(self):
        docker("volume", "rm", OTHER)
        docker("volume", "create", *bound(self.path("late")), OTHER)
        place = inspect(OTHER)["Mountpoint"]
        container = output("create", "-v", f"{OTHER}:/v", "busybox", "ls", "/v")

        self.assertIn(f"error while mounting volume '{place}': failed to mount local volume: mount {self.path('late')}:{place}, "
                      "flags: 0x1000: no such file or directory", refused("start", container))
        self.sh_on_host("touch late")
        self.assertIn("not a directory", refused("start", container))
        self.sh_on_host("rm late; mkdir late; touch late/f")
        self.assertEqual(output("start", "-a", container), "f")

    def test_leaves_the_hosts_files_where_they_are(self):
        self.sh_on_host(f"echo x > {DATA}/f; echo y > {OTHER}/f")

        docker("volume", "rm", DATA, OTHER)
        docker("volume", "create", *bound(self.path(OTHER)), "--label", "volume-test", OTHER)
        self.assertIn(OTHER, output("volume", "prune", "-f", "--filter", "all=1", "--filter", "label=volume-test"))

        self.assertEqual(self.sh_on_host(f"cat {DATA}/f {OTHER}/f"), "x\ny")

    def test_a_request_says_what_is_wrong(self):
        docker("volume", "rm", OTHER)
        for options, words in (
                (("-o", "type=none", "-o", "o=bind"), 'missing required option: "device"'),
                (("-o", "type=nfs", "-o", "device=:/x", "-o", "o=addr=192.0.2.1"), "mounts no file systems for containers"),
                (("-o", "type=tmpfs", "-o", "device=tmpfs"), "--tmpfs"),
                (bound("/srv", "bind,sync"), '"sync" is not supported'),
                (bound("srv"), "absolute path")):
            self.assertIn(words, refused("volume", "create", *options, OTHER))
        self.assertNotIn(OTHER, output("volume", "ls", "-q"))


class DiskVolumeTest(VolumeTest):
    def options(self, name):
        return ("-o", "type=disk")

    def see_from_another_container(self):
        self.assertIn(DATA, refused("run", "--rm", "-v", f"{DATA}:/v", "busybox", "true"))

    def test_is_one_running_containers(self):
        first = output("run", "-d", "--name", "volume-test-holder", "-v", f"{DATA}:/v", "busybox", "sleep", "1000")
        second = output("create", "-v", f"{DATA}:/v", "busybox", "sh", "-c", "echo y > /v/g")

        message = refused("start", second)
        self.assertIn("volume-test-holder", message)
        self.assertIn(DATA, message)
        self.assertIn("volume is in use", refused("volume", "rm", DATA))
        self.assertIn("volume-test-holder", refused("cp", f"{second}:/v", "-"))
        docker("exec", first, "sh", "-c", "echo x > /v/f")
        docker("rm", "-f", first)
        docker("start", "-a", second)

        self.assertEqual(run(f"{DATA}:/v", "cat /v/f /v/g"), "x\ny")

    def test_has_the_size_that_was_asked_for(self):
        docker("volume", "rm", DATA)
        docker("volume", "create", "-o", "size=64m", DATA)

        self.assertEqual(run(f"{DATA}:/v", "dd if=/dev/zero of=/v/f bs=1M count=100 2>&1 | grep -c 'No space'; "
                             "[ $(stat -c %s /v/f) -gt 40000000 ] && echo most of it"), "1\nmost of it")
        self.assertIn("invalid option", refused("volume", "create", "-o", "nonsense=1", OTHER))


if __name__ == "__main__":
    unittest.main(verbosity=2)
