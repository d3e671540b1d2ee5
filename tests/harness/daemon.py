"""The daemon of the host under test as a process: ends it, any way, and starts it again as it was."""

import os

from harness.docker_api import ApiError
from harness.host import api, on_host

# What a client sees while there is no daemon, or while it ends under the client's hands.
GONE = (OSError, EOFError)
PATIENCE = 120
SERVICE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "api/service")


def was_cut_off(error):
    """Whether `error` is that of a client whose daemon went away in the middle."""
    if isinstance(error, ApiError):
        return error.status == 0
    # http.client raises its own kinds where an answer ends too early.
    return isinstance(error, GONE) or type(error).__module__ in ("http.client", "json.decoder")


class Daemon:
    """Knows its command line, so that it can be started again: by api/service, as the host's own verbs do.

    Needs a daemon that answers.
    """

    def __init__(self):
        self.state = api().get("/info")["DockerRootDir"]
        self.pid = self._find()
        command = on_host("cat", f"/proc/{self.pid}/cmdline").rstrip("\0").split("\0")
        end = command.index("--state")  # the service adds it and the socket itself
        if command[end + 2] != "--socket" or len(command) != end + 4:
            raise AssertionError(f"not started by api/service: {command}")
        self.command, self.socket = command[:end], command[end + 3]

    def _find(self):
        """By the file of the service: a pid that was used again would be another's."""
        pid, begun = on_host("cat", f"{self.state}/containervmd.pid").split()
        stat = on_host("cat", f"/proc/{pid}/stat")
        if stat.rpartition(") ")[2].split()[19] != begun:
            raise AssertionError(f"no daemon of {self.state} runs")
        return int(pid)

    def end(self, signal="KILL"):
        """Returns when the process is gone."""
        on_host("sh", "-c", f"kill -{signal} {self.pid}; n=0; "
                f"while kill -0 {self.pid} 2>/dev/null && [ $n -lt {PATIENCE * 10} ]; do sleep 0.1; n=$((n+1)); done")

    def start(self, *more):
        """Starts it and waits until it answers. `more`: options besides those it had."""
        on_host(SERVICE, "start", self.state, self.socket, *self.command, *more)
        api().get("/version")
        self.pid = self._find()

    def revive(self):
        """Starts it if it does not answer: for the end of a test."""
        try:
            api().get("/version")
        except OSError:
            self.start()

    def restart(self, signal="KILL", *more):
        self.end(signal)
        self.start(*more)
