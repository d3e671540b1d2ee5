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


PATIENCE_SECONDS = 60  # for the removal of one of them


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


def remove(contender, name):
    """Seconds; None where it did not end, which is left to the end of the daemon."""
    began = time.monotonic()
    try:
        docker(contender, "rm", "-f", name, timeout=PATIENCE_SECONDS)
    except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
        return None
    return elapsed_ms(began) / 1000


def measure(contender, rounds, settle_seconds=5):
    """{"alone" and "beside": {"version", "run"} in ms, "daemon_peak_bytes", "removal_seconds": {flood: seconds or None}}."""
    measure_both(contender, 1)  # not counted
    alone = measure_both(contender, rounds)
    pid = listener(contender.socket)
    reset_peak(pid)
    started, removal = {}, {}
    try:
        for name, (options, script) in FLOODS.items():
            started[name] = f"containervm-bench-flood-{name}"
            remove(contender, started[name])  # of a run that was broken off
            docker(contender, "run", "-d", "--name", started[name], *options, IMAGE, "sh", "-c", script)
        time.sleep(settle_seconds)
        beside = measure_both(contender, rounds)
        peak = peak_bytes(pid)
    finally:
        for name, container in started.items():
            removal[name] = remove(contender, container)
    return {"alone": dict(zip(("version", "run"), alone, strict=True)),
            "beside": dict(zip(("version", "run"), beside, strict=True)),
            "daemon_peak_bytes": peak,
            "removal_seconds": removal}


def describe_row(row):
    removal = ", ".join(f"{name} {'not ended after ' + str(PATIENCE_SECONDS) if seconds is None else format(seconds, '.1f')} s"
                        for name, seconds in row["removal_seconds"].items())
    return (f"docker version p99 {row['version_p99']:.0f} ms, daemon at most {row['daemon_peak_bytes'] / MIB:.1f} MiB, "
            f"docker rm -f of them: {removal}")


def describe(rows):
    return "\n".join(["beside the floods"] + [f"  {name:14} {describe_row(row)}" for name, row in rows.items()])
