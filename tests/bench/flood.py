"""What others notice of containers that print as fast as they can: `docker version`, and a whole `docker run`, beside four of them.

The floods are of the kinds that cost a log most for each byte that a process prints: empty lines,
lines of 1 MiB, random bytes, and lines in a log that is rotated after every few of them. The daemon's
memory is the peak of the process that listens on the socket (stream.py tells what that leaves out).
"""

import os
import subprocess
import time

from bench.contenders import IMAGE, elapsed_ms
from bench.stream import MIB, listener, peak_bytes, reset_peak

FLOODS = {
    "newlines": ([], "busybox yes ''"),
    "long-lines": ([], "busybox yes $(busybox yes x | busybox head -c 60000 | busybox tr -d '\\n')"),
    "binary": ([], "busybox cat /dev/urandom"),
    "rotation": (["--log-opt", "max-size=1000", "--log-opt", "max-file=1000"], "busybox yes"),
}


def docker(contender, *arguments, **options):
    environment = dict(os.environ, DOCKER_HOST="unix://" + contender.socket)
    return subprocess.run(["docker", *arguments], env=environment, check=True, capture_output=True, text=True, **options)


def timed(contender, *arguments):
    began = time.monotonic()
    docker(contender, *arguments)
    return elapsed_ms(began)


def measure_both(contender, rounds):
    """Milliseconds: ten of `docker version` for each `docker run`."""
    versions, runs = [], []
    for _ in range(rounds):
        versions += [timed(contender, "version") for _ in range(10)]
        runs.append(timed(contender, "run", "--rm", IMAGE, "true"))
    return versions, runs


def measure(contender, rounds, settle_seconds=5):
    """{"alone" and "beside": {"version", "run"} in ms, "daemon_peak_bytes"}."""
    measure_both(contender, 1)  # not counted
    alone = measure_both(contender, rounds)
    pid = listener(contender.socket)
    reset_peak(pid)
    started = []
    try:
        for name, (options, script) in FLOODS.items():
            name = f"containervm-bench-flood-{name}"
            docker(contender, "run", "-d", "--name", name, *options, IMAGE, "sh", "-c", script)
            started.append(name)
        time.sleep(settle_seconds)
        beside = measure_both(contender, rounds)
        peak = peak_bytes(pid)
    finally:
        for name in started:
            docker(contender, "rm", "-f", name)
    return {"alone": dict(zip(("version", "run"), alone, strict=True)),
            "beside": dict(zip(("version", "run"), beside, strict=True)),
            "daemon_peak_bytes": peak}


def describe(rows):
    return "\n".join(["beside the floods"]
                     + [f"  {name:14} docker version p99 {row['version_p99']:.0f} ms, "
                        f"daemon at most {row['daemon_peak_bytes'] / MIB:.1f} MiB" for name, row in rows.items()])
