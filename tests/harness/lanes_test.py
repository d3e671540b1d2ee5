#!/usr/bin/python3
"""`tests/run` on hosts that only answer: what is shared out, what is noted, and that no process stays of a file."""

import collections
import http.server
import os
import pathlib
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest

RUN = pathlib.Path(__file__).resolve().parents[1] / "run"
HEAD = """
import os, pathlib, subprocess, sys, time, unittest
HERE = pathlib.Path(__file__).parent
HOST = os.environ.get("CONTAINERVM_STATE", "")
def wait_for(name):
    while not (HERE / name).exists():
        time.sleep(0.01)
class T(unittest.TestCase):
    def test(self):
"""
# Starts what outlives it, in a session of its own.
STRAY = "subprocess.Popen(['setsid', '--fork', 'sleep', '31536000'], cwd=HERE).wait()\n"


class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self):  # pylint: disable=invalid-name
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


def processes_in(directory):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and os.readlink(entry / "cwd") == str(directory):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


class LanesTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="cvm-lanes-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.results = self.directory / "results"

    def _host(self, name):
        """A host that answers pings until `<name>/docker.sock` goes away."""
        state = self.directory / name
        state.mkdir()
        server = socketserver.ThreadingUnixStreamServer(str(state / "docker.sock"), Ping)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return state

    def _file(self, name, body):
        path = self.directory / name
        path.write_text(HEAD + textwrap.indent(body, "        "), encoding="utf-8")
        return path

    def _command(self, files, *options):
        return [sys.executable, RUN, "--results", self.results, *options, *files]

    def _run(self, files, *options):
        return subprocess.run(self._command(files, *options), capture_output=True, text=True, timeout=120, check=False)

    def _verdicts(self):
        """How often each verdict came, by file."""
        rows = (line.split(None, 2) for line in self.results.read_text().splitlines())
        return collections.Counter((verdict, os.path.basename(name.rstrip(":"))) for verdict, name, *_ in rows)

    def _hosts(self, *names):
        return [option for name in names for option in ("--host", self._host(name))]

    def test_two_hosts_run_files_at_the_same_time(self):
        # Each waits for the other, so one after the other they would hang.
        files = [self._file(f"{a}.py", f"(HERE / 'ran-{a}').touch()\nwait_for('ran-{b}')\nprint('on', HOST)")
                 for a, b in (("a", "b"), ("b", "a"))]

        done = self._run(files, *self._hosts("one", "two"))

        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self._verdicts(), {("pass", "a.py"): 1, ("pass", "b.py"): 1})
        for name in ("one", "two"):
            self.assertIn(f"on {self.directory}/{name}\n", done.stdout)

    def test_the_output_of_a_file_is_in_one_piece(self):
        files = [self._file(f"{a}.py", f"(HERE / 'ran-{a}').touch()\nwait_for('ran-{b}')\n"
                                       f"print()\nfor i in range(200): print('{a}', i, flush=True)") for a, b in (("a", "b"), ("b", "a"))]

        done = self._run(files, *self._hosts("one", "two"))

        said = [line.split()[0] for line in done.stdout.splitlines() if line[:2] in ("a ", "b ")]
        self.assertEqual(sum(one != other for one, other in zip(said, said[1:])), 1)
        self.assertEqual(len(said), 400)

    def test_a_file_that_fails_or_breaks_is_a_failure_by_its_name(self):
        files = [self._file("fails.py", "self.fail('x')"), self._file("exits.py", "os._exit(3)"),
                 self._file("passes.py", "pass")]

        done = self._run(files, *self._hosts("one", "two"))

        self.assertEqual(done.returncode, 1)
        self.assertEqual(self._verdicts(), {("fail", "fails.py"): 1, ("fail", "exits.py"): 1, ("pass", "passes.py"): 1})

    def test_a_file_that_hangs_is_a_failure_and_leaves_no_process(self):
        hangs = self._file("hangs.py", STRAY + "os.chdir(HERE)\ntime.sleep(31536000)")

        done = self._run([hangs], "--timeout", "3")

        self.assertEqual(done.returncode, 1)
        self.assertIn("hangs.py: did not end within 3 s", self.results.read_text())
        self.assertEqual(processes_in(self.directory), [])

    def test_a_file_that_ends_leaves_no_process(self):
        self.assertEqual(self._run([self._file("ends.py", STRAY)]).returncode, 0)

        self.assertEqual(processes_in(self.directory), [])

    def test_a_signal_leaves_no_process(self):
        files = [self._file(f"{name}.py", STRAY + f"os.chdir(HERE)\n(HERE / 'ran-{name}').touch()\ntime.sleep(31536000)")
                 for name in ("a", "b")]
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(number), \
                    tempfile.TemporaryDirectory(prefix="cvm-lanes-") as temporary, \
                    subprocess.Popen(self._command(files, *self._hosts(f"one{number}", f"two{number}")),
                                     env=dict(os.environ, TMPDIR=temporary)) as running:
                for name in ("a", "b"):
                    while not (self.directory / f"ran-{name}").exists():
                        time.sleep(0.01)
                    (self.directory / f"ran-{name}").unlink()

                running.send_signal(number)

                self.assertEqual(running.wait(60), 128 + number)
                self.assertEqual(processes_in(self.directory), [])
                self.assertEqual(os.listdir(temporary), [])

    def test_a_host_that_goes_away_ends_its_lane_and_no_file_is_lost(self):
        gone = self._file("gone.py", "(HERE / 'one' / 'docker.sock').unlink()")
        files = [gone, *(self._file(f"{name}.py", "pass") for name in "abc")]

        done = self._run(files, *self._hosts("one"), "--patience", "1")

        self.assertEqual(done.returncode, 1)
        self.assertIn("fail host 1: does not answer after", self.results.read_text())
        verdicts = self._verdicts()
        self.assertEqual([verdicts["skip", f"{name}.py"] for name in "abc"], [1, 1, 1])

    def test_the_longest_begins_and_what_is_not_known_before_it(self):
        files = [self._file(f"{name}.py", "pass") for name in ("short", "long", "new")]
        seconds = self.directory / "seconds"
        names = {path.stem: os.path.relpath(path, RUN.parent) for path in files}
        seconds.write_text(f"3 {names['short']}\n70 {names['long']}\n9 gone.py\n", encoding="utf-8")

        done = self._run(files, "--seconds", seconds)

        began = [line.removeprefix("-- ") for line in done.stdout.splitlines() if line.startswith("-- ")]
        self.assertEqual(began, [names[name] for name in ("new", "long", "short")])
        self.assertEqual({line.split()[1] for line in seconds.read_text().splitlines()}, set(names.values()))

    def test_what_would_not_end_in_time_is_skipped_and_begins_the_next_time(self):
        files = [self._file(f"{name}.py", "pass") for name in ("short", "long", "longer")]
        seconds = self.directory / "seconds"
        names = {path.stem: os.path.relpath(path, RUN.parent) for path in files}
        seconds.write_text(f"3 {names['short']}\n700 {names['long']}\n7000 {names['longer']}\n", encoding="utf-8")

        done = self._run(files, "--seconds", seconds, "--within", "1000")

        self.assertEqual(done.returncode, 0)
        self.assertIn(f"skip {names['longer']}: the time that was left is too short for it\n", self.results.read_text())
        self.assertEqual(self._verdicts(), {("pass", "short.py"): 1, ("pass", "long.py"): 1, ("skip", "longer.py"): 1})

        done = self._run(files, "--seconds", seconds)

        self.assertTrue(done.stdout.startswith(f"-- {names['longer']}\n"), done.stdout)


if __name__ == "__main__":
    unittest.main()
