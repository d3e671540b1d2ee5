"""Programs of GoogleTest tests that need the host, each test as one of a Python class."""

import subprocess


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
