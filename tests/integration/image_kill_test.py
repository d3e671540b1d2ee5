#!/usr/bin/python3
"""kill -9 of the daemon while images are built, committed, loaded and removed: the steps that need a guest.

STORE_KILLS says how often (CI: a few times), STORE_KILL_SEED repeats a run's choices, not its moments. Pulls are
killed natively, in native/kill_test.py.
"""

import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from harness.daemon import Daemon  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from harness.host import TIMEOUT, HostTest, api, host_state, on_host, settle  # noqa: E402

KILLS = int(os.environ.get("STORE_KILLS", "2"))
LONGEST = 12  # seconds from one kill to the next; a build takes about four


def build(workload, chance):
    number = chance.randrange(3)
    text = f"FROM busybox\nCOPY data /data\nRUN echo {number} >/number && cat /data >>/number\nCMD cat /number\n"
    stream = workload.progress(
        "POST", "/build", tar_of({"Dockerfile": text.encode(), "data": b"d" * 100_000}),
        {"Content-Type": "application/x-tar"}, t=image_workload.some_name(chance), nocache=chance.randrange(2))
    error = stream[-1].get("error", "")
    if error and "No such image" not in error:  # another client removed it
        raise AssertionError(error)


def commit(workload, chance):
    client = workload.connect()
    container = client.create("busybox", ["sh", "-c", "echo committed >/file; sleep 1000"])
    client.post(f"/containers/{container}/start")
    repository, _, tag = image_workload.some_name(chance).partition(":")
    client.call("POST", "/commit", body={}, query={"container": container, "repo": repository, "tag": tag})
    client.delete(f"/containers/{container}", force=1)


def run(workload, chance):
    workload.connect().run(image_workload.some_name(chance), ["true"])


def remove(workload, chance):
    """By name only: the images that were here before stay."""
    workload.connect().delete(f"/images/{image_workload.some_name(chance)}", force=chance.randrange(2))


class ImageKillTest(HostTest):
    def test_the_store_is_whole_after_every_kill(self):
        seed = int(os.environ.get("STORE_KILL_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}", flush=True)
        moments = random.Random(seed)
        self.daemon = Daemon()
        self.addCleanup(self.daemon.revive)
        settle()
        before = host_state()
        self.images = {image["Id"] for image in api().get("/images/json", all=1)}
        files = self._files()
        load = image_workload.ImageWorkload(api, [build, commit, image_workload.load, run, remove], seed, workers=3)
        load.layers = [tar_of({f"file{i}": moments.randbytes(1000 << i)}) for i in range(6)]
        try:
            for _ in range(KILLS):
                load.resume()
                time.sleep(moments.uniform(0.1, LONGEST))
                self.daemon.end("KILL")
                load.pause(TIMEOUT)
                self.daemon.start()
                self._check()
                self.assertEqual(load.problems, [])
        finally:
            load.stop(TIMEOUT)
            self.daemon.revive()
            self.remove_left()
            self._remove_images()
        print(f"{KILLS} kills; steps done {load.done}, cut off {load.cut}", flush=True)
        self._check()
        self.assertEqual(self._files(), files)
        settle(before)
        self.assertEqual(host_state(), before)

    def _files(self):
        return sorted(on_host("find", f"{self.daemon.state}/images/layers", "-type", "f", "-printf", "%f\\n").split())

    def _check(self):
        image_workload.check_images(self, api(), self._files())
        self.assertEqual(on_host("ls", f"{self.daemon.state}/images/tmp").split(), [])
        # Workers that were cut off left theirs; a build's own container is never one of them.
        listed = {c["Id"]: c for c in api().get("/containers/json", all=1)}
        self.assertEqual(sorted(on_host("ls", f"{self.daemon.state}/containers").split()), sorted(listed))
        for container in listed:
            api().delete(f"/containers/{container}", force=1)

    def _remove_images(self):
        """In several goes, since an image with children cannot be removed, and may go with its last child."""
        def made():
            return {image["Id"] for image in api().get("/images/json", all=1)} - self.images

        while left := made():
            for image in left:
                try:
                    api().delete(f"/images/{image}", force=1)
                except ApiError as error:
                    self.assertIn(error.status, (404, 409), error)
            self.assertLess(made(), left)


if __name__ == "__main__":
    unittest.main()
