"""Programs of the tests that no Debian package has: made once, into the cache of `./containervm test`."""

import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CI = os.path.join(ROOT, "tests/ci")
CACHE = os.environ.get("CONTAINERVM_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "containervm")
TIMEOUT = 840  # what the largest takes to compile on a busy machine


class NoToolchain(Exception):
    """There is none here that could make the program; it says why."""


def python_with(requirements):
    """A Python that has the packages of the file."""
    made = subprocess.run([f"{CI}/python-packages", CACHE, requirements], stdout=subprocess.PIPE, check=True, timeout=TIMEOUT)
    return os.path.join(made.stdout.decode().strip(), "bin/python3")


def go_program(directory):
    """The program of a Go module (tests/ci/go-program)."""
    made = subprocess.run([f"{CI}/go-program", CACHE, directory], capture_output=True, check=False, timeout=TIMEOUT)
    said = made.stderr.decode(errors="replace").strip()
    if made.returncode == 3:
        raise NoToolchain(said)
    if made.returncode != 0:
        raise AssertionError(f"the Go program of {directory} cannot be made: {said[-2000:]}")
    return made.stdout.decode().strip()
