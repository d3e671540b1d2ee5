"""The container host under test, seen from outside: the docker client, and commands on the host itself.

DOCKER_HOST names the endpoint. CONTAINERVM_ON_HOST is the command prefix that runs a program on the
host that holds the machines (inside the emulated machine, or here on a native host).
"""

import os
import shlex
import subprocess
import time
import unittest

from harness.docker_api import Api, socket_path

# Seconds; of a hang, not of slowness: a machine that is busy with other things needs more.
TIMEOUT = int(os.environ.get("TEST_PATIENCE", "180"))


def docker(*arguments, stdin=None, check=True, timeout=TIMEOUT):
    """Runs the stock client; returns the CompletedProcess (bytes)."""
    done = subprocess.run(["docker", *arguments], input=stdin, capture_output=True,
                          timeout=timeout, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: exit code {done.returncode}: "
                             f"{done.stderr.decode(errors='replace').strip()}")
    return done


def output(*arguments, **options):
    """The client's standard output as text, without the last newline."""
    return docker(*arguments, **options).stdout.decode().rstrip("\n")


def refused(*arguments):
    """What the client says of a request that fails."""
    done = docker(*arguments, check=False)
    if done.returncode == 0:
        raise AssertionError(f"docker {' '.join(arguments)} was not refused")
    return done.stderr.decode()


def host_command(*command):
    """The command here that runs `command` on the host that holds the machines."""
    return [*shlex.split(os.environ.get("CONTAINERVM_ON_HOST", "")), *command]


def on_host(*command, check=True):
    """Runs a program on the host that holds the machines; its standard output as text."""
    done = subprocess.run(host_command(*command), capture_output=True, timeout=TIMEOUT, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def api(version="v1.41"):
    return Api(socket_path(), timeout=TIMEOUT, version=version)


def host_state():
    """What a container may have left. The pool of machines in advance is part of it, so it is compared."""
    state = api().get("/info")["DockerRootDir"]
    counts = {
        "file servers": "pgrep -c containervm-fil || test $? = 1",
        "monitors": "pgrep -c containervm-vmm || test $? = 1",
        "taps": "ls /sys/class/net | wc -l",
        "machines": f"ls '{state}/run/machines' | wc -l",
        "containers": f"ls '{state}/containers' | wc -l",
        "volumes": f"ls -A '{state}/volumes' | wc -l",
        "groups": "ls -d /sys/fs/cgroup/containervm-*/* | grep -c /machine- || test $? = 1",
        "rules": "nft list ruleset | wc -l",
    }
    lines = on_host("sh", "-c", "\n".join(counts.values())).split()
    return dict(zip(counts, lines, strict=True))


def settle(wanted=None):
    """Teardown is off the critical path: give it a bounded time, until host_state() is `wanted` or stays."""
    deadline = time.monotonic() + TIMEOUT
    last = host_state()
    while time.monotonic() < deadline:
        time.sleep(1)
        now = host_state()
        if now == (wanted or last):
            return
        last = now


def steady_state():
    """host_state() with full pools: starts that failed take from the pool of taps, and only a start fills it again."""
    output("run", "--rm", "busybox", "true")
    settle()
    return host_state()


class HostTest(unittest.TestCase):
    """Removes, after each test, every container that it left."""

    def setUp(self):
        self._before = set(output("ps", "-aq", "--no-trunc").split())

    def tearDown(self):
        self.remove_left()

    def remove_left(self):
        left = set(output("ps", "-aq", "--no-trunc").split()) - self._before
        if left:
            docker("rm", "-f", "-v", *left, check=False)


class TidyHostTest(HostTest):
    """Looks, after all tests of a class, whether they have left anything of machines or files."""

    @classmethod
    def setUpClass(cls):
        cls.before = steady_state()

    @classmethod
    def tearDownClass(cls):
        settle(cls.before)
        after = host_state()
        if after != cls.before:
            raise AssertionError(f"left behind: {cls.before} before, {after} after")
