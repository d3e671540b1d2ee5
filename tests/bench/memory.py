"""What idle containers cost the host: everything, measured from outside the processes.

The figure is the growth of (MemTotal - MemAvailable) from before the first of N `sleep` containers to
after the last, divided by N. Page cache that the kernel could drop does not count; page tables, kernel
objects, monitors, shims, guests' private pages and the daemon's own growth do. Pages of a template
that are mapped by many clones are shared and counted once, in the first container, which is started
before the measurement and reported separately.
"""

import time

from bench.contenders import IMAGE


def used_bytes():
    fields = {}
    with open("/proc/meminfo", encoding="ascii") as lines:
        for line in lines:
            name, value = line.split(":")
            fields[name] = int(value.split()[0]) * 1024
    return fields["MemTotal"] - fields["MemAvailable"]


def settled_used_bytes():
    """The least of several readings after the page cache was dropped: transients don't count."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
        drop.write("3")
    readings = []
    for _ in range(6):
        time.sleep(1)
        readings.append(used_bytes())
    return min(readings)


def start_sleeper(api):
    container = api.create(IMAGE, ["sleep", "100000"])
    api.post(f"/containers/{container}/start")
    return container


def idle_memory(contender, count):
    """{bytes_each, first_bytes, n} for `count` sleeping containers beside a first one."""
    api = contender.api
    containers = []
    try:
        empty = settled_used_bytes()
        containers.append(start_sleeper(api))
        before = settled_used_bytes()
        for _ in range(count):
            containers.append(start_sleeper(api))
        after = settled_used_bytes()
        alive = [c for c in containers
                 if api.get(f"/containers/{c}/json")["State"]["Running"]]
        if len(alive) != len(containers):
            raise RuntimeError(f"{contender.name}: {len(containers) - len(alive)} sleepers ended")
    finally:
        for container in containers:
            api.delete(f"/containers/{container}", force=1)
    return {"bytes_each": round((after - before) / count), "first_bytes": before - empty,
            "n": count}


def describe(results):
    lines = ["memory of an idle container [MiB each, beyond the first; first one with what all share]"]
    width = max(len(name) for name in results)
    for name, row in results.items():
        lines.append(f"  {name:{width}} {row['bytes_each'] / 2**20:>8.2f} x {row['n']}"
                     f"   first {row['first_bytes'] / 2**20:.1f}")
    return "\n".join(lines)


