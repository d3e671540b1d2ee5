#!/usr/bin/python3
"""What is asked of a running container: pause, top, stats, update."""

import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, docker, on_host, output  # noqa: E402


def wait_until(condition):
    """Looks again and again, for a bounded time."""
    deadline = time.monotonic() + 60
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about")
        time.sleep(0.1)


def wait_for_log(container, text):
    wait_until(lambda: text in docker("logs", container).stdout)


def standing_log(container):
    """The log once what was under way has arrived; an error if it goes on growing."""
    logs = [None]

    def stands():
        time.sleep(0.5)
        logs.append(docker("logs", container).stdout)
        return logs[-1] == logs[-2]

    wait_until(stands)
    return logs[-1]


class CgroupTreeTest(HostTest):
    """As systemd, dockerd and k3s do: the first process moves below and hands controllers on."""

    MAKE = ("cd /sys/fs/cgroup && mkdir init && echo 1 >init/cgroup.procs && echo '+memory +pids' >cgroup.subtree_control"
            " && mkdir -p sub/below && echo 50000000 >sub/memory.max && echo made; while :; do sleep 1; done")

    def _container(self):
        docker("run", "-d", "--name", "tree", "--privileged", "-m", "128m", "--health-cmd", "true",
               "--health-interval", "1s", "busybox", "sh", "-c", self.MAKE)
        wait_for_log("tree", b"made")

    def test_everything_that_starts_a_process_in_it_works(self):
        self._container()

        self.assertEqual(output("exec", "tree", "cat", "/proc/self/cgroup"), "0::/init")
        self.assertEqual(output("exec", "-t", "tree", "echo", "in").strip(), "in")
        docker("cp", os.path.abspath(__file__), "tree:/copied")
        self.assertIn("CgroupTreeTest", output("exec", "tree", "cat", "/copied"))
        wait_until(lambda: output("inspect", "-f", "{{.State.Health.Status}}", "tree") == "healthy")

    def test_limits_and_observation_are_the_whole_trees(self):
        self._container()

        self.assertIn("sleep 1", output("top", "tree"))
        stats = api().get("/containers/tree/stats", stream="false")
        self.assertEqual(stats["memory_stats"]["limit"], 128 << 20)
        self.assertGreaterEqual(stats["pids_stats"]["current"], 1)
        docker("update", "--pids-limit", "60", "tree")
        self.assertEqual(output("exec", "tree", "cat", "/sys/fs/cgroup/pids.max"), "60")
        docker("pause", "tree")
        docker("unpause", "tree")
        docker("stop", "-t", "1", "tree")
        docker("start", "tree")
        self.assertEqual(output("exec", "tree", "echo", "again"), "again")


class PauseTest(HostTest):
    def test_a_paused_container_stands_still(self):
        docker("run", "-d", "--name", "still", "busybox", "sh", "-c", "while :; do echo x; done")
        wait_for_log("still", b"x")
        docker("pause", "still")
        before = standing_log("still")

        self.assertIn("(Paused)", output("ps", "--filter", "name=still", "--format", "{{.Status}}"))
        self.assertEqual(docker("logs", "still").stdout, before)
        refused = docker("exec", "still", "true", check=False)
        self.assertEqual(refused.returncode, 1)
        self.assertIn(b"is paused, unpause the container before exec", refused.stderr)

        docker("unpause", "still")
        wait_until(lambda: docker("logs", "still").stdout != before)

    def test_stop_and_kill_reach_a_paused_container(self):
        for command in (["stop", "-t", "20"], ["kill"]):
            with self.subTest(command[0]):
                name = "paused-" + command[0]
                docker("run", "-d", "--name", name, "busybox", "sh", "-c",
                       "trap 'exit 9' TERM; echo ready; while :; do sleep 1; done")
                wait_for_log(name, b"ready")
                docker("pause", name)
                docker(*command, name)
                code = output("inspect", "-f", "{{.State.ExitCode}} {{.State.Paused}}", name)
                self.assertEqual(code, "9 false" if command[0] == "stop" else "137 false")


class TopTest(HostTest):
    def test_top_lists_all_processes_of_the_container_and_no_other(self):
        docker("run", "-d", "--name", "busy", "--user", "7", "-i", "busybox", "sh", "-c", "sleep 1000 & echo ready; read x", "name")

        wait_for_log("busy", b"ready")

        top = api().get("/containers/busy/top?ps_args=-o%20pid,user,args")

        self.assertEqual(top["Titles"], ["PID", "USER", "COMMAND"])
        self.assertEqual(sorted(row[2] for row in top["Processes"]),
                         ["sh -c sleep 1000 & echo ready; read x name", "sleep 1000"])
        self.assertEqual({row[1] for row in top["Processes"]}, {"7"})


class StatsTest(HostTest):
    def test_stats_come_from_the_containers_own_cgroup(self):
        docker("run", "-d", "--name", "eater", "-m", "100m", "--pids-limit", "50", "busybox", "sh", "-c",
               "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; echo ready; "
               "i=0; while :; do i=$((i+1)); done")
        wait_for_log("eater", b"ready")

        stats = api().get("/containers/eater/stats?stream=false")

        self.assertEqual(stats["memory_stats"]["limit"], 100 << 20)
        self.assertGreater(stats["memory_stats"]["usage"], 20 << 20)
        self.assertEqual(stats["pids_stats"], {"current": 1, "limit": 50})
        used = (stats["cpu_stats"]["cpu_usage"]["total_usage"]
                - stats["precpu_stats"]["cpu_usage"]["total_usage"])
        self.assertGreater(used, 0)
        self.assertGreater(stats["cpu_stats"]["system_cpu_usage"], stats["precpu_stats"]["system_cpu_usage"])
        self.assertIn("eth0", stats["networks"])

    def test_the_client_shows_them(self):
        docker("run", "-d", "--name", "quiet", "busybox", "sleep", "1000")

        line = json.loads(output("stats", "--no-stream", "--format", "json", "quiet"))

        self.assertEqual(line["Name"], "quiet")
        self.assertEqual(line["PIDs"], "1")


class BlockIoTest(HostTest):
    def setUp(self):
        super().setUp()
        state = api().get("/info")["DockerRootDir"]
        self.device = on_host("df", "--output=source", state).split()[-1]

    def _group(self, container):
        """The cgroup of its machine on the host."""
        pid = output("inspect", "-f", "{{.State.Pid}}", container)
        path = on_host("cat", f"/proc/{pid}/cgroup").strip().rpartition(":")[2]
        return "/sys/fs/cgroup" + path

    def test_rates_hold_for_the_containers_disks(self):
        container = output("run", "-d", "--device-write-bps", f"{self.device}:1mb", "--device-read-iops",
                           f"{self.device}:100", "busybox", "sleep", "1000")

        lines = output("exec", container, "cat", "/sys/fs/cgroup/io.max").split("\n")

        self.assertEqual(len(lines), 2)
        for line in lines:
            self.assertEqual(line.split(" ", 1)[1], "rbps=max wbps=1048576 riops=100 wiops=max")

    def test_weights_hold_against_other_machines(self):
        container = output("run", "-d", "--cpu-shares", "512", "busybox", "sleep", "1000")
        group = self._group(container)
        self.assertEqual(on_host("cat", f"{group}/cpu.weight").strip(), "59")

        docker("update", "--cpu-shares", "2048", container)

        self.assertEqual(on_host("cat", f"{group}/cpu.weight").strip(), "174")
        has_weights = on_host("sh", "-c", f"ls {group} | grep -c '^io.*weight' || true").strip() != "0"
        done = docker("update", "--blkio-weight", "500", container, check=False)
        self.assertEqual(done.returncode == 0, has_weights, done.stderr)
        if not has_weights:
            self.assertIn(b"no block I/O weights", done.stderr)

    def test_a_path_that_is_no_device_is_refused(self):
        done = docker("run", "--rm", "--device-read-bps", "/dev/null:1mb", "busybox", "true", check=False)

        self.assertEqual(done.returncode, 125)
        self.assertIn(b"/dev/null is not a block device", done.stderr)


class UpdateTest(HostTest):
    def test_limits_change_while_the_container_runs(self):
        docker("run", "-d", "--name", "changed", "--cpu-shares", "512", "busybox", "sleep", "1000")

        docker("update", "--memory", "80m", "--memory-swap", "80m", "--pids-limit", "30", "--cpus", "0.5", "changed")

        inside = output("exec", "changed", "sh", "-c",
                        "cd /sys/fs/cgroup; cat memory.max pids.max cpu.max cpu.weight")
        self.assertEqual(inside.splitlines(), [str(80 << 20), "30", "50000 100000", "59"])
        self.assertEqual(output("inspect", "-f", "{{.HostConfig.Memory}} {{.HostConfig.CpuShares}}", "changed"),
                         f"{80 << 20} 512")

    def test_a_restart_keeps_the_new_limits(self):
        docker("run", "-d", "--name", "again", "busybox", "sleep", "1000")
        docker("update", "--pids-limit", "33", "--restart", "on-failure:3", "again")

        docker("restart", "-t", "0", "again")

        self.assertEqual(output("exec", "again", "cat", "/sys/fs/cgroup/pids.max"), "33")
        policy = output("inspect", "-f", "{{json .HostConfig.RestartPolicy}}", "again")
        self.assertEqual(json.loads(policy), {"Name": "on-failure", "MaximumRetryCount": 3})

    def test_what_the_machine_cannot_give_is_refused_and_changes_nothing(self):
        docker("run", "-d", "--name", "small", "busybox", "sleep", "1000")

        for limit, words in (("1g", b"stop the container before raising its limit"),
                             ("100000g", b"is more than this host has")):
            refused = docker("update", "--memory", limit, "--memory-swap", limit, "small", check=False)

            self.assertEqual(refused.returncode, 1)
            self.assertIn(words, refused.stderr)
        self.assertEqual(output("inspect", "-f", "{{.HostConfig.Memory}}", "small"), "0")


if __name__ == "__main__":
    unittest.main()
