#!/usr/bin/python3
"""The emulated machine: what `containervm machine exec` passes through, and that nothing is left of it."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = [str(ROOT / "containervm"), "machine"]
START_TIMEOUT = 300


def processes_with(text):
    """Pids of processes whose command line holds `text`."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if text in line:
                found.append(int(entry.name))
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


class MachineTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory(prefix="cvm-")
        cls.state = cls.directory.name
        cls.environment = dict(os.environ, CONTAINERVM_STATE=cls.state,
                               CONTAINERVM_MACHINE_MEMORY="512", CONTAINERVM_MACHINE_DISK="1G")
        cls.machine("start", timeout=START_TIMEOUT, check=True)

    @classmethod
    def tearDownClass(cls):
        cls.machine("stop")
        cls.directory.cleanup()

    @classmethod
    def machine(cls, *arguments, check=False, timeout=120, **options):
        done = subprocess.run([*COMMAND, *arguments], env=cls.environment, timeout=timeout,
                              capture_output=True, check=False, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"machine {arguments}: {done.stderr.decode(errors='replace')}")
        return done

    def execute(self, *command, **options):
        return self.machine("exec", "-C", "/", "--", *command, **options)

    def supervisor(self):
        return int((pathlib.Path(self.state) / "machine" / "pid").read_text().split()[0])

    def test_has_a_kvm_that_runs_an_ordinary_guest(self):
        probe = ROOT / "build/release/vmm/emulated/containervm-kvm-probe"

        done = self.execute(str(probe))

        self.assertEqual(done.returncode, 0, done.stdout)

    def test_goes_on_when_the_emulator_loses_a_timer_interrupt(self):
        check = ROOT / "build/release/tests/lost_interrupt_check"

        done = self.execute(str(check), "150000")

        self.assertEqual((done.returncode, done.stdout), (0, b"150000 timers fired\n"), done.stderr)

    def test_keeps_the_emulator_on_one_processor(self):
        supervisor = self.supervisor()
        children = pathlib.Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()

        allowed = {frozenset(os.sched_getaffinity(int(task.name)))
                   for child in children for task in pathlib.Path(f"/proc/{child}/task").iterdir()}

        self.assertEqual([len(processors) for processors in allowed], [1])

    def test_passes_streams_and_the_exit_status_through(self):
        done = self.execute("sh", "-c", "cat; echo bad >&2; exit 5", input=b"good\n")

        self.assertEqual((done.stdout, done.stderr, done.returncode), (b"good\n", b"bad\n", 5))

    def test_dies_of_the_signal_the_command_died_of(self):
        self.assertEqual(self.execute("sh", "-c", "kill -TERM $$").returncode, -signal.SIGTERM)

    def test_a_missing_command_is_127(self):
        self.assertEqual(self.execute("no-such-command").returncode, 127)

    def test_carries_many_bytes_both_ways_unchanged(self):
        data = os.urandom(4 << 20)

        self.assertEqual(self.execute("cat", input=data).stdout, data)

    def test_a_killed_client_takes_its_command_along(self):
        client = subprocess.Popen([*COMMAND, "exec", "--", "sh", "-c", "echo started; exec sleep 4321"],
                                  env=self.environment, stdout=subprocess.PIPE)
        self.assertEqual(client.stdout.readline(), b"started\n")

        client.kill()
        client.wait()
        client.stdout.close()

        self.assertTrue(wait_until(lambda: self.execute("pgrep", "-f", "sleep 4321").returncode == 1))

    def test_the_hosts_files_cannot_be_changed_from_inside(self):
        target = pathlib.Path(self.state) / "untouched"
        target.write_text("host\n")
        self.addCleanup(target.unlink)

        self.execute("sh", "-c", f"echo guest >{target}; echo guest >/var/cvm-from-inside")

        self.assertEqual(target.read_text(), "host\n")
        self.assertFalse(pathlib.Path("/var/cvm-from-inside").exists())

    def test_its_secrets_are_its_owners(self):
        directory = pathlib.Path(self.state) / "machine"

        self.assertEqual(directory.stat().st_mode & 0o777, 0o700)
        self.assertEqual((directory / "token").stat().st_mode & 0o777, 0o600)
        self.assertNotIn(b"token=", pathlib.Path(f"/proc/{self.supervisor()}/cmdline").read_bytes())

    def test_a_second_start_does_nothing(self):
        before = self.supervisor()

        self.machine("start", check=True)

        self.assertEqual(self.supervisor(), before)

    def test_the_disk_outlives_a_restart_and_the_rest_does_not(self):
        self.execute("sh", "-c", "echo kept >/var/lib/containervm/kept; echo lost >/etc/lost", check=True)

        self.machine("stop", check=True)
        self.machine("start", timeout=START_TIMEOUT, check=True)

        self.assertEqual(self.execute("cat", "/var/lib/containervm/kept").stdout, b"kept\n")
        self.assertEqual(self.execute("test", "-e", "/etc/lost").returncode, 1)

    def test_nothing_is_left_when_the_supervisor_is_killed_and_it_starts_again(self):
        os.kill(self.supervisor(), signal.SIGKILL)

        self.assertTrue(wait_until(lambda: not processes_with(f"{self.state}/machine/state.img")))
        self.assertEqual(self.machine("status").returncode, 1)
        self.machine("start", timeout=START_TIMEOUT, check=True)
        self.assertEqual(self.execute("true").returncode, 0)

    def test_a_killed_emulator_ends_the_supervisor_and_leaves_no_socket(self):
        supervisor = self.supervisor()
        for pid in processes_with(f"{self.state}/machine/state.img"):
            if pid != supervisor:
                os.kill(pid, signal.SIGKILL)

        self.assertTrue(wait_until(lambda: self.machine("status").returncode == 1))
        self.assertFalse((pathlib.Path(self.state) / "docker.sock").exists())
        self.machine("start", timeout=START_TIMEOUT, check=True)

    def test_stop_leaves_no_process_and_no_socket(self):
        self.machine("stop", check=True)

        self.assertEqual(processes_with(self.state + "/machine"), [])
        self.assertFalse((pathlib.Path(self.state) / "docker.sock").exists())
        self.assertFalse((pathlib.Path(self.state) / "machine" / "token").exists())
        self.machine("start", timeout=START_TIMEOUT, check=True)


if __name__ == "__main__":
    unittest.main()
