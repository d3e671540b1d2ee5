#!/usr/bin/python3
"""Which system calls the threads of a monitor make once they are narrowed, as a tracer sees them.

As a program, as root: `system_calls.py PID...` follows these processes, which have no machine yet, until they have
ended. It prints a line when it does follow them, then JSON: for each process a list of [thread, call, times]. The name
of a thread is its own; of a call the kernel's, with the number of the request for ioctl ("ioctl 0xae80").
A thread is narrowed when it has installed a filter. x86-64 only. Spec: ptrace(2), PTRACE_GET_SYSCALL_INFO.
"""

import collections
import ctypes
import json
import os
import re
import signal
import sys

PTRACE_SYSCALL = 24
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
PTRACE_GET_SYSCALL_INFO = 0x420e
OPTIONS = 0x1 | 0x8  # TRACESYSGOOD, TRACECLONE
ENTRY, EXIT = 1, 2
WALL = 0x40000000  # __WALL: threads, too
HEADERS = ("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "/usr/include/asm/unistd_64.h")

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long


class SyscallInfo(ctypes.Structure):
    """struct ptrace_syscall_info; `values` are the number and the arguments, or the result."""
    _fields_ = [("op", ctypes.c_uint8), ("pad", ctypes.c_uint8 * 3), ("arch", ctypes.c_uint32),
                ("instruction", ctypes.c_uint64), ("stack", ctypes.c_uint64), ("values", ctypes.c_uint64 * 8)]


def names():
    """The kernel's names of calls by number."""
    path = next(path for path in HEADERS if os.path.exists(path))
    with open(path, encoding="utf-8") as file:
        return {int(number): name for name, number in re.findall(r"#define __NR_(\w+) (\d+)", file.read())}


def identity(tid):
    """The process of a thread, and the thread's name."""
    with open(f"/proc/{tid}/status", encoding="utf-8") as file:
        status = file.read()
    return int(re.search(r"^Tgid:\s*(\d+)", status, re.M)[1]), re.search(r"^Name:\s*(\S+)", status, re.M)[1]


def ptrace(request, tid, address=0, data=0):
    """False: the thread has ended meanwhile (killed, it may do that at any time)."""
    if libc.ptrace(request, tid, address, data) >= 0:
        return True
    number = ctypes.get_errno()
    if number == 3:  # ESRCH
        return False
    raise OSError(number, os.strerror(number))


class Tracer:
    def __init__(self, pids):
        self.names = names()
        self.counts = {pid: collections.Counter() for pid in pids}
        self.narrowed = {}  # of threads that are: their process and their name
        self.call = {}  # that a thread is inside of
        for pid in pids:
            for tid in map(int, os.listdir(f"/proc/{pid}/task")):
                ptrace(PTRACE_SEIZE, tid, 0, OPTIONS)
                ptrace(PTRACE_INTERRUPT, tid)

    def run(self):
        while True:
            try:
                tid, status = os.waitpid(-1, WALL)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                ptrace(PTRACE_SYSCALL, tid, 0, self.stopped(tid, os.WSTOPSIG(status), status >> 16))

    def stopped(self, tid, number, event):
        """The signal that the thread goes on with."""
        if number == signal.SIGTRAP | 0x80:
            self.at_call(tid)
            return 0
        return 0 if event else number

    def at_call(self, tid):
        info = SyscallInfo()
        if not ptrace(PTRACE_GET_SYSCALL_INFO, tid, ctypes.sizeof(info), ctypes.addressof(info)):
            return
        if info.op == ENTRY:
            name = self.names.get(info.values[0], str(info.values[0]))
            if name == "ioctl":
                name += f" {info.values[2] & 0xffffffff:#x}"
            self.call[tid] = name
            if tid in self.narrowed:
                pid, thread = self.narrowed[tid]
                self.counts[pid][thread, name] += 1
        elif info.op == EXIT and self.call.pop(tid, None) == "seccomp" and info.values[0] == 0:
            self.narrowed[tid] = identity(tid)


def main(pids):
    tracer = Tracer(pids)
    print("following", flush=True)
    tracer.run()
    print(json.dumps({pid: [[thread, call, times] for (thread, call), times in sorted(counts.items())]
                      for pid, counts in tracer.counts.items()}))


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
