#!/usr/bin/python3
"""Makes an image of five layers and about 200 MB, as the blobs and the manifest that a registry serves.

    layered_image.py DIRECTORY

Its first layer holds Debian's static busybox, so that it can run; the other bytes are half random, half
text, so that they compress as programs do. The same bytes every time; DIRECTORY is ready when
`manifest.json` is in it. The layers are made where there is a fast processor, not in the emulated machine.
"""

import gzip
import hashlib
import io
import json
import os
import random
import sys
import tarfile

LAYERS = 5
FILES = 40
FILE_BYTES = 1 << 20
SEED = 20240701


def content(chance):
    """1 MiB: half of it random bytes, half of it a repeated line, in alternating blocks of 4 KiB."""
    line = b"%032x every machine starts from a template\n" % chance.getrandbits(128)
    text = (line * (4096 // len(line) + 1))[:4096]
    return b"".join(chance.randbytes(4096) + text for _ in range(FILE_BYTES // 8192))


def directory(tar, name):
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(entry)


def file(tar, name, data, mode=0o644):
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))


def layer(number, chance):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        if number == 0:
            for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
                directory(tar, name)
            with open("/bin/busybox", "rb") as program:
                file(tar, "bin/busybox", program.read(), 0o755)
            for applet in ("sh", "true", "cat"):
                entry = tarfile.TarInfo("bin/" + applet)
                entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(entry)
        directory(tar, f"data{number}")
        for index in range(FILES):
            file(tar, f"data{number}/file{index}", content(chance))
    return archive.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_blob(target, data):
    name = digest(data)
    with open(os.path.join(target, name.replace(":", "-")), "wb") as out:
        out.write(data)
    return {"size": len(data), "digest": name}


def main():
    target = sys.argv[1]
    os.makedirs(target, exist_ok=True)
    chance = random.Random(SEED)
    diff_ids, layers = [], []
    for number in range(LAYERS):
        tar = layer(number, chance)
        diff_ids.append(digest(tar))
        blob = write_blob(target, gzip.compress(tar, compresslevel=6, mtime=0))
        layers.append({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", **blob})
    config = {"architecture": "amd64", "os": "linux", "created": "2024-07-01T00:00:00Z",
              "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
              "rootfs": {"type": "layers", "diff_ids": diff_ids},
              "history": [{"created": "2024-07-01T00:00:00Z", "created_by": f"layer {n}"} for n in range(LAYERS)]}
    blob = write_blob(target, json.dumps(config).encode())
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **blob},
                "layers": layers}
    unfinished = os.path.join(target, "manifest.json.new")
    with open(unfinished, "w", encoding="utf-8") as out:
        json.dump(manifest, out)
    os.rename(unfinished, os.path.join(target, "manifest.json"))


if __name__ == "__main__":
    main()
