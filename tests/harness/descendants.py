"""Runs a function in a child process and leaves none of the processes that came of it, whatever session they are in.

What a test file starts may outlive it by intent: the emulated machine's supervisor does. A file that was stopped in
the middle must not leave such a process to the files after it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def run_alone(function):
    """The exit status of `function`. SIGTERM, also that of a parent that dies, ends everything at once."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)  # whose parent ends becomes a child of this process
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGTERM, _stop)
    child = None
    try:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            return function()
        return _status_of(child)
    finally:
        if child != 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            _end_children()


def _stop(number, _frame):
    """A second signal must not interrupt what the first began."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def _prctl(option, value):
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _status_of(child):
    """Waits for it; those that became children meanwhile are not left as zombies, which others would see."""
    while True:
        pid, status = os.wait()
        if pid == child:
            return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end_children():
    """Each that ends may leave its own children to this process, so it goes on until there are none."""
    while True:
        with open("/proc/thread-self/children", encoding="ascii") as children:
            for pid in children.read().split():
                os.kill(int(pid), signal.SIGKILL)
        try:
            os.wait()
        except ChildProcessError:
            return
