"""Test files on one host or several: each in a process of its own with a time limit, shared out as hosts get free.

A Lane is a host and the thread that runs files against it. Lanes take the next file from one queue, so a slow host gets
fewer. A host that answers no more ends its lane: it fails by its name once, not in every file that is left. Where the
time for all of them is limited, a file that would not end in it does not begin, and is skipped by its name.
"""

import http.client
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

from harness.docker_api import Api, ApiError

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
END_SECONDS = 60  # for what a stopped file has started


class Journal:
    """Where results and outputs of all lanes come together: whole files, one after the other."""

    def __init__(self, results):
        self._results = results
        self._lock = threading.Lock()
        self.failed = False
        self.seconds = {}

    def note(self, verdict, name, reason):
        with self._lock:
            self._add([f"{verdict} {name}: {reason}\n"])

    def file_ended(self, name, heading, seconds, results, output=None):
        with self._lock:
            self.seconds[name] = seconds
            self._add(results)
            if output is not None:
                print(heading)
                sys.stdout.flush()
                sys.stdout.buffer.write(output)
                sys.stdout.buffer.flush()

    def _add(self, lines):
        self.failed = self.failed or any(line.startswith("fail ") for line in lines)
        with open(self._results, "a", encoding="utf-8") as results:
            results.writelines(lines)


class Lane:
    """`state`: the state directory of its host, or None for the host that the environment names. `patience`: the
    seconds that the host may take to answer between two files."""

    def __init__(self, number, state, patience):
        self.name = f"host {number}" if state else "host"
        self.state = state
        self._patience = patience
        self.environment = dict(os.environ)
        if state:
            self.environment.update(CONTAINERVM_STATE=state, DOCKER_HOST=f"unix://{self._socket()}")

    def _socket(self):
        return os.path.join(self.state, "docker.sock")

    def answers(self):
        """Bounded. Of the host that the environment names nothing is known: not every file needs it."""
        if self.state is None:
            return True
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            try:
                return Api(self._socket(), timeout=self._patience).call("GET", "/_ping")[0] == 200
            except (OSError, http.client.HTTPException, ApiError):
                time.sleep(1)
        return False


class Budget:
    """The time in which all files are to have ended: `seconds` from now, which may be infinite. `known`: how long a
    file took before, by its name."""

    UNKNOWN = 300  # of a file that never ran

    def __init__(self, seconds, known):
        self._end = time.monotonic() + seconds
        self._known = known

    def holds(self, path):
        return time.monotonic() + self._known.get(name_of(path), self.UNKNOWN) <= self._end


class Lanes:
    """`command(path, results)` is the command line that runs one file."""

    def __init__(self, lanes, command, timeout, journal, budget):
        self._lanes = lanes
        self._command = command
        self._timeout = timeout
        self._journal = journal
        self._budget = budget
        self._whole_outputs = len(lanes) > 1
        self._lock = threading.Lock()  # of what follows
        self._queue = []
        self._running = set()
        self._stopped = False

    def run(self, paths):
        """In that order. An exception, such as a signal's, stops what runs first."""
        self._queue = list(paths)
        threads = [threading.Thread(target=self._run_lane, args=(lane,)) for lane in self._lanes]
        try:
            for thread in threads:
                thread.start()
            # Not join(): Python 3.11 takes a thread for ended whose join() was left by an exception.
            while any(thread.is_alive() for thread in threads):
                time.sleep(0.1)
        finally:
            self._stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        for path in self._queue:
            self._journal.note("skip", name_of(path), "no host is left that could run it" if self._budget.holds(path)
                               else "the time that was left is too short for it")

    def _run_lane(self, lane):
        last = "it came up"
        while True:
            if not lane.answers():
                self._journal.note("fail", lane.name, f"does not answer after {last}")
                return
            with self._lock:
                path = None if self._stopped else next(filter(self._budget.holds, self._queue), None)
                if path is None:
                    return
                self._queue.remove(path)
            last = name_of(path)
            try:
                self._run_file(path, lane)
            except Exception as error:  # pylint: disable=broad-except
                self._journal.note("fail", last, f"could not be run: {error!r}")

    def _run_file(self, path, lane):
        name = name_of(path)
        if not self._whole_outputs:
            print(f"-- {name}", flush=True)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="cvm-run-") as directory, \
                open(os.path.join(directory, "output"), "w+b") as output:
            results = os.path.join(directory, "results")
            status = self._wait_for(self._command(path, results), lane, output)
            if status is None:
                return  # stopped: nothing of it counts
            lines = read_lines(results)
            if isinstance(status, str):
                lines.append(f"fail {name}: {status}\n")
            elif status != 0 and not any(line.startswith("fail ") for line in lines):
                lines.append(f"fail {name}: ended with status {status}\n")
            output.seek(0)
            seconds = time.monotonic() - began
            self._journal.file_ended(name, f"-- {name} ({seconds:.0f} s on {lane.name})", seconds, lines,
                                     output.read() if self._whole_outputs else None)

    def _wait_for(self, command, lane, output):
        """The exit status, or in words that there is none. None: it was stopped from outside."""
        with self._lock:
            if self._stopped:
                return None
            streams = {"stdout": output, "stderr": output} if self._whole_outputs else {}
            process = subprocess.Popen(command, env=lane.environment, start_new_session=True, **streams)
            self._running.add(process)
        try:
            status = process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            status = f"did not end within {self._timeout} s"
            end(process)
        with self._lock:
            self._running.discard(process)
            return None if self._stopped else status

    def _stop(self):
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            end(process)


def end(process):
    """The process of a file ends all that came of the file (descendants.py); it is given time for that."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def name_of(path):
    return os.path.relpath(path, HERE)


def read_lines(path):
    try:
        with open(path, encoding="utf-8") as lines:
            return list(lines)
    except FileNotFoundError:
        return []
