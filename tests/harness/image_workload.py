"""Clients that change a store of images at random, and the look through it after its daemon was killed.

What a step leaves undone when the daemon goes is sorted out by the next; a step that the daemon refuses
with a fault of its own (500 and up) or a stream that ends in an unknown error is a problem.
"""

import io
import json
import random
import tarfile
import time

from harness.archives import digest_of, tar_of
from harness.daemon import was_cut_off
from harness.docker_api import ApiError
from harness.workers import Workers

REPOSITORIES = 4
# What other clients may have done to an image between two requests of one step.
PASSING = (400, 404, 409)


def archive_of(layers, tag):
    """What `docker load` takes: an image of these tars."""
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/bin/sh"]},
                         "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}).encode()
    names = [f"{i}/layer.tar" for i in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": [tag], "Layers": names}]
    return tar_of({"manifest.json": json.dumps(manifest).encode(), "config.json": config,
                   **dict(zip(names, layers, strict=True))})


class ImageWorkload(Workers):
    """Workers that take `steps` (functions of (workload, random), see below) at random.

    `connect`: makes an Api.
    """

    def __init__(self, connect, steps, seed, workers=4):
        self.connect = connect
        self.steps = steps
        self.done = {step.__name__: 0 for step in steps}
        self.cut = {step.__name__: 0 for step in steps}
        self._chances = [random.Random(seed + i) for i in range(workers)]
        super().__init__(workers)

    def work(self, worker):
        step = self._chances[worker].choice(self.steps)
        try:
            step(self, self._chances[worker])
        except ApiError as error:
            if error.status not in PASSING:
                self._failed(step, error)
        except Exception as error:  # noqa: BLE001: sorted out there
            self._failed(step, error)
        else:
            with self.lock:
                self.done[step.__name__] += 1

    def _failed(self, step, error):
        with self.lock:
            if was_cut_off(error):
                self.cut[step.__name__] += 1
            else:
                self.problems.append(f"{step.__name__}: {type(error).__name__} {error}")
        time.sleep(0.05)

    def progress(self, method, path, body=None, headers=None, **query):
        """The objects of a progress stream; ConnectionError for one that ends without its end."""
        api = self.connect()
        connection = api.connect()
        try:
            response = api.send(connection, method, path, body=body, query=query, headers=headers)
            text = response.read()
            if response.status >= 400:
                raise ApiError(response.status, text.decode(errors="replace"))
            return [json.loads(line) for line in text.splitlines() if line]
        finally:
            connection.close()

    def some_image(self, chance):
        """The ID of an image that is there, or a name that need not be."""
        images = self.connect().get("/images/json", all=1)
        return chance.choice(images)["Id"] if images and chance.random() < 0.7 else some_name(chance)


def some_name(chance):
    return f"work{chance.randrange(REPOSITORIES)}:{chance.randrange(2)}"


def load(workload, chance):
    layers = [workload.layers[i] for i in sorted(chance.sample(range(len(workload.layers)), 1 + chance.randrange(4)))]
    workload.progress("POST", "/images/load", archive_of(layers, some_name(chance)),
                      {"Content-Type": "application/x-tar"}, quiet=1)


def import_tar(workload, chance):
    repository, _, tag = some_name(chance).partition(":")
    workload.progress("POST", "/images/create", chance.choice(workload.layers), {"Content-Type": "application/x-tar"},
                      fromSrc="-", repo=repository, tag=tag)


def tag(workload, chance):
    repository, _, name = some_name(chance).partition(":")
    workload.connect().post(f"/images/{workload.some_image(chance)}/tag", repo=repository, tag=name)


def remove(workload, chance):
    workload.connect().delete(f"/images/{workload.some_image(chance)}", force=chance.randrange(2))


def prune(workload, chance):
    workload.connect().post("/images/prune")


def save(workload, chance):
    workload.connect().call("GET", "/images/get", query={"names": workload.some_image(chance)})


def check_images(test, api, layer_files):
    """Every image is whole and says what it is; the files are those that images have, and no other.

    `layer_files`: the names in the store's directory of layers.
    """
    used = set()
    for image in api.get("/images/json", all=1):
        number = image["Id"]
        known = api.get(f"/images/{number}/json")
        api.get(f"/images/{number}/history")
        saved = api.call("GET", "/images/get", query={"names": number})[1]
        with tarfile.open(fileobj=io.BytesIO(saved)) as tar:
            entry = json.load(tar.extractfile("manifest.json"))[0]
            config = tar.extractfile(entry["Config"]).read()
            test.assertEqual(digest_of(config), number)
            diff_ids = json.loads(config)["rootfs"]["diff_ids"]
            test.assertEqual(known["RootFS"].get("Layers", []), diff_ids)
            test.assertEqual([digest_of(tar.extractfile(name).read()) for name in entry["Layers"]], diff_ids)
        used.update(diff_ids)
    test.assertEqual(sorted(name for name in layer_files if name.endswith(".erofs")),
                     sorted(diff_id.removeprefix("sha256:") + ".erofs" for diff_id in used))
