#!/usr/bin/python3
"""What processes of a host may do, as the kernel tells it, and what vmm/sandbox/PROTECTIONS.md says.

As a program, as root on the host that holds the machines: `protections.py STATE` prints the processes of the daemon
of that state directory as JSON, one object each.
"""

import fnmatch
import json
import os
import pathlib
import re
import sys
import time

DOCUMENT = pathlib.Path(__file__).resolve().parents[2] / "vmm" / "sandbox" / "PROTECTIONS.md"
PROGRAMS = ("containervmd", "containervm-vmm", "containervm-lay", "containervm-fil")  # as the kernel cuts them
KERNELS_OWN = "kvm-nx-lpage"  # a thread that KVM adds to a process on some processors: it runs nothing of the process
SETS = ("CapPrm", "CapEff", "CapInh", "CapAmb")
# linux/capability.h's first ones, by their numbers; the others have only numbers here.
CAPABILITIES = ("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid")
NAMED = {**dict(enumerate(CAPABILITIES)), 31: "setfcap"}
WAIT = 120  # seconds


# --- the document

def table(section):
    """The rows of the first table below `## section`, each a dict by column."""
    text = DOCUMENT.read_text(encoding="utf-8").split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


# --- the kernel's word

def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def status(path):
    """The fields of a /proc/.../status."""
    return {name: value.strip() for name, _, value in
            (line.partition(":") for line in read(path).splitlines())}


def capabilities(fields, names):
    everything = (1 << (int(read("/proc/sys/kernel/cap_last_cap")) + 1)) - 1
    values = {name: int(fields[name], 16) for name in names}
    if not any(values.values()):
        return "none"
    held = {value for name, value in values.items() if name not in ("CapInh", "CapAmb")}
    if held == {everything}:
        return "all"
    if len(held) > 1 or values.get("CapInh") or values.get("CapAmb"):
        return str(values)
    (bits,) = held
    return " ".join(NAMED.get(number, str(number)) for number in range(64) if bits >> number & 1)


def thread(path):
    fields = status(f"{path}/status")
    ids = {number for name in ("Uid", "Gid") for number in fields[name].split()}
    return {"thread": read(f"{path}/comm").strip(),
            "uid": ids.pop() if len(ids) == 1 else f"Uid {fields['Uid']} Gid {fields['Gid']}",
            "capabilities": capabilities(fields, SETS),
            "bounding set": capabilities(fields, ("CapBnd",)),
            "no_new_privs": fields["NoNewPrivs"],
            "filters": fields["Seccomp_filters"]}


def namespaces(pid):
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in os.listdir(f"/proc/{pid}/ns")
            if not name.endswith("_for_children")}


def root(pid):
    seen = os.stat(f"/proc/{pid}/root")
    host = os.stat("/")
    if (seen.st_dev, seen.st_ino) == (host.st_dev, host.st_ino):
        return "the host's"
    return "empty" if not os.listdir(f"/proc/{pid}/root") else "another"


def descriptor(pid, number):
    flags = int(re.search(r"^flags:\s*([0-7]+)", read(f"/proc/{pid}/fdinfo/{number}"), re.M)[1], 8)
    return {"target": os.readlink(f"/proc/{pid}/fd/{number}"),
            "access": "read" if flags & os.O_ACCMODE == os.O_RDONLY else "yes"}


def process(pid, daemon):
    """What is known of one; namespaces as compared with the process `daemon`."""
    common = namespaces(daemon)
    own = sorted(name for name, target in namespaces(pid).items() if target != common[name])
    unified = [line for line in read(f"/proc/{pid}/cgroup").splitlines() if line.startswith("0::")]
    shared = {"namespaces": " ".join(own) or "none", "root": root(pid),
              "cgroup": os.path.basename(unified[0]) if unified else "none",
              "oom_score_adj": read(f"/proc/{pid}/oom_score_adj").strip()}
    tasks = [task for task in os.listdir(f"/proc/{pid}/task")
             if not read(f"/proc/{pid}/task/{task}/comm").startswith(KERNELS_OWN)]
    return {"pid": int(pid), "name": read(f"/proc/{pid}/comm").strip(),
            "threads": [{**thread(f"/proc/{pid}/task/{task}"), **shared} for task in tasks],
            "descriptors": [descriptor(pid, number) for number in os.listdir(f"/proc/{pid}/fd")]}


def named(name, daemon):
    """Pids of that program which descend from `daemon`, or are it."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if read(f"/proc/{pid}/comm").strip() == name and (
                    pid == daemon or status(f"/proc/{pid}/status")["PPid"] == daemon):
                found.append(pid)
        except OSError:
            continue  # it has just ended
    return found


def wait_for(name, daemon):
    """A process of that name when it has entered its sandbox."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        for pid in named(name, daemon):
            try:
                if status(f"/proc/{pid}/status")["Seccomp"] == "2":
                    return process(pid, daemon)
            except OSError:
                continue
    raise SystemExit(f"no {name} in its sandbox within {WAIT} s")


# --- one compared with the other

def kind(found):
    if found["name"] != "containervm-vmm":
        return {"containervm-lay": "containervm-layer",
                "containervm-fil": "containervm-fileserver"}.get(found["name"], found["name"])
    runs = any(thread["thread"] == "vcpu" for thread in found["threads"])
    return "monitor that runs" if runs else "monitor that waits"


def thread_differences(found, uids, columns=None):
    """What the threads of a process are other than "Threads" says; empty if all is as it says."""
    rows = [row for row in table("Threads") if row["process"] == kind(found)]
    differences = []
    for thread in found["threads"]:
        row = next((row for row in rows if row["thread"] in (thread["thread"], "all")), None)
        if row is None:
            differences.append(f"{kind(found)}: thread {thread['thread']} is not in the table")
            continue
        for column in columns or [name for name in row if name not in ("process", "thread")]:
            wanted, is_so = row[column], thread[column]
            as_wanted = is_so.isdigit() and int(is_so) in uids if wanted == "range" else \
                fnmatch.fnmatchcase(is_so, wanted)
            if not as_wanted:
                differences.append(f"{kind(found)}, {thread['thread']}: {column}: {is_so}, not {wanted}")
    missing = {row["thread"] for row in rows} - {thread["thread"] for thread in found["threads"]} - {"all"}
    differences += [f"{kind(found)}: no thread {name}" for name in missing]
    return differences


def matches(target, pattern):
    # Not fnmatch alone: a bracket is a bracket.
    return fnmatch.fnmatchcase(target, pattern.strip("`").replace("[", "[[]"))


def file_server_descriptor_differences(found):
    """Which descriptors "Descriptors of a file server" does not allow it."""
    patterns = [row["descriptor"] for row in table("Descriptors of a file server")]
    return [f"{kind(found)} has {item['target']}" for item in found["descriptors"]
            if not any(matches(item["target"], pattern) for pattern in patterns)]


def descriptor_differences(found):
    """Which descriptors of a monitor "Descriptors of a monitor" does not allow it."""
    column = "runs" if kind(found) == "monitor that runs" else "waits"
    differences = []
    for item in found["descriptors"]:
        row = next((row for row in table("Descriptors of a monitor")
                    if matches(item["target"], row["descriptor"])), None)
        allowed = row is not None and (row[column] == "yes" or row[column] == item["access"])
        if not allowed:
            differences.append(f"{kind(found)} has {item['target']} ({item['access']})")
    return differences


def documented_calls():
    """The system calls of a monitor that runs: a set of threads by name."""
    return {row["call"]: {"device", "disk", "vcpu"} if row["threads"] == "all" else
            set(row["threads"].split(", ")) for row in table("System calls of a monitor that runs")}


def documented_requests():
    """The requests of ioctl that threads of a monitor that runs may make: pairs of thread and request."""
    (row,) = [row for row in table("System calls of a monitor that runs") if row["call"] == "ioctl"]
    by_thread = dict(part.split(": ") for part in row["arguments"].split("; "))
    return {(thread, name) for thread, names in by_thread.items() for name in names.split(", ")}


def main(state):
    daemon = read(f"{state}/containervmd.pid").split()[0]
    for name in PROGRAMS:
        for pid in named(name, daemon):
            print(json.dumps(process(pid, daemon)))


if __name__ == "__main__":
    main(sys.argv[1])
