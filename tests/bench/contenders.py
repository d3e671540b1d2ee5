"""Who is measured, and the two ways one `docker run --rm IMAGE true` is driven."""

import dataclasses
import json
import os
import subprocess
import time

from harness.docker_api import Api

IMAGE = "containervm-bench:latest"


@dataclasses.dataclass
class Contender:
    """One Docker endpoint in this machine."""
    name: str
    socket: str

    @property
    def api(self):
        return Api(self.socket)


def elapsed_ms(since):
    return (time.monotonic() - since) * 1e3


def api_run(contender):
    """create, attach, wait, start, read to the end, remove, as the stock client would: times in ms.

    `start_to_first` runs from sending the start request to the arrival of the process's first byte,
    which the probe writes as its first instruction; `start_to_exit` to wait's answer; `total` covers
    the whole sequence.
    """
    api = contender.api
    began = time.monotonic()
    container = api.create(IMAGE, ["/probe"])
    stream = api.attach(container)
    connection, response = api.start_wait(container)
    started = time.monotonic()
    api.post(f"/containers/{container}/start")
    first = None
    output = b""
    for _, payload in stream.read_frames():
        first = first or elapsed_ms(started)
        output += payload
    status = json.loads(response.read())["StatusCode"]
    exited = elapsed_ms(started)
    connection.close()
    stream.close()
    api.delete(f"/containers/{container}")
    total = elapsed_ms(began)
    if status != 0 or output != b"x":
        raise RuntimeError(f"{contender.name}: the probe gave {output!r}, exit code {status}")
    return {"start_to_first": first, "start_to_exit": exited, "total": total}


def api_true(contender, image):
    """The raw sequence with `true`, whose output is empty: total ms."""
    api = contender.api
    began = time.monotonic()
    container = api.create(image, ["true"])
    stream = api.attach(container)
    connection, response = api.start_wait(container)
    api.post(f"/containers/{container}/start")
    stream.read_outputs()
    status = json.loads(response.read())["StatusCode"]
    connection.close()
    stream.close()
    api.delete(f"/containers/{container}")
    total = elapsed_ms(began)
    if status != 0:
        raise RuntimeError(f"{contender.name}: true gave exit code {status}")
    return total


def cli_true(contender, image):
    """`docker run --rm IMAGE true` through the stock client: total ms."""
    environment = dict(os.environ, DOCKER_HOST="unix://" + contender.socket)
    began = time.monotonic()
    done = subprocess.run(["docker", "run", "--rm", image, "true"], env=environment,
                          capture_output=True, timeout=300, check=False)
    total = elapsed_ms(began)
    if done.returncode != 0:
        raise RuntimeError(f"{contender.name}: docker run: {done.stderr.decode().strip()}")
    return total
