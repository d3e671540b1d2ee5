#!/usr/bin/python3
"""The daemon is killed and started again: nothing that ran is lost, nothing half-made is seen.

DAEMON_KILLS says how often it is killed under load (CI does it a few times; 200 take an hour in the emulated
machine), RUNNING_CONTAINERS how many run while it is replaced.
"""

import concurrent.futures
import datetime
import os
import random
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon, was_cut_off  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from harness.host import TIMEOUT, HostTest, api, docker, host_state, on_host, output, settle  # noqa: E402
from harness.workers import Workers  # noqa: E402

KILLS = int(os.environ.get("DAEMON_KILLS", "4"))
RUNNING = int(os.environ.get("RUNNING_CONTAINERS", "5"))
WORKERS = 4
KEPT = 12
COUNTER = "i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done"


def instant(text):
    """Docker's time with nine digits, as seconds."""
    whole, _, fraction = text.rstrip("Z").partition(".")
    return datetime.datetime.fromisoformat(whole + "+00:00").timestamp() + float("0." + (fraction or "0"))


def inspect(container):
    return api().get(f"/containers/{container}/json")


def execute(container, command):
    """(exit code, stdout) of an exec."""
    number = api().post(f"/containers/{container}/exec",
                        {"Cmd": command, "AttachStdout": True, "AttachStderr": True})["Id"]
    stream = api().hijack(f"/exec/{number}/start", body={"Detach": False, "Tty": False})
    out, _ = stream.read_outputs()
    stream.close()
    return api().get(f"/exec/{number}/json")["ExitCode"], out.decode()


class ReplacementTest(HostTest):
    def setUp(self):
        super().setUp()
        self.daemon = Daemon()
        self.addCleanup(self.daemon.revive)

    def _counted(self, container):
        """The numbers that the counter has logged: each once, in order, from 1."""
        lines = output("logs", container).split("\n")
        self.assertEqual(lines, [f"line {i}" for i in range(1, len(lines) + 1)])
        return len(lines)

    def _check_replacement(self, replace):
        counters = [output("run", "-d", "busybox", "sh", "-c", COUNTER) for _ in range(RUNNING)]
        cat = output("run", "-d", "-i", "busybox", "cat")
        ending = output("run", "-d", "busybox", "sh", "-c", "until [ -e /go ]; do sleep 1; done; sleep 2; exit 7")
        before = {c: inspect(c) for c in [*counters, cat]}
        docker("exec", ending, "touch", "/go")

        replace()

        for container, was in before.items():
            now = inspect(container)
            self.assertTrue(now["State"]["Running"], now["State"])
            self.assertEqual(now["State"]["StartedAt"], was["State"]["StartedAt"])
            self.assertEqual(now["State"]["Pid"], was["State"]["Pid"])
            self.assertEqual(now["NetworkSettings"], was["NetworkSettings"])
        counted = {c: self._counted(c) for c in counters}
        self.assertEqual(output("wait", ending), "7")
        self.assertEqual(execute(cat, ["sh", "-c", "echo here; exit 3"]), (3, "here\n"))
        stream = api().attach(cat, stdin=True)
        stream.send(b"again\n")
        self.assertEqual(next(stream.read_frames()), (1, b"again\n"))
        stream.close()
        time.sleep(3)
        for container, lines in counted.items():
            self.assertGreater(self._counted(container), lines)
        return inspect(ending)["State"]

    def test_containers_outlive_a_kill(self):
        back = 0

        def replace():
            nonlocal back
            self.daemon.end("KILL")
            time.sleep(20)  # for the exit
            back = float(on_host("date", "+%s.%N"))
            self.daemon.start()

        ended = self._check_replacement(replace)

        self.assertEqual((ended["Status"], ended["ExitCode"]), ("exited", 7))
        self.assertLess(instant(ended["FinishedAt"]), back)


    def test_containers_outlive_an_orderly_replacement(self):
        def replace():
            self.daemon.restart("TERM")

        self.daemon.restart("TERM", "--live-restore")
        self.assertIs(api().get("/info")["LiveRestoreEnabled"], True)
        self.daemon.command.append("--live-restore")
        try:
            self._check_replacement(replace)
        finally:
            self.daemon.command.remove("--live-restore")
            self.remove_left()
            self.daemon.restart("TERM")


class Load(Workers):
    """Workers that create, start, execute in, commit and remove containers, whatever becomes of the daemon.

    `kept` names what a worker saw started and has not begun to remove: after any kill it must run.
    """

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.kept = {}  # id -> name
        self.rounds = 0
        self.cut = 0
        self._numbers = [0] * WORKERS
        super().__init__(WORKERS)

    def work(self, worker):
        self._numbers[worker] += 1
        name = f"load-{worker}-{self._numbers[worker]}"
        try:
            self._round(name)
            with self.lock:
                self.rounds += 1
        except Exception as error:  # noqa: BLE001: sorted out here
            if was_cut_off(error):
                with self.lock:
                    self.cut += 1
                time.sleep(0.2)
            else:
                with self.lock:
                    self.problems.append(f"{name}: {type(error).__name__} {error}")

    def _round(self, name):
        container = api().create("busybox", ["sh", "-c", "echo started; sleep 100000"], name=name,
                                 HostConfig={"Binds": [f"{name}:/named", "/anonymous"]})
        api().post(f"/containers/{container}/start")
        with self.lock:
            self.kept[container] = name
            leave = self.random.random() < 0.1 and len(self.kept) < KEPT
            commit = self.random.random() < 0.3
        code, out = execute(container, ["sh", "-c", f"echo {name} >/file; cat /file | tee /named/file /anonymous/file; exit 5"])
        if (code, out) != (5, name + "\n"):
            raise AssertionError(f"exec: {code} {out!r}")
        if commit:
            api().call("POST", "/commit", body={}, query={"container": container, "repo": name, "tag": "made"})
        if leave:
            return
        with self.lock:
            del self.kept[container]
        api().delete(f"/containers/{container}", force=1, v=1)
        api().delete(f"/volumes/{name}")
        if commit:
            api().delete(f"/images/{name}:made")


class KillTest(HostTest):
    def test_kills_under_load(self):
        seed = int(os.environ.get("DAEMON_KILL_SEED", random.randrange(1 << 30)))
        print(f"seed {seed}", flush=True)
        moments = random.Random(seed)
        self.daemon = Daemon()
        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda _: docker("run", "--rm", "busybox", "true"), range(WORKERS)))
        longest = 3 * (time.monotonic() - began)  # so that kills come at every step of a round, at any speed
        settle()
        before = host_state()
        images = set(output("images", "-q", "--no-trunc").split())
        load = Load(seed)
        try:
            for kill in range(KILLS):
                load.resume()
                time.sleep(moments.uniform(0.1, longest))
                self.daemon.end("KILL")
                load.pause(TIMEOUT)
                self.daemon.start()
                self._check_everything(load)
                self._trim(load)
                if (kill + 1) % 10 == 0:
                    print(f"{kill + 1} kills: {load.rounds} rounds, {load.cut} cut off", flush=True)
        finally:
            load.stop(TIMEOUT)
            self.daemon.revive()
        print(f"{KILLS} kills: {load.rounds} rounds, {load.cut} cut off", flush=True)
        self._remove_everything(images)
        settle(before)
        self.assertEqual(host_state(), before)

    def _check_everything(self, load):
        self.assertEqual(load.problems, [])
        listed = {c["Id"]: c for c in api().get("/containers/json", all=1)}
        lost = {name for c, name in load.kept.items() if c not in listed or listed[c]["State"] != "running"}
        self.assertEqual(lost, set())
        for container, row in listed.items():
            whole = inspect(container)
            self.assertEqual(whole["State"]["Status"], row["State"])
            self.assertIn(row["State"], ("created", "running", "exited"))
        for container in random.Random(load.rounds).sample(sorted(load.kept), min(2, len(load.kept))):
            self.assertEqual(execute(container, ["cat", "/file"])[0] in (0, 1), True)
            self.assertEqual(output("logs", container), "started")
        # What was cut off in the middle is whole enough to be started, or gone.
        for container in [c for c in listed if c not in load.kept]:
            try:
                if listed[container]["State"] != "running":
                    api().post(f"/containers/{container}/start")
                api().delete(f"/containers/{container}", force=1, v=1)
            except ApiError as error:
                self.assertEqual(error.status, 404, error)
        directories = on_host("ls", f"{self.daemon.state}/containers").split()
        self.assertEqual(sorted(directories), sorted(load.kept))
        self._check_volumes(load)
        for image in api().get("/images/json"):
            api().get(f"/images/{image['Id']}/json")
            api().get(f"/images/{image['Id']}/history")
            for tag in image["RepoTags"] or []:
                if tag.endswith(":made"):
                    self.assertEqual(output("run", "--rm", tag, "cat", "/file"), tag.removesuffix(":made"))
                    api().delete(f"/images/{tag}")

    def _check_volumes(self, load):
        """Without a name: only those of containers. With one: also those whose container was never made, or is gone."""
        volumes = api().get("/volumes")["Volumes"]
        named = [volume["Name"] for volume in volumes if volume["Labels"] is None]
        self.assertEqual(len(volumes) - len(named), len(load.kept))
        self.assertLessEqual(set(load.kept.values()), set(named))
        self.assertEqual(sorted(on_host("ls", "-A", f"{self.daemon.state}/volumes").split()),
                         sorted(volume["Name"] for volume in volumes))
        for name in set(named) - set(load.kept.values()):
            api().delete(f"/volumes/{name}")

    def _trim(self, load):
        """Each kill leaves containers whose worker was cut off: only so many go on to the next."""
        for container in random.Random(load.rounds).sample(sorted(load.kept), max(0, len(load.kept) - KEPT)):
            api().delete(f"/containers/{container}", force=1, v=1)
            api().delete(f"/volumes/{load.kept.pop(container)}")

    def _remove_everything(self, images):
        left = output("ps", "-aq", "--no-trunc").split()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda c: api().delete(f"/containers/{c}", force=1, v=1), left))
        for volume in api().get("/volumes")["Volumes"]:
            api().delete(f"/volumes/{volume['Name']}")
        for image in set(output("images", "-q", "--no-trunc").split()) - images:
            docker("rmi", "-f", image)


if __name__ == "__main__":
    unittest.main()
