#!/usr/bin/python3
"""Files and directories of the host in containers with real guests."""

import json
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TidyHostTest, api, docker, on_host, output, refused  # noqa: E402

FLOCK = "debian:12"  # an image with flock


def sh_on_host(script):
    return on_host("sh", "-c", script).rstrip("\n")


def in_container(container, script):
    return output("exec", container, "sh", "-c", script)


class HostFilesTest(TidyHostTest):
    def setUp(self):
        super().setUp()
        self.directory = sh_on_host("mktemp -d /var/tmp/host-files-XXXXXX")

    def tearDown(self):
        super().tearDown()
        on_host("rm", "-rf", self.directory)

    def path(self, name):
        return f"{self.directory}/{name}"

    def started(self, *options, image="busybox", command=("sleep", "1000")):
        return output("run", "-d", *options, image, *command)

    def once(self, script, *options):
        return output("run", "--rm", *options, "busybox", "sh", "-c", script)

    def test_both_see_what_either_writes(self):
        sh_on_host(f"echo before > {self.path('file')}; chmod 640 {self.path('file')}; chown 3:4 {self.path('file')}")
        container = self.started("-v", f"{self.directory}:/x/y")

        self.assertEqual(in_container(container, "cat /x/y/file; stat -c '%a %u %g' /x/y/file"), "before\n640 3 4")
        sh_on_host(f"echo again > {self.path('file')}; echo new > {self.path('new')}")
        self.assertEqual(in_container(container, "cat /x/y/file /x/y/new; ls /x/y"), "again\nnew\nfile\nnew")
        sh_on_host(f"echo replaced > {self.path('aside')}; mv {self.path('aside')} {self.path('file')}")
        self.assertEqual(in_container(container, "cat /x/y/file"), "replaced")
        in_container(container, "mkdir /x/y/d; echo inside > /x/y/d/f; chown 5:6 /x/y/d/f; ln -s f /x/y/d/l; rm /x/y/new")
        self.assertEqual(sh_on_host(f"cat {self.path('d/l')}; stat -c '%u %g' {self.path('d/f')}; ls {self.directory}"),
                         "inside\n5 6\nd\nfile")

    def test_files_and_read_only(self):
        sh_on_host(f"echo 192.0.2.7 elsewhere > {self.path('hosts')}; mkdir {self.path('d')}")
        container = self.started("-v", f"{self.path('hosts')}:/etc/hosts", "-v", f"{self.path('hosts')}:/ro/file:ro",
                                 "--mount", f"type=bind,source={self.path('d')},target=/ro/d,readonly")

        self.assertEqual(in_container(container, "cat /etc/hosts /ro/file"), "192.0.2.7 elsewhere\n192.0.2.7 elsewhere")
        in_container(container, "echo changed > /etc/hosts")
        self.assertEqual(in_container(container, "cat /ro/file"), "changed")
        for script in ("echo x > /ro/file", "touch /ro/d/new", "chmod 777 /ro/d"):
            self.assertIn("Read-only", refused("exec", container, "sh", "-c", script))
        self.assertEqual(sh_on_host(f"cat {self.path('hosts')}; ls {self.path('d')}"), "changed")

    def test_what_is_not_there(self):
        self.once("touch /x/made", "-v", f"{self.path('new/deep')}:/x")
        self.assertEqual(sh_on_host(f"ls {self.path('new/deep')}"), "made")

        self.assertIn(f"bind source path does not exist: {self.path('missing')}",
                      refused("create", "--mount", f"type=bind,source={self.path('missing')},target=/x", "busybox"))
        sh_on_host(f"mkfifo {self.path('pipe')}")
        self.assertIn("is a pipe", refused("run", "--rm", "-v", f"{self.path('pipe')}:/x", "busybox", "true"))
        self.assertIn("propagation", refused("create", "-v", f"{self.directory}:/x:rshared", "busybox"))
        container = output("create", "--mount", f"type=bind,source={self.path('new')},target=/x", "busybox", "true")
        sh_on_host(f"rm -r {self.path('new')}")
        self.assertIn("does not exist", refused("start", container))

    def test_lie_in_each_other(self):
        sh_on_host(f"mkdir -p {self.path('a/in')} {self.path('b')}; echo a > {self.path('a/f')}; echo b > {self.path('b/f')}")
        options = ("-v", f"{self.path('b')}:/m/in/volume/b", "-v", f"{self.path('a')}:/m", "-v", "/m/in/volume",
                   "--tmpfs", "/m/in")
        self.assertEqual(self.once("cat /m/f /m/in/volume/b/f; touch /m/in/gone /m/in/volume/kept", *options), "a\nb")
        self.assertEqual(sh_on_host(f"ls {self.path('a/in')} {self.path('b')}"), f"{self.path('a/in')}:\n\n{self.path('b')}:\nf")

    def test_links_lead_nowhere_else(self):
        sh_on_host(f"mkdir {self.path('in')}; echo secret > {self.path('secret')}; "
                   f"ln -s {self.path('secret')} {self.path('in/absolute')}; ln -s ../secret {self.path('in/relative')}")
        script = "ln -s /etc/hostname /x/own; for l in absolute relative ../secret; do cat /x/$l 2>/dev/null; done; " \
                 "cat /x/own; mknod /x/sda b 8 0 2>/dev/null; echo $?"
        self.assertEqual(self.once(script, "-h", "me", "-v", f"{self.path('in')}:/x"), "me\n1")

    def test_of_another_container(self):
        first = self.started("--name", "host-files-first", "-v", f"{self.directory}:/x")
        self.assertEqual(self.once("echo y > /x/f; cat /x/f", "--volumes-from", first), "y")
        self.assertIn("Read-only", refused("run", "--rm", "--volumes-from", f"{first}:ro", "busybox", "touch", "/x/g"))
        self.assertEqual(in_container(first, "cat /x/f"), "y")

    def test_inspect(self):
        container = output("create", "-v", f"{self.directory}:/x:ro,Z", "busybox")
        shown = json.loads(output("inspect", container))[0]
        self.assertEqual(shown["Mounts"], [{"Type": "bind", "Source": self.directory, "Destination": "/x",
                                            "Mode": "ro,Z", "RW": False, "Propagation": "rprivate"}])
        self.assertEqual(shown["HostConfig"]["Binds"], [f"{self.directory}:/x:ro,Z"])
        self.assertEqual(output("ps", "-aq", "--no-trunc", "--filter", f"volume={self.directory}"), container)

    def test_copies_to_and_from_one_that_does_not_run(self):
        container = output("create", "-v", f"{self.directory}:/x", "busybox")
        sh_on_host(f"echo out > {self.path('out')}")
        self.assertIn(b"out\n", docker("cp", f"{container}:/x/out", "-").stdout)

    def test_locks_are_the_same_for_all(self):
        holder = self.started("-v", f"{self.directory}:/x", image=FLOCK)
        other = self.started("-v", f"{self.directory}:/y", image=FLOCK)
        in_container(holder, "touch /x/lock")
        locked = subprocess.Popen(["docker", "exec", holder, "flock", "/x/lock", "sh", "-c", "echo have; sleep 1000"],
                                  stdout=subprocess.PIPE)
        self.assertEqual(locked.stdout.readline(), b"have\n")

        self.assertEqual(docker("exec", other, "flock", "-n", "/y/lock", "true", check=False).returncode, 1)
        self.assertEqual(sh_on_host(f"flock -n {self.path('lock')} true; echo $?"), "1")
        docker("kill", holder)
        docker("exec", other, "flock", "/y/lock", "true")
        locked.wait()
        locked.stdout.close()

    def test_one_that_waits_for_a_lock_can_be_killed(self):
        holder = self.started("-v", f"{self.directory}:/x", image=FLOCK,
                              command=("flock", "/x/lock", "sleep", "1000"))
        waiter = self.started("-v", f"{self.directory}:/x", image=FLOCK,
                              command=("sh", "-c", "flock /x/lock touch /x/had & touch /x/waits; wait"))
        sh_on_host(f"until [ -e {self.path('waits')} ]; do sleep 0.1; done; sleep 1")

        docker("kill", waiter)

        self.assertEqual(output("wait", waiter), "137")
        docker("rm", "-f", holder)
        self.assertEqual(sh_on_host(f"ls {self.directory}"), "lock\nwaits")

    def test_outlive_the_daemon(self):
        container = self.started("-v", f"{self.directory}:/x")
        Daemon().restart()
        in_container(container, "echo y > /x/f")
        self.assertEqual(sh_on_host(f"cat {self.path('f')}"), "y")
        docker("stop", "-t", "1", container)

    def test_a_file_server_that_dies_takes_its_files_along_and_nothing_else(self):
        container = self.started("-v", f"{self.directory}:/x")
        other = self.started("-v", f"{self.directory}:/x")
        server = sh_on_host("pgrep -o containervm-fil")
        on_host("kill", "-9", server)

        outcomes = [docker("exec", one, "ls", "/x", check=False).returncode for one in (container, other)]
        self.assertEqual(sorted(outcomes), [0, 1])
        for one in (container, other):
            self.assertEqual(in_container(one, "echo alive"), "alive")
            docker("stop", "-t", "1", one)

    def test_what_was_synced_is_there_after_a_crash(self):
        container = self.started("-v", f"{self.directory}:/x", command=(
            "sh", "-c", "dd if=/dev/zero of=/x/f bs=1k count=100 conv=fsync 2>/dev/null; touch /x/done; sleep 1000"))
        sh_on_host(f"until [ -e {self.path('done')} ]; do sleep 0.1; done")
        on_host("kill", "-9", output("inspect", "-f", "{{.State.Pid}}", container))
        docker("wait", container)
        self.assertEqual(sh_on_host(f"stat -c %s {self.path('f')}"), "102400")

    def test_many_files(self):
        sh_on_host(f"cd {self.directory}; for d in $(seq 20); do mkdir $d; (cd $d; touch $(seq 100)); done")
        self.assertEqual(self.once("find /x -type f | wc -l; rm -r /x/*; ls /x", "-v", f"{self.directory}:/x"), "2000")

    def test_a_daemon_may_keep_containers_to_some_directories(self):
        daemon = Daemon()
        try:
            daemon.end()
            daemon.start("--host-directory", self.directory)
            sh_on_host(f"mkdir {self.path('in')}; ln -s /etc {self.path('in/out')}")
            self.assertEqual(self.once("ls /x", "-v", f"{self.path('in')}:/x"), "out")
            for source in ("/etc", self.path("in/out"), self.path("in/out/new"), "/var/tmp", "/var/run/docker.sock"):
                self.assertIn("may not have", refused("run", "--rm", "-v", f"{source}:/x", "busybox", "true"))
            self.assertEqual(self.once("ls /v; echo x > /v/f; cat /v/f", "-v", "/v"), "x")  # a volume is the daemon's
            # Unless a client says where it is.
            volume = "type=volume,dst=/x,volume-opt=type=none,volume-opt=o=bind,volume-opt=device="
            self.assertEqual(self.once("ls /x", "--mount", volume + self.path("in")), "out")
            for device in ("/etc", self.path("in/out")):
                self.assertIn("may not have", refused("run", "--rm", "--mount", volume + device, "busybox", "true"))
        finally:
            daemon.restart()

    def test_a_request_says_what_is_wrong(self):
        def create(mount):
            try:
                return api().call("POST", "/containers/create",
                                  body={"Image": "busybox", "HostConfig": {"Mounts": [mount]}})[0]
            except Exception as error:  # noqa: BLE001
                return error.status, error.message

        self.assertEqual(create({"Type": "bind", "Source": "relative", "Target": "/x"}),
                         (400, 'invalid mount config for type "bind": invalid mount path: \'relative\' mount path must '
                               'be absolute'))
        self.assertEqual(create({"Type": "bind", "Source": "/dev/null", "Target": "/x"})[0], 501)


if __name__ == "__main__":
    unittest.main()
