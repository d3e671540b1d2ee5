#!/usr/bin/python3
"""The benchmark: this host and its peers in the same machine, side by side, interleaved.

    bench.py [start|memory|clone|stream|flood|pull|layers]... --containervm SOCKET [--dockerd SOCKET] [--json FILE] [--svg DIR]

The parts and the JSON schema are described in README.md beside this file. `containervm bench` calls
this with the right sockets inside the machine that holds the host.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bench import flood, layers, memory, pull, stream  # noqa: E402
from bench.contenders import (IMAGE, Contender, api_run, api_true, cli_true)  # noqa: E402
from bench.statistics_table import bar_chart, summary, table  # noqa: E402
from harness.docker_api import ApiError, describe_daemon  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
PARTS = ("start", "memory", "clone", "stream", "flood", "pull", "layers")
DEFAULT_PARTS = PARTS[:3]
NEED_IMAGE = {"start", "memory", "stream", "flood", "layers"}


def image_archive(probe):
    """A root filesystem with Debian's static busybox and the probe."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for directory in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            entry = tarfile.TarInfo(directory)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
        for source, target in (("/bin/busybox", "bin/busybox"), (probe, "probe")):
            entry = tar.gettarinfo(source, target)
            entry.mode, entry.uid, entry.gid, entry.uname, entry.gname = 0o755, 0, 0, "", ""
            with open(source, "rb") as content:
                tar.addfile(entry, content)
        for applet in ("sh", "true", "sleep", "cat", "echo"):
            entry = tarfile.TarInfo("bin/" + applet)
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(entry)
    return archive.getvalue()


def import_image(contender, archive):
    repo, tag = IMAGE.split(":")
    contender.api.call("POST", "/images/create", body=archive,
                       query={"fromSrc": "-", "repo": repo, "tag": tag,
                              "changes": "ENV PATH=/bin"},
                       headers={"Content-Type": "application/x-tar"})


def measure_start(contenders, rounds, image):
    """Interleaved: every round runs each contender once, after one unmeasured round."""
    totals, cli, phases = {}, {}, {}
    for current in range(-1, rounds):
        for contender in contenders:
            one = api_run(contender)
            total = api_true(contender, image)
            client = cli_true(contender, image)
            if current < 0:
                continue
            totals.setdefault(contender.name, []).append(total)
            cli.setdefault(contender.name, []).append(client)
            for phase in ("start_to_first", "start_to_exit"):
                phases.setdefault(phase, {}).setdefault(contender.name, []).append(one[phase])
        print(f"\r  start: round {current + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {
        "api_total": {name: summary(v) for name, v in totals.items()},
        "cli_total": {name: summary(v) for name, v in cli.items()},
        "first_instruction": {n: summary(v) for n, v in phases["start_to_first"].items()},
        "start_to_exit": {n: summary(v) for n, v in phases["start_to_exit"].items()},
    }


def measure_stream(contenders, rounds, mebibytes):
    """Interleaved, one stream a round and contender."""
    runs = {}
    for current in range(rounds):
        for contender in contenders:
            runs.setdefault(contender.name, []).append(stream.stream_once(contender, mebibytes))
        print(f"\r  stream: round {current + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return {name: {"mib_per_second": summary([run["mib_per_second"] for run in some]),
                   "daemon_peak_bytes": max(run["daemon_peak_bytes"] for run in some),
                   "mebibytes": mebibytes}
            for name, some in runs.items()}


def measure_flood(contenders, rounds):
    """One contender after the other: the floods of one would be those of both."""
    rows, beside = {}, {}
    for contender in contenders:
        found = flood.measure(contender, rounds)
        for when in ("alone", "beside"):
            for what in ("version", "run"):
                rows.setdefault(f"flood_{what}_{when}", {})[contender.name] = summary(found[when][what])
        beside[contender.name] = {"version_p99": rows["flood_version_beside"][contender.name]["p99"],
                                  "daemon_peak_bytes": found["daemon_peak_bytes"],
                                  "removal_seconds": found["removal_seconds"]}
        runs = [rows[f"flood_run_{when}"][contender.name]["p50"] for when in ("alone", "beside")]
        print(f"  flood: {contender.name}: docker run {runs[0]:.0f} ms alone, {runs[1]:.0f} ms beside; "
              f"{flood.describe_row(beside[contender.name])}", file=sys.stderr, flush=True)
    return rows | {"flood": beside}


def measure_pull(contenders, rounds, registry, source):
    def progress(current):
        print(f"\r  pull: round {current} of {rounds}", end="", file=sys.stderr, flush=True)

    values = pull.measure(contenders, rounds, registry, source, progress)
    print(file=sys.stderr)
    return {key: {name: summary(some) for name, some in rows.items()} for key, rows in values.items()}


def measure_layers(contenders, rounds, readers, archive):
    def progress(current):
        print(f"\r  layers: round {current} of {rounds}", end="", file=sys.stderr, flush=True)

    values = layers.measure(contenders, rounds, readers, layers.archive_of(archive), progress)
    print(file=sys.stderr)
    return {key: {name: summary(some) for name, some in rows.items()} for key, rows in values.items()}


def measure_microvm(command, rounds):
    """`command` boots our kernel once in QEMU's microvm and prints the milliseconds that took."""
    values = []
    for _ in range(rounds):
        done = subprocess.run([command], capture_output=True, timeout=300, check=True, text=True)
        values.append(float(done.stdout.split()[-1]))
    return {"qemu-microvm": summary(values)}


def measure_clone(command, rounds):
    """Runs the monitor's own clone benchmark on this machine's /dev/kvm."""
    target = f"/tmp/containervm-clone-{os.getpid()}.json"
    try:
        subprocess.run([command, "--rounds", str(rounds), "--json", target], check=True,
                       timeout=600, stdout=sys.stderr)
        with open(target, encoding="utf-8") as result:
            return json.load(result)
    finally:
        if os.path.exists(target):
            os.unlink(target)


TITLES = {
    "api_total": "docker run --rm busybox true, raw API",
    "cli_total": "docker run --rm busybox true, docker client",
    "first_instruction": "POST start to the process's first instruction",
    "start_to_exit": "POST start to exit",
    "kernel_boot": "kernel boot to init",
    "pull_total": "docker pull of 5 layers, 200 MB, and its first docker run",
    "pull": "of that: docker pull",
    "pull_first_run": "of that: docker run --rm IMAGE true",
    "flood_version_alone": "docker version",
    "flood_version_beside": "docker version beside four containers that print as fast as they can",
    "flood_run_alone": "docker run --rm IMAGE true",
    "flood_run_beside": "docker run --rm IMAGE true beside four containers that print as fast as they can",
    "layers_growth": "host memory when all containers have read one layer of 100 MB",
    "layers_reader": "one container's reading of it",
}
UNITS = {"layers_growth": "times the layer"}


def report(results, svg_directory):
    if svg_directory:
        os.makedirs(svg_directory, exist_ok=True)
    for key, title in TITLES.items():
        if key not in results:
            continue
        unit = UNITS.get(key, "ms")
        print(table(title, unit, results[key]))
        if svg_directory:
            with open(os.path.join(svg_directory, key + ".svg"), "w", encoding="utf-8") as out:
                out.write(bar_chart(title, unit, results[key]))
    if "idle_memory" in results:
        print(memory.describe(results["idle_memory"]))
        if svg_directory:
            rows = {name: {"p50": row["bytes_each"] / 2**20, "p90": row["bytes_each"] / 2**20,
                           "min": row["bytes_each"] / 2**20, "max": row["bytes_each"] / 2**20}
                    for name, row in results["idle_memory"].items()}
            with open(os.path.join(svg_directory, "idle_memory.svg"), "w",
                      encoding="utf-8") as out:
                out.write(bar_chart("memory of an idle container", "MiB", rows))
    if "stream" in results:
        print(stream.describe(results["stream"]))
    if "flood" in results:
        print(flood.describe(results["flood"]))
    for name, row in results.get("clone", {}).items():
        print(table(f"clone: {name}", "ms", {"containervm": row}))


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"default: {' '.join(DEFAULT_PARTS)}")
    parser.add_argument("--containervm", help="socket of containervmd")
    parser.add_argument("--dockerd", help="socket of the peer dockerd")
    parser.add_argument("--probe", help="the bench_probe program")
    parser.add_argument("--microvm-boot", help="program that boots the kernel in QEMU's microvm")
    parser.add_argument("--clone-bench", help="the containervm-clone-bench program")
    parser.add_argument("--registry", help="Debian's docker-registry program, for pull")
    parser.add_argument("--pull-image", help="the directory that layered_image.py made, for pull")
    parser.add_argument("--image", default=IMAGE, help="image whose `true` is run")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--sleepers", type=int, default=50)
    parser.add_argument("--readers", type=int, default=10, help="containers that read a layer")
    parser.add_argument("--mebibytes", type=int, default=256, help="of one stream")
    parser.add_argument("--json", help="write the numbers to this file")
    parser.add_argument("--svg", help="write plots into this directory")
    arguments = parser.parse_args()
    unknown = set(arguments.parts) - set(PARTS)
    if unknown:
        parser.error(f"no such part: {sorted(unknown)[0]} (parts: {', '.join(PARTS)})")
    arguments.parts = arguments.parts or list(DEFAULT_PARTS)
    if "pull" in arguments.parts and not (arguments.registry and arguments.pull_image):
        parser.error("pull needs --registry and --pull-image")
    if min(arguments.rounds, arguments.sleepers, arguments.readers, arguments.mebibytes) < 1:
        parser.error("--rounds, --sleepers, --readers and --mebibytes must be at least 1")
    return arguments


def main():
    arguments = parse_arguments()
    contenders = [Contender(name, path)
                  for name, path in (("containervm", arguments.containervm),
                                     ("dockerd+runc", arguments.dockerd)) if path]
    results = {"machine": {"kernel": platform.release(), "cpus": os.cpu_count(),
                           "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())},
               "versions": {contender.name: describe_daemon(contender.api) for contender in contenders}}
    for name, version in results["versions"].items():
        print(f"{name}: {version}", flush=True)
    if NEED_IMAGE & set(arguments.parts):
        archive = image_archive(arguments.probe)
        for contender in contenders:
            import_image(contender, archive)
    try:
        if "start" in arguments.parts:
            results |= measure_start(contenders, arguments.rounds, arguments.image)
            if arguments.microvm_boot:
                results["kernel_boot"] = measure_microvm(arguments.microvm_boot,
                                                         min(5, arguments.rounds))
        if "memory" in arguments.parts:
            results["idle_memory"] = {c.name: memory.idle_memory(c, arguments.sleepers)
                                      for c in contenders}
        if "stream" in arguments.parts:
            results["stream"] = measure_stream(contenders, arguments.rounds, arguments.mebibytes)
        if "flood" in arguments.parts:
            results |= measure_flood(contenders, arguments.rounds)
        if "pull" in arguments.parts:
            results |= measure_pull(contenders, arguments.rounds, arguments.registry, arguments.pull_image)
        if "layers" in arguments.parts:
            results |= measure_layers(contenders, arguments.rounds, arguments.readers, archive)
        if "clone" in arguments.parts and arguments.clone_bench:
            results["clone"] = measure_clone(arguments.clone_bench, max(100, arguments.rounds))
    finally:
        if NEED_IMAGE & set(arguments.parts):
            for contender in contenders:
                try:
                    contender.api.delete("/images/" + IMAGE, force=1)
                except (ApiError, OSError) as error:  # also one that does not answer any more
                    print(f"{contender.name}: removing the image: {error}", file=sys.stderr)
    report(results, arguments.svg)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as out:
            json.dump(results, out, indent=2)
            out.write("\n")


if __name__ == "__main__":
    main()
