"""What it costs the host that many machines read all of one large layer.

A round: N containers of one image sleep; each runs a command that reads nothing of the layer, for what every
first command costs; the page cache is dropped; each reads every file of the layer (~100 MB). The figure is the
growth of MemTotal - MemFree by the reading, divided by the layer's size: everything counts, the host's page cache,
the guests' and what maps them. 1.0 is the layer once.

containervm is measured a second time with a (never reached) rate on reads, with which it leaves its
window into host memory unused: the layers come over the virtual disk, into a page cache of each guest.
"""

import io
import os
import random
import tarfile
import time

LAYERED = "containervm-bench-layer:latest"
FILES = 25
FILE_BYTES = 4_000_000
OVER_A_DISK = ", over a disk"


def archive_of(base):
    """The root file system `base` (a tar) and beside it the files: one layer."""
    numbers = random.Random(1)
    out = io.BytesIO(base)
    with tarfile.open(fileobj=out, mode="a") as tar:
        for number in range(FILES):
            entry = tarfile.TarInfo(f"layer/{number}")
            entry.size, entry.mode = FILE_BYTES, 0o644
            tar.addfile(entry, io.BytesIO(numbers.randbytes(FILE_BYTES)))
    return out.getvalue()


def import_image(contender, archive):
    repo, tag = LAYERED.split(":")
    contender.api.call("POST", "/images/create", body=archive,
                       query={"fromSrc": "-", "repo": repo, "tag": tag, "changes": "ENV PATH=/bin"},
                       headers={"Content-Type": "application/x-tar"})


def used_bytes():
    """MemTotal - MemFree, once it stands still for a second."""
    last = None
    for _ in range(30):
        with open("/proc/meminfo", encoding="ascii") as lines:
            fields = {name: int(rest.split()[0]) for name, rest in (line.split(":") for line in lines)}
        now = (fields["MemTotal"] - fields["MemFree"]) * 1024
        if last is not None and abs(now - last) < 1 << 20:
            return now
        last = now
        time.sleep(1)
    return last


def storage_device(api):
    """The block device that holds the containers' files, as a path."""
    device = os.stat(api.get("/info")["DockerRootDir"]).st_dev
    with open(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/uevent", encoding="ascii") as lines:
        return "/dev/" + next(line[8:].strip() for line in lines if line.startswith("DEVNAME="))


def rate_on_reads(api):
    return {"HostConfig": {"BlkioDeviceReadIOps": [{"Path": storage_device(api), "Rate": 10**9}]}}


def read(api, container, files):
    """Reads these files in the container."""
    number = api.post(f"/containers/{container}/exec", {
        "Cmd": ["sh", "-c", f"cat {files} >/dev/null && echo ok"], "AttachStdout": True, "AttachStderr": True})["Id"]
    stream = api.hijack(f"/exec/{number}/start", body={"Detach": False, "Tty": False})
    out, err = stream.read_outputs()
    stream.close()
    if out != b"ok\n" or err:
        raise RuntimeError(f"reading the layer gave {out!r} {err!r}")


def read_once(contender, count, config):
    """(growth divided by the layer's size, milliseconds that each reader took)"""
    api = contender.api
    containers = []
    try:
        for _ in range(count):
            containers.append(api.create(LAYERED, ["sleep", "100000"], **config))
            api.post(f"/containers/{containers[-1]}/start")
            read(api, containers[-1], "/etc/hostname")
        time.sleep(2)  # what the start still does
        os.sync()
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as drop:
            drop.write("3")
        before = used_bytes()
        began = time.monotonic()
        for container in containers:
            read(api, container, "/layer/*")
        took = (time.monotonic() - began) * 1e3 / count
        return (used_bytes() - before) / (FILES * FILE_BYTES), took
    finally:
        for container in containers:
            api.delete(f"/containers/{container}", force=1)


def measure(contenders, rounds, count, archive, progress):
    """{"layers_growth", "layers_reader": {contender: values}}, interleaved."""
    growth, readers = {}, {}
    try:
        for contender in contenders:
            import_image(contender, archive)
        for current in range(rounds):
            for contender in contenders:
                variants = {contender.name: {}}
                if contender.name == "containervm":
                    variants[contender.name + OVER_A_DISK] = rate_on_reads(contender.api)
                for name, config in variants.items():
                    grown, took = read_once(contender, count, config)
                    growth.setdefault(name, []).append(grown)
                    readers.setdefault(name, []).append(took)
            progress(current + 1)
    finally:
        for contender in contenders:
            contender.api.delete("/images/" + LAYERED, force=1)
    return {"layers_growth": growth, "layers_reader": readers}
