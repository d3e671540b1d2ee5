"""Programs that check something on the host, as Python tests; those of GoogleTest each test as one of a class."""

import os
import pathlib
import shlex
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "release"


def guest_kernel():
    done = subprocess.run([ROOT / "kernel-config" / "build", "--print-path"], capture_output=True, check=True, text=True)
    return done.stdout.strip()


def run_on_host(*command, timeout):
    """The CompletedProcess of a command where the machines are, with its output as text."""
    prefix = shlex.split(os.environ.get("CONTAINERVM_ON_HOST", ""))
    return subprocess.run([*prefix, *command], capture_output=True, timeout=timeout, check=False, text=True)


def add_tests(case, *listing):
    """`listing`: the command, to which --gtest_list_tests is added. case.run_check() gets a test's full name."""
    listed = subprocess.run([*listing, "--gtest_list_tests"], capture_output=True, check=True, text=True)
    suite = ""
    for line in listed.stdout.splitlines():
        if line.startswith(" "):
            name = line.split()[0]
            setattr(case, f"test_{name}", lambda self, full=suite + name: self.run_check(full))
        else:
            suite = line.strip()
