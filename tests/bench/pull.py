"""`docker pull` of an image of five layers and 200 MB from a registry on loopback, and the first `docker run` of it.

The registry is Debian's docker-registry. The peer's daemon lives in a network namespace of its own, so
each contender has a server process in its namespace; all serve the same files, at the same address.
"""

import contextlib
import http.client
import json
import os
import subprocess
import tempfile
import time

from bench.contenders import elapsed_ms
from bench.stream import listener
from harness.docker_api import ApiError

PORT = 5087
NAME = "bench/layers"
IMAGE = f"127.0.0.1:{PORT}/{NAME}:1"
CONFIGURATION = """version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {root}}}
  delete: {{enabled: false}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def request(method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=300)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read()
        if response.status >= 300:
            raise RuntimeError(f"registry: {method} {path}: {response.status} {text[:200]!r}")
        return response
    finally:
        connection.close()


def publish(source):
    """Uploads what layered_image.py made."""
    with open(os.path.join(source, "manifest.json"), "rb") as text:
        manifest = text.read()
    parsed = json.loads(manifest)
    for blob in [parsed["config"], *parsed["layers"]]:
        location = request("POST", f"/v2/{NAME}/blobs/uploads/").headers["Location"]
        path = location.split(f":{PORT}", 1)[-1]
        with open(os.path.join(source, blob["digest"].replace(":", "-")), "rb") as data:
            request("PUT", f"{path}{'&' if '?' in path else '?'}digest={blob['digest']}", data,
                    {"Content-Length": str(blob["size"]), "Content-Type": "application/octet-stream"})
    request("PUT", f"/v2/{NAME}/manifests/1", manifest, {"Content-Type": parsed["mediaType"]})


@contextlib.contextmanager
def server(program, configuration, pid):
    """A registry in the network namespace of process `pid`, until the end of the block."""
    enter = ["nsenter", f"--net=/proc/{pid}/ns/net"]
    process = subprocess.Popen([*enter, program, "serve", configuration], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            if process.poll() is not None:
                raise RuntimeError(f"the registry ended with code {process.returncode}; is port {PORT} taken?")
            if subprocess.run([*enter, "bash", "-c", f": </dev/tcp/127.0.0.1/{PORT}"], check=False,
                              stderr=subprocess.DEVNULL).returncode == 0:
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


def client(contender, *arguments):
    done = subprocess.run(["docker", *arguments], env=dict(os.environ, DOCKER_HOST="unix://" + contender.socket),
                          capture_output=True, timeout=1200, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{contender.name}: docker {' '.join(arguments)}: {done.stderr.decode().strip()}")


def pull_once(contender):
    with contextlib.suppress(ApiError):
        contender.api.delete("/images/" + IMAGE, force=1)
    began = time.monotonic()
    client(contender, "pull", "--quiet", IMAGE)
    pulled = elapsed_ms(began)
    client(contender, "run", "--rm", IMAGE, "true")
    total = elapsed_ms(began)
    contender.api.delete("/images/" + IMAGE, force=1)
    return {"pull": pulled, "first_run": total - pulled, "total": total}


def measure(contenders, rounds, program, source, progress):
    """{"pull_total", "pull", "pull_first_run": {contender: [ms, ...]}}, interleaved, after one uncounted round."""
    values = {"pull_total": {}, "pull": {}, "pull_first_run": {}}
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="cvm-bench-registry."))
        configuration = os.path.join(directory, "config.yml")
        with open(configuration, "w", encoding="ascii") as out:
            out.write(CONFIGURATION.format(root=os.path.join(directory, "data"), port=PORT))
        namespaces = {}
        for pid in [os.getpid(), *(listener(contender.socket) for contender in contenders)]:
            namespaces.setdefault(os.stat(f"/proc/{pid}/ns/net").st_ino, pid)
        for pid in namespaces.values():
            stack.enter_context(server(program, configuration, pid))
        publish(source)
        for current in range(-1, rounds):
            for contender in contenders:
                one = pull_once(contender)
                if current < 0:
                    continue
                values["pull_total"].setdefault(contender.name, []).append(one["total"])
                values["pull"].setdefault(contender.name, []).append(one["pull"])
                values["pull_first_run"].setdefault(contender.name, []).append(one["first_run"])
            progress(current + 1)
    return values
