#!/usr/bin/python3
"""The daemon on a database of which rows are damaged, natively: it starts, says what is wrong, and the others run."""

import os
import shutil
import sqlite3
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness import image_workload  # noqa: E402
from harness.archives import tar_of  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from native.native_daemon import Daemon  # noqa: E402

# By the container's name: what is done to its row, and what the daemon says of it.
DAMAGES = {
    "text": ("state = 'nonsense'", "state is not a JSON object"),
    "type": ("settings = json_set(settings, '$.config.Tty', 'yes')", "Tty must be a boolean"),
    "number": ("state = json_set(state, '$.exit_code', 1e300)", "state.exit_code is not an integer"),
    "word": ("state = json_set(state, '$.status', 'asleep')", "state.status is no status"),
    "list": ("mounts = json_remove(mounts, '$[0].volume')", "mounts[0].volume is missing"),
    "lost": ("id = id", "is gone"),  # its directory
}


class DamagedRowsTest(unittest.TestCase):
    def setUp(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            self.skipTest("FAKE_CONTAINERVMD names no program")
        self.directory = tempfile.mkdtemp(prefix="cvm-rows.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.daemon = Daemon(self.directory)
        self.addCleanup(self.daemon.close)
        archive = image_workload.archive_of([tar_of({"file": b"x"})], "busybox:latest")
        self.daemon.stream("POST", "/images/load", {}, {"Content-Type": "application/x-tar"}, archive)

    def create(self, name):
        body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"Binds": ["data:/data"]}}
        return self.daemon.api.call("POST", "/containers/create", body, {"name": name})[1]["Id"]

    def damage(self, statement):
        """With the daemon killed; the next one is there afterwards."""
        self.daemon.end(kill=True)
        database = sqlite3.connect(os.path.join(self.daemon.state, "containers.db"))
        with database:
            database.executescript(statement)
        database.close()
        self.daemon.start()

    def row(self, container):
        database = sqlite3.connect(os.path.join(self.daemon.state, "containers.db"))
        try:
            return database.execute("SELECT settings, state, mounts FROM containers WHERE id = ?", [container]).fetchone()
        finally:
            database.close()

    def log(self):
        with open(os.path.join(self.directory, "daemon.log"), encoding="utf-8") as file:
            return file.read()

    def names(self):
        return {row["Names"][0][1:]: row["State"] for row in self.daemon.api.get("/containers/json", all=1)}

    def test_damaged_rows_hold_nobody_up(self):
        ids = {name: self.create(name) for name in [*DAMAGES, "good"]}
        shutil.rmtree(os.path.join(self.daemon.state, "containers", ids["lost"]))
        self.damage("".join(f"UPDATE containers SET {change} WHERE name = '{name}';"
                            for name, (change, _) in DAMAGES.items()))

        self.assertEqual(self.names(), {**{name: "dead" for name in DAMAGES}, "good": "created"})
        rows = {name: self.row(ids[name]) for name in DAMAGES}
        for name, (_, said) in DAMAGES.items():
            told = [line for line in self.log().splitlines() if ids[name] in line]
            self.assertTrue(any(f"({name}) is set aside" in line and said in line for line in told), (name, told))
            self.assertIn(said, self.daemon.api.get(f"/containers/{name}/json")["State"]["Error"])
            with self.assertRaises(ApiError) as refused:
                self.daemon.api.post(f"/containers/{name}/start")
            self.assertEqual(refused.exception.status, 409)
        self.daemon.api.post("/containers/good/start")
        self.assertEqual(self.daemon.api.call("POST", "/containers/prune")[1]["ContainersDeleted"] or [], [])
        self.assertEqual({name: self.row(ids[name]) for name in DAMAGES}, rows)

        # A daemon that ends in order leaves them as they were, too.
        self.daemon.end()
        self.daemon.start()
        self.assertEqual(self.names()["text"], "dead")
        self.assertEqual({name: self.row(ids[name]) for name in DAMAGES}, rows)

        for name in DAMAGES:
            self.daemon.api.call("DELETE", f"/containers/{name}")
        self.assertEqual(list(self.names()), ["good"])
        self.assertEqual(os.listdir(os.path.join(self.daemon.state, "containers")), [ids["good"]])

    def test_a_row_of_an_older_daemon_has_defaults(self):
        container = self.create("old")
        self.damage("UPDATE containers SET state = '{\"status\":\"exited\"}', "
                    "settings = json_remove(settings, '$.config.Shell', '$.host_config.PidsLimit'), "
                    "mounts = json_remove(mounts, '$[0].subpath')")

        self.assertEqual(self.names(), {"old": "exited"})
        self.daemon.api.post(f"/containers/{container}/start")

    def test_a_damaged_volume_is_kept_for_who_has_it(self):
        self.create("user")
        self.damage("UPDATE volumes SET labels = '{' WHERE name = 'data'")

        self.assertIn("volume data is damaged: row.labels", self.log())
        self.assertIn("row.labels", self.daemon.api.get("/volumes/data")["Status"]["damage"])
        self.daemon.api.post("/containers/user/start")
        with self.assertRaises(ApiError) as refused:
            self.create("other")
        self.assertEqual(refused.exception.status, 409)
        self.daemon.api.call("DELETE", "/containers/user", query={"force": 1})
        pruned = self.daemon.api.call("POST", "/volumes/prune", query={"filters": '{"all":["1"]}'})[1]
        self.assertEqual(pruned["VolumesDeleted"] or [], [])
        self.daemon.api.call("DELETE", "/volumes/data")
        self.create("other")

    def test_damaged_events_are_left_out(self):
        self.create("good")
        self.daemon.end()
        self.daemon.start()
        self.damage("UPDATE events SET event = '{\"type\":7}' WHERE event LIKE '%\"type\":\"volume\"%'")

        events = self.daemon.stream("GET", "/events", {"since": 1, "until": f"{time.time():.9f}"})

        self.assertIn(("container", "create"), [(event["Type"], event["Action"]) for event in events])
        self.assertNotIn("volume", [event["Type"] for event in events])


if __name__ == "__main__":
    unittest.main()
