#!/usr/bin/python3
"""kill -9 of the daemon while images are pulled, loaded, imported, built, saved, tagged and removed, natively.

After each restart every image is whole (its saved layers have the digests that it names), and there is no file
that no image has. STORE_KILLS says how often (CI: a few times), STORE_KILL_SEED repeats a run's choices, not its
moments. What needs a guest, RUN and commit, is killed in integration/image_kill_test.py.
"""

import os
import random
import shutil
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from harness.docker_api import Api  # noqa: E402
from native.native_daemon import Daemon  # noqa: E402
from native.registries import FaultyRegistry, Image  # noqa: E402

KILLS = int(os.environ.get("STORE_KILLS", "8"))
LONGEST = 1.5  # seconds from one kill to the next
IMAGES = 4
PATIENCE = 60
CHUNK = 128 << 10


def make_layers(chance):
    """A few, so that images share them: small ones, and some that take a while."""
    sizes = [1000, 1000, 50_000, 50_000, 2 << 20, 2 << 20, 6 << 20]
    return [tar_of({f"file{i}": chance.randbytes(size), "same": b"same"}) for i, size in enumerate(sizes)]


def deliver_slowly(handler, path):
    """A blob in pieces, so that kills come in the middle of downloads."""
    registry = handler.server.registry
    blob = registry.blobs.get(path.rpartition("/")[2])
    if blob is None or len(blob) < CHUNK or handler.headers["Range"]:
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(blob)))
    handler.end_headers()
    for start in range(0, len(blob), CHUNK):
        handler.wfile.write(blob[start:start + CHUNK])
        time.sleep(0.005)
    return True


def pull(workload, chance):
    image = f"{workload.registry.host}/set/image{chance.randrange(IMAGES)}"
    stream = workload.progress("POST", "/images/create", fromImage=image, tag="latest")
    error = stream[-1].get("error")
    if error:
        raise AssertionError(error)


def build(workload, chance):
    base = f"{workload.registry.host}/set/image{chance.randrange(IMAGES)}"
    text = f"FROM {base}\nENV A={chance.randrange(3)}\nLABEL b={chance.randrange(3)}\nCMD [\"c\"]\n"
    stream = workload.progress("POST", "/build", tar_of({"Dockerfile": text.encode()}),
                               {"Content-Type": "application/x-tar"}, t=image_workload.some_name(chance))
    error = stream[-1].get("error", "")
    if error and "No such image" not in error:  # another client removed it
        raise AssertionError(error)


class KillTest(unittest.TestCase):
    def setUp(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            raise unittest.SkipTest("FAKE_CONTAINERVMD names no program")
        directory = tempfile.mkdtemp(prefix="cvm-kill.")
        self.addCleanup(shutil.rmtree, directory)
        self.daemon = Daemon(directory)
        self.addCleanup(self.daemon.close)

    def _files(self, below):
        return sorted(os.path.relpath(os.path.join(parent, name), self.daemon.state)
                      for parent, _, names in os.walk(os.path.join(self.daemon.state, below)) for name in names)

    def _check(self):
        image_workload.check_images(self, self.daemon.api, [os.path.basename(f) for f in self._files("images/layers")])
        self.assertEqual(self._files("images/tmp"), [])
        self.assertEqual(self.daemon.api.get("/containers/json", all=1), [])

    def test_the_store_is_whole_after_every_kill(self):
        seed = int(os.environ.get("STORE_KILL_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}", flush=True)
        moments = random.Random(seed)
        before = self._files("")
        registry = FaultyRegistry()
        self.addCleanup(registry.close)
        registry.faults.append(deliver_slowly)
        layers = make_layers(moments)
        for i in range(IMAGES):
            registry.add(f"set/image{i}", "latest", Image(*moments.sample(layers, 2 + i % 3)))
        load = image_workload.ImageWorkload(
            lambda: Api(os.path.join(self.daemon.state, "docker.sock"), timeout=PATIENCE, version="v1.50"),
            [pull, pull, build, image_workload.load, image_workload.import_tar, image_workload.save,
             image_workload.tag, image_workload.remove, image_workload.remove, image_workload.prune], seed)
        load.registry, load.layers = registry, layers
        self.addCleanup(load.stop, PATIENCE)
        for _ in range(KILLS):
            load.resume()
            time.sleep(moments.uniform(0.05, LONGEST))
            self.daemon.end(kill=True)
            load.pause(PATIENCE)
            self.daemon.start()
            self._check()
            self.assertEqual(load.problems, [])
        print(f"{KILLS} kills; steps done {load.done}, cut off {load.cut}", flush=True)
        self.assertGreater(sum(load.cut.values()), KILLS / 2)

        for image in self.daemon.api.get("/images/json", all=1):
            try:
                self.daemon.api.delete(f"/images/{image['Id']}", force=1)
            except image_workload.ApiError as error:
                self.assertEqual(error.status, 404)  # went with its child
        self._check()
        self.assertEqual(self._files("images/layers"), [])
        self.assertEqual(set(self._files("")) - set(before), set())


if __name__ == "__main__":
    unittest.main()
