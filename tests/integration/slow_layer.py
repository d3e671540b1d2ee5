#!/usr/bin/python3
"""On the host that holds the machines, as root: a registry whose only layer comes slowly enough to look at who reads it.

`slow_layer.py STATE` prints the registry's "ADDRESS:PORT"; its image is slow:latest. When the layer tool of the daemon of
that state directory is at work, the layer's second half still to come, it prints that process (harness/protections.py)
as JSON. Then the second half comes. It ends when its standard input does.
"""

import json
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import protections  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from native.registries import FaultyRegistry, Image  # noqa: E402

LAYER = 1 << 20  # bytes


def main(state):
    seen = threading.Event()
    image = Image(tar_of({"file": os.urandom(LAYER)}))  # none that the store has
    registry = FaultyRegistry()
    registry.add("slow", "latest", image)

    def half_by_half(handler, path):
        if not path.endswith(image.layers[0]):
            return False
        blob = image.blobs[image.layers[0]]
        half = len(blob) // 2
        handler.answer(200, blob[:half], length=len(blob))
        handler.wfile.flush()
        seen.wait()
        handler.wfile.write(blob[half:])
        return True

    registry.faults.append(half_by_half)
    print(registry.host, flush=True)
    daemon = protections.read(f"{state}/containervmd.pid").split()[0]
    print(json.dumps(protections.wait_for("containervm-lay", daemon)), flush=True)
    seen.set()
    sys.stdin.read()
    registry.close()


if __name__ == "__main__":
    main(sys.argv[1])
