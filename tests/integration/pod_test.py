#!/usr/bin/python3
"""Several containers in one machine: what they share, what is each one's own, and who outlives whom."""

import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from harness.host import TidyHostTest, api, docker, output, refused  # noqa: E402
from harness.servers import asks, eventually, host_asks, serve  # noqa: E402

PORT = 18180
MIB = 1 << 20
# Debian's perl knows the System V calls.
MAKE_SEGMENT = 'my $id = shmget(4711, 64, 01600) // die $!; shmwrite($id, "from the first", 0, 64) or die $!; print "made"'
READ_SEGMENT = 'my $id = shmget(4711, 64, 0) // die $!; my $x; shmread($id, $x, 0, 14) or die $!; print $x'


def run(*options, command=("sleep", "1000"), image="busybox"):
    """Starts a container in the background; its ID."""
    return output("run", "-d", *options, image, *command)


def state(container):
    return api().get(f"/containers/{container}/json")["State"]


def inside(container, script):
    return output("exec", container, "sh", "-c", script)


class PodTest(TidyHostTest):
    def test_a_side_car_is_at_the_others_localhost_and_behind_its_ports(self):
        web = serve("web", "-p", f"{PORT}:81", "--network", "bridge")
        car = serve("car", "--network", "container:web")
        self.assertEqual(output("wait", car), "1")  # the first has port 80
        late = run("--name", "late", "--network", "container:web", command=("httpd", "-f", "-p", "81", "-h", "/etc"))
        self.assertEqual(asks("late", "127.0.0.1"), "web")
        self.assertEqual(inside("late", "cat /etc/hosts"), inside("web", "cat /etc/hosts"))
        docker("exec", "late", "sh", "-c", "echo -n late > /etc/index.html")
        self.assertEqual(eventually(lambda: host_asks("127.0.0.1", PORT), "late"), "late")
        self.assertEqual(inside("late", "hostname"), web[:12])
        self.assertEqual(inside("late", "cat /etc/hostname"), inside("web", "cat /etc/hostname"))
        self.assertEqual(inside("late", "ip -o -4 addr show eth0"), inside("web", "ip -o -4 addr show eth0"))
        self.assertNotEqual(inside("late", "ls /"), inside("web", "ls /"))  # /www is the first one's

        joined = api().get("/containers/late/json")
        self.assertEqual(joined["HostConfig"]["NetworkMode"], f"container:{web}")
        self.assertEqual(joined["NetworkSettings"]["Networks"], {})
        self.assertEqual(joined["NetworkSettings"]["IPAddress"], "")
        self.assertEqual(joined["Config"]["Hostname"], web[:12])
        self.assertEqual(state("late")["Pid"], state("web")["Pid"])

    def test_memory_and_system_v_segments_are_shared(self):
        first = run("--name", "first", "--ipc", "shareable", command=("sleep", "1000"), image="debian:12")
        both = ("--network", f"container:{first}", "--ipc", "container:first")
        second = run("--name", "second", *both, image="debian:12")
        third = run("--network", "container:first", image="debian:12")

        self.assertEqual(output("exec", "first", "perl", "-e", MAKE_SEGMENT), "made")
        self.assertEqual(output("exec", "second", "perl", "-e", READ_SEGMENT), "from the first")
        self.assertNotEqual(docker("exec", third, "perl", "-e", READ_SEGMENT, check=False).returncode, 0)
        inside("second", "echo shared > /dev/shm/file")
        self.assertEqual(inside("first", "cat /dev/shm/file"), "shared")
        self.assertEqual(inside(third, "ls /dev/shm"), "")
        self.assertIn("non-shareable IPC", refused("run", "--rm", "--network", "container:first", "--ipc",
                                                   f"container:{third}", "busybox", "true"))
        self.assertEqual(inside(run("--ipc", "none"), "ls -d /dev/shm || true"), "")
        self.assertEqual(api().get(f"/containers/{second}/json")["HostConfig"]["IpcMode"], f"container:{first}")

    def test_processes_are_shared_and_end_together(self):
        first = run("--name", "first", command=("sleep", "4711"))
        second = run("--name", "second", "--network", "container:first", "--pid", "container:first")
        alone = run("--network", "none", "--pid", "container:first", command=("sleep", "1002"))

        listed = inside("second", "ps")
        self.assertIn("sleep 4711", listed)
        self.assertIn("sleep 1002", listed)
        self.assertEqual(inside(alone, "ls /sys/class/net"), "lo")
        self.assertIn("sleep 1000", output("top", "second"))
        self.assertNotIn("4711", output("top", "second"))
        inside("first", "kill -9 $(pidof sleep | tr ' ' '\\n' | while read p; do "
               "grep -q 1002 /proc/$p/cmdline && echo $p; done)")
        self.assertEqual(output("wait", alone), "137")
        self.assertTrue(state("first")["Running"])
        docker("kill", "first")
        self.assertEqual(output("wait", second), "137")
        self.assertIn(f"failed to join PID namespace: container {first} is not running", refused("start", alone))
        docker("start", "first", "second")
        self.assertIn("sleep 4711", inside("second", "ps"))

    def test_limits_logs_and_exits_are_each_ones_own(self):
        run("--name", "first", "-m", "100m", command=("sh", "-c", "echo one; exec sleep 1000"))
        second = run("--name", "second", "-m", "50m", "--pids-limit", "20", "--network", "container:first",
                     command=("sh", "-c", "echo two; cat /sys/fs/cgroup/memory.max; until [ -e /go ]; do sleep 1; done; exit 7"))
        greedy = run("-m", "32m", "--network", "container:first", command=("tail", "/dev/zero"))

        self.assertEqual(output("wait", greedy), "137")
        self.assertTrue(state(greedy)["OOMKilled"])
        self.assertEqual(output("logs", "first"), "one")
        self.assertEqual(output("logs", "second"), f"two\n{50 * MIB}")
        self.assertEqual(inside("first", "cat /sys/fs/cgroup/memory.max"), str(100 * MIB))
        limits = output("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "first", "second")
        self.assertIn("first", limits)
        self.assertRegex(limits, r"second .*/ 50MiB")
        docker("pause", "first")
        inside("second", "touch /go")
        self.assertEqual(output("wait", second), "7")
        docker("unpause", "first")
        self.assertIn("MiB of memory", refused("run", "--rm", "-m", "1g", "--network", "container:first", "busybox",
                                               "true"))
        docker("cp", "second:/go", "-")
        self.assertIn("A /go", output("diff", "second"))
        docker("start", "second")
        self.assertEqual(output("wait", second), "7")  # its files are as they were
        docker("update", "-m", "64m", "first")
        self.assertEqual(inside("first", "cat /sys/fs/cgroup/memory.max"), str(64 * MIB))

    def test_who_is_left_goes_on_without_the_network_of_one_that_ended(self):
        first = serve("first", "-p", f"{PORT}:80")
        run("--name", "second", "--network", "container:first")
        inside("second", "echo kept > /kept")
        self.assertEqual(asks("second", "127.0.0.1"), "first")

        docker("stop", "-t", "1", "first")

        self.assertTrue(state("second")["Running"])
        self.assertEqual(inside("second", "ls /sys/class/net"), "lo")
        self.assertIn(f"cannot join network of a non running container: {first}",
                      refused("run", "--rm", "--network", f"container:{first}", "busybox", "true"))
        docker("start", "first")  # its port is free, and the other has its old machine
        self.assertEqual(eventually(lambda: host_asks("127.0.0.1", PORT), "first"), "first")
        self.assertIsNone(asks("second", "127.0.0.1"))
        self.assertNotEqual(state("first")["Pid"], state("second")["Pid"])
        docker("restart", "-t", "1", "second")
        self.assertEqual(asks("second", "127.0.0.1"), "first")
        self.assertEqual(inside("second", "cat /kept"), "kept")
        self.assertEqual(state("first")["Pid"], state("second")["Pid"])

    def test_nothing_is_left_in_whatever_order_they_are_removed(self):
        for order in (("first", "second", "third"), ("third", "first", "second"), ("second", "third", "first")):
            run("--name", "first", "--ipc", "shareable")
            run("--name", "second", "--network", "container:first", "--ipc", "container:first")
            run("--name", "third", "--network", "container:second", "--pid", "container:second")
            for name in order:
                docker("rm", "-f", name)
        docker("run", "-d", "--rm", "--name", "first", "busybox", "sleep", "1000")
        docker("run", "--rm", "--network", "container:first", "busybox", "true")
        self.assertTrue(state("first")["Running"])

    def test_all_of_them_outlive_a_daemon_that_is_killed(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        counter = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done")
        run("--name", "first", "--ipc", "shareable", "-p", f"{PORT}:80", command=counter)
        run("--name", "second", "--network", "container:first", "--ipc", "container:first", command=counter)
        run("--name", "third", "--network", "container:first", "--pid", "container:first")
        run("--name", "left", "--network", "container:first")
        docker("kill", "left")
        before = {name: state(name) for name in ("first", "second", "third")}

        daemon.restart("KILL")

        for name, was in before.items():
            self.assertEqual(state(name), was)
        for name in ("first", "second"):
            lines = output("logs", name).split("\n")
            self.assertEqual(lines, [f"line {i}" for i in range(1, len(lines) + 1)])
        inside("first", "echo again > /dev/shm/file")
        self.assertEqual(inside("second", "cat /dev/shm/file"), "again")
        self.assertIn("line", inside("third", "cat /proc/1/cmdline | tr '\\0' ' '"))
        docker("start", "left")
        docker("stop", "-t", "1", "first")
        self.assertEqual(output("wait", "third"), "137")
        daemon.restart("KILL")  # with those that are left in a machine of which the first is gone
        self.assertTrue(state("second")["Running"] and state("left")["Running"])
        self.assertEqual(inside("second", "ls /sys/class/net"), "lo")
        docker("start", "first")
        docker("stop", "-t", "1", "second", "left")
        self.assertEqual(state("second")["ExitCode"], 137)

    def test_what_docker_refuses_is_refused_in_its_words(self):
        run("--name", "first")
        shared = ("create", "--network", "container:first")
        for options, words in ((("--hostname", "x"), "hostname and the network mode"),
                               (("--dns", "192.0.2.1"), "dns and the network mode"),
                               (("--add-host", "a:192.0.2.1"), "custom host-to-IP mapping and the network mode"),
                               (("-p", "80"), "port publishing and the container type network mode"),
                               (("-P",), "port publishing and the container type network mode"),
                               (("--expose", "80"), "port exposing and the container type network mode")):
            self.assertIn(f"conflicting options: {words}", refused(*shared, *options, "busybox"))
        self.assertIn("No such container: nobody", refused("run", "--network", "container:nobody", "busybox", "true"))
        self.assertIn("No such container: nobody", refused("create", "--network", "none", "--pid", "container:nobody",
                                                           "busybox"))
        self.assertIn("share the network as well", refused("create", "--pid", "container:first", "busybox"))
        joiner = run("--network", "container:first")
        docker("network", "create", "pod-test")
        self.addCleanup(docker, "network", "rm", "pod-test", check=False)
        self.assertIn("container sharing network namespace", refused("network", "connect", "pod-test", joiner))
        with self.assertRaises(ApiError) as caught:
            api().post("/containers/create", {"Image": "busybox", "HostConfig": {"NetworkMode": "container:first",
                                                                                "BlkioWeight": 100}})
        self.assertIn("block I/O weight", str(caught.exception))

    def test_the_calls_of_a_bridge_for_kubernetes(self):
        """A sandbox and its containers, made, looked at and ended as cri-dockerd does it."""
        common = {"Labels": {"io.kubernetes.pod.name": "web"}, "OpenStdin": False, "StdinOnce": False, "Tty": False}
        security = {"SecurityOpt": ["seccomp=unconfined"], "Privileged": False, "OomScoreAdj": -998}
        sandbox = api().post("/containers/create", {
            **common, "Image": "busybox", "Cmd": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"],
            "Hostname": "web", "HostConfig": {**security, "NetworkMode": "none", "IpcMode": "shareable",
                                              "CpuShares": 2, "MemorySwap": 0,
                                              "LogConfig": {"Type": "json-file", "Config": {}}}},
            name="k8s_POD_web_default_0")["Id"]
        api().post(f"/containers/{sandbox}/start")
        mode = f"container:{sandbox}"
        members = []
        for number, memory in enumerate((64 * MIB, 256 * MIB, 0)):
            container = api().post("/containers/create", {
                **common, "Image": "busybox", "Entrypoint": ["sh", "-c"],
                "Cmd": [f"echo container {number}; httpd -p 808{number} -h /; exec sleep 1000"],
                "Env": ["KUBERNETES_PORT=443"], "WorkingDir": "/",
                "HostConfig": {**security, "NetworkMode": mode, "IpcMode": mode, "PidMode": mode, "Memory": memory,
                               "CpuShares": 102, "CpuPeriod": 100000, "CpuQuota": 50000,
                               "MaskedPaths": ["/proc/kcore"], "ReadonlyPaths": ["/proc/sys"]}},
                name=f"k8s_c{number}_web_default_0")["Id"]
            api().post(f"/containers/{container}/start")
            members.append(container)

        for number, container in enumerate(members):
            found = api().get(f"/containers/{container}/json")
            self.assertTrue(found["State"]["Running"])
            self.assertEqual(found["HostConfig"]["PidMode"], mode)
            self.assertEqual(output("logs", container), f"container {number}")
            self.assertEqual(inside(container, "hostname"), "web")
            for other in range(3):
                port = f"808{other}"
                self.assertTrue(eventually(lambda c=container, p=port: asks(c, "127.0.0.1", p) is not None, True))
        self.assertIn("httpd -p 8082", inside(members[0], "ps"))
        statistics = api().get(f"/containers/{members[1]}/stats", stream="false", **{"one-shot": "true"})
        self.assertEqual(statistics["memory_stats"]["limit"], 256 * MIB)
        listed = api().get("/containers/json", filters='{"label": ["io.kubernetes.pod.name=web"]}')
        self.assertEqual({c["Id"] for c in listed}, {sandbox, *members})

        # The kubelet restarts a container by a new one in the same sandbox.
        api().post(f"/containers/{members[0]}/stop", t=1)
        again = api().post("/containers/create", {
            **common, "Image": "busybox", "Cmd": ["sleep", "1000"],
            "HostConfig": {**security, "NetworkMode": mode, "IpcMode": mode, "PidMode": mode}},
            name="k8s_c0_web_default_1")["Id"]
        api().post(f"/containers/{again}/start")
        api().delete(f"/containers/{members[0]}", v="true")
        # StopPodSandbox and RemovePodSandbox.
        for container in (again, *members[1:]):
            api().post(f"/containers/{container}/stop", t=1)
        api().post(f"/containers/{sandbox}/stop", t=10)
        self.assertEqual(state(sandbox)["ExitCode"], 0)
        for container in (again, *members[1:], sandbox):
            api().delete(f"/containers/{container}", v="true", force="true")

    def test_a_policy_starts_it_again_in_the_others_new_machine(self):
        always = ("--restart", "always")
        run("--name", "first", *always, command=("sh", "-c", "until [ -e /end ]; do sleep 1; done; rm /end"))
        run("--name", "second", *always, "--network", "container:first", "--pid", "container:first")

        docker("exec", "first", "touch", "/end")
        self.assertTrue(eventually(lambda: api().get("/containers/first/json")["RestartCount"], 1))

        def in_one_machine():
            one, other = state("first"), state("second")
            return one["Running"] and other["Running"] and one["Pid"] == other["Pid"]
        self.assertTrue(eventually(in_one_machine, True))


if __name__ == "__main__":
    unittest.main()
