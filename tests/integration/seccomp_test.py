#!/usr/bin/python3
"""Seccomp in real guests, through the stock client: Docker's default profile, and profiles of one's own."""

import json
import os
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, docker, output  # noqa: E402

STATUS = "grep -E 'NoNewPrivs|Seccomp' /proc/self/status | cut -f2 | tr '\\n' ' '"
FILTERED, UNFILTERED = "0 2 1", "0 0 0"
EADDRINUSE = 98


def deny(name, **fields):
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": EADDRINUSE, **fields}
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}


class SeccompTest(HostTest):
    def _profile(self, profile):
        """A client's option for a profile; a string is the file's text."""
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
            file.write(profile if isinstance(profile, str) else json.dumps(profile))
        self.addCleanup(os.unlink, file.name)
        return ["--security-opt", f"seccomp={file.name}"]

    def _run(self, *options, script=STATUS):
        return output("run", "--rm", *options, "busybox", "sh", "-c", script + "; true").strip()

    def _refused(self, profile):
        done = docker("run", "--rm", *self._profile(profile), "busybox", "true", check=False)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr.decode()

    def test_every_process_of_an_ordinary_container_is_filtered(self):
        self.assertEqual(self._run(), FILTERED)
        self.assertEqual(self._run("--user", "1000:1000"), FILTERED)
        self.assertEqual(self._run("--init"), FILTERED)
        self.assertEqual(self._run("--security-opt", "no-new-privileges"), "1 2 1")
        self.assertEqual(self._run("--security-opt", "seccomp=builtin"), FILTERED)

    def test_unconfined_and_privileged_containers_are_not(self):
        self.assertEqual(self._run("--security-opt", "seccomp=unconfined"), UNFILTERED)
        self.assertEqual(self._run("--privileged"), UNFILTERED)
        self.assertEqual(self._run("--privileged", *self._profile(deny("mkdir"))), FILTERED)

    def test_exec_has_the_containers_filter_whatever_its_privileges(self):
        container = output("run", "-d", "busybox", "sleep", "1000")
        free = output("run", "-d", "--security-opt", "seccomp=unconfined", "busybox", "sleep", "1000")

        self.assertEqual(output("exec", container, "sh", "-c", STATUS).strip(), FILTERED)
        self.assertEqual(output("exec", "--privileged", container, "sh", "-c", STATUS).strip(), FILTERED)
        mount = docker("exec", "--privileged", container, "mount", "-t", "tmpfs", "x", "/tmp", check=False)
        self.assertNotEqual(mount.returncode, 0)
        self.assertEqual(output("exec", free, "sh", "-c", STATUS).strip(), UNFILTERED)

    def test_health_probes_are_filtered(self):
        container = output("run", "-d", "--health-cmd", STATUS, "--health-interval", "500ms", "busybox", "sleep", "1000")

        deadline = time.monotonic() + 120
        while not (log := json.loads(output("inspect", "-f", "{{json .State.Health.Log}}", container))):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)
        self.assertEqual(log[0]["Output"].strip(), FILTERED)

    def test_the_default_denies_what_needs_a_capability(self):
        attempts = "mount -t tmpfs x /tmp 2>&1; unshare -U true 2>&1; chroot / true && echo chroot"

        ordinary = self._run(script=attempts)
        admin = self._run("--cap-add", "SYS_ADMIN", script="mount -t tmpfs x /tmp && echo mounted; unshare -U true && echo unshared")
        dropped = self._run("--cap-drop", "ALL", script="chroot / true 2>&1")

        self.assertEqual(ordinary.count("ermi"), 2, ordinary)
        self.assertIn("chroot", ordinary.splitlines())
        self.assertEqual(admin.split(), ["mounted", "unshared"])
        self.assertIn("not permitted", dropped)

    def test_a_profile_chooses_the_error(self):
        self.assertIn("Address", self._run(*self._profile(deny("mkdir")), script="mkdir /x 2>&1"))
        other = deny("mkdir", includes={"caps": ["CAP_SYS_ADMIN"]})
        self.assertEqual(self._run(*self._profile(other), script="mkdir /x && echo made"), "made")
        self.assertIn("Address", self._run("--cap-add", "SYS_ADMIN", *self._profile(other), script="mkdir /x 2>&1"))
        newer = deny("mkdir", includes={"minKernel": "7.0"})
        self.assertEqual(self._run(*self._profile(newer), script="mkdir /x && echo made"), "made")

    def test_a_profile_sees_arguments(self):
        profile = deny("personality", args=[{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}])
        script = "linux32 true; echo $?; linux64 true; echo $?"

        self.assertEqual(self._run(*self._profile(profile), script=script).split()[-1], "0")
        self.assertNotEqual(self._run(*self._profile(profile), script="linux32 true 2>/dev/null; echo $?"), "0")

    def test_a_profile_can_kill(self):
        profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"name": "mkdir", "action": "SCMP_ACT_KILL_PROCESS"}]}

        self.assertEqual(self._run(*self._profile(profile), script="mkdir /x; echo $?"), "159")

    def test_a_restrictive_profile_runs_what_it_allows(self):
        names = ("execve brk arch_prctl exit_group exit write mmap munmap mprotect set_tid_address set_robust_list rseq "
                 "prlimit64 readlink readlinkat getrandom getuid fstat newfstatat ioctl openat open read close "
                 "rt_sigaction rt_sigprocmask")
        profile = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names.split(), "action": "SCMP_ACT_ALLOW"}]}

        self.assertEqual(output("run", "--rm", *self._profile(profile), "busybox", "echo", "fine"), "fine")

    def test_a_profile_is_kept_across_a_restart_and_shown(self):
        option = self._profile(deny("mkdir"))
        container = output("run", "-d", *option, "busybox", "sh", "-c", "mkdir /x 2>&1; sleep 1000")
        shown = json.loads(output("inspect", "-f", "{{json .HostConfig.SecurityOpt}}", container))

        docker("restart", "-t", "0", container)

        self.assertEqual([json.loads(one.partition("=")[2]) for one in shown], [deny("mkdir")])
        self.assertIn("Address", docker("exec", container, "mkdir", "/y", check=False).stderr.decode())

    def test_wrong_profiles_are_errors_at_start_that_say_what_is_wrong(self):
        self.assertIn("is not a valid action", self._refused({"defaultAction": "ALLOW"}))
        self.assertIn("SCMP_ACT_NOTIFY is not supported", self._refused({"defaultAction": "SCMP_ACT_NOTIFY"}))
        self.assertIn("Decoding seccomp profile failed", self._refused({"defaultAction": 5}))
        self.assertIn("use either 'name' or 'names'", self._refused({**deny("mkdir"), "syscalls": [{"name": "rmdir", "names": ["mkdir"], "action": "SCMP_ACT_KILL"}]}))
        many = [{"name": "mkdir", "action": "SCMP_ACT_KILL", "args": [{"index": 1, "op": "SCMP_CMP_EQ", "value": n}]}
                for n in range(3000)]
        self.assertIn("more than", self._refused({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": many}))

    def test_copying_files_is_not_filtered(self):
        profile = deny("openat")
        container = output("create", *self._profile(profile), "busybox", "true")

        copied = docker("cp", f"{container}:/etc/passwd", "-")

        self.assertIn(b"root", copied.stdout)

    def test_info_names_the_profile(self):
        self.assertIn("name=seccomp,profile=builtin", json.loads(output("info", "-f", "{{json .SecurityOptions}}")))


if __name__ == "__main__":
    unittest.main()
