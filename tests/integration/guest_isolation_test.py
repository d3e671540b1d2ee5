#!/usr/bin/python3
"""guest-init believes the host alone: nothing that runs in a container reaches it, whatever the container may do. The
attempts are guest_probe's; each test also shows that the probe can do what it is not to succeed with."""

import os
import pathlib
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, docker, output  # noqa: E402

PROBE = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "tests" / "guest_probe"
UNCONFINED = ("--security-opt", "seccomp=unconfined")
#: Where an exec looks for its program first, so that it takes long to become one.
MANY_PLACES = ":".join(f"/nowhere/{number}" for number in range(2000))


class GuestIsolationTest(HostTest):
    def _container(self, *options):
        container = output("run", "-d", *options, "busybox", "sleep", "1000")
        self.addCleanup(docker, "rm", "-f", container, check=False)
        docker("cp", str(PROBE), f"{container}:/probe")
        return container

    def _probe(self, container, *arguments, options=()):
        """{attempt: result}"""
        lines = output("exec", *options, container, "/probe", *arguments).splitlines()
        return dict(line.split() for line in lines)

    def test_the_default_filter_refuses_vsock_in_every_shape_of_the_call(self):
        ways = self._probe(self._container("-u", "nobody", "--cap-drop", "ALL"), "sockets")

        self.assertEqual(ways.pop("inet"), "open")
        self.assertEqual(set(ways.values()), {"EPERM"}, ways)
        self.assertEqual(len(ways), 8)

    def test_without_a_filter_nobody_is_there_under_any_address(self):
        for options in (("-u", "nobody", "--cap-drop", "ALL", *UNCONFINED), UNCONFINED, ("--privileged",)):
            with self.subTest(options=options):
                container = self._container(*options)

                ways = self._probe(container, "sockets")
                attempts = self._probe(container, "connect")

                # The probe works: sockets can be had here, 12 attempts with each kind that there is.
                for way in ("direct", "high-half", "i386-socket", "i386-socketcall", "seqpacket"):
                    self.assertEqual(ways[way], "open")
                    self.assertEqual(sum(name.startswith(f"{way}-") for name in attempts), 12, attempts)
                self.assertEqual({attempts.pop("bind-control"), attempts.pop("bind-streams")}, {"EADDRINUSE"})
                self.assertFalse({"connected", "silent", "answered"} & set(attempts.values()), attempts)
                self.assertEqual(output("exec", container, "echo", "served").strip(), "served")

    def test_the_program_that_containers_share_with_guest_init_cannot_be_changed(self):
        container = self._container("--init")

        attempts = self._probe(container, "files")

        self.assertIn(attempts["exe-write"], ("EROFS", "ETXTBSY"))
        self.assertIn(attempts["exe-truncate"], ("EROFS", "ETXTBSY"))
        self.assertEqual(attempts["exe-chmod"], "EROFS")
        self.assertEqual(attempts["exe-chown"], "EROFS")
        self.assertEqual(output("run", "--rm", "--init", "busybox", "head", "-c", "17", "/proc/1/cmdline"),
                         "/sbin/docker-init")

    def test_devices_and_kernel_addresses_are_out_of_reach(self):
        container = self._container()

        attempts = self._probe(container, "files")
        settings = output("exec", container, "cat", "/proc/sys/kernel/kptr_restrict", "/proc/sys/kernel/dmesg_restrict")
        addresses = output("exec", container, "sh", "-c", "cut -c1-16 /proc/kallsyms | sort -u | head -n 3")

        for device in ("mem", "kmsg", "writable-disk"):
            self.assertIn(attempts[device], ("EPERM", "EACCES"), device)
        self.assertIn(attempts["kcore"], ("ENOENT", "EACCES", "EPERM"))
        self.assertEqual(attempts["kernel-log"], "EPERM")
        self.assertEqual(settings.split(), ["2", "1"])
        self.assertEqual(addresses.strip(), "0" * 16)

    def test_signals_to_everything_reach_the_container_only(self):
        container = self._container()

        self.assertEqual(self._probe(container, "signals"), {"signals": "sent"})

        self.assertEqual(output("exec", container, "echo", "served").strip(), "served")

    def test_nobody_looks_into_a_process_that_is_still_guest_inits(self):
        container = self._container()
        rounds = 12
        docker("exec", "-d", container, "sh", "-c", f"/probe race {rounds} >/found; echo done >>/found")

        for _ in range(rounds):
            docker("exec", "-e", f"PATH={MANY_PLACES}:/bin", container, "true")

        found = output("exec", container, "sh", "-c", "while ! grep -q done /found; do sleep 1; done; cat /found")
        self.assertEqual(found.split("\n")[:2], ["race over", "done"])

    def test_no_socket_of_guest_init_is_in_the_containers_network(self):
        container = self._container("--privileged")

        self.assertEqual(len(output("exec", container, "cat", "/proc/net/unix").splitlines()), 1)

    def test_a_privileged_container_sees_processes_of_its_own_only(self):
        container = self._container("--privileged")

        names = output("exec", container, "sh", "-c", "mkdir /p && mount -t proc proc /p && cat /p/[0-9]*/comm")

        self.assertNotIn("init", names.split())
        self.assertIn("sleep", names.split())


if __name__ == "__main__":
    unittest.main()
