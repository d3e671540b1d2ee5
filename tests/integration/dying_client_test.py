#!/usr/bin/python3
"""Clients that die in the middle: what they sent arrives, their input ends, and nobody works on for them."""

import os
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError  # noqa: E402
from harness.host import TIMEOUT, HostTest, api, docker, host_state, on_host, output, settle  # noqa: E402


def wait_for(condition, what):
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(what)
        time.sleep(0.2)


def begin(*arguments, stdin=subprocess.PIPE):
    """The stock client, with an input that does not end by itself."""
    return subprocess.Popen(["docker", *arguments], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def kill(client):
    client.send_signal(signal.SIGKILL)
    client.wait()
    client.stdout.close()


def exists(name):
    return docker("inspect", name, check=False).returncode == 0


def running(name):
    return output("inspect", "-f", "{{.State.Running}}", name, check=False) == "true"


class InputTest(HostTest):
    def test_run_ends_with_its_client_that_sends_nothing(self):
        client = begin("run", "--rm", "-i", "--name", "dying-idle", "busybox", "cat")
        wait_for(lambda: running("dying-idle"), "it does not start")

        kill(client)
        client.stdin.close()

        wait_for(lambda: not exists("dying-idle"), "the container lives on")

    def test_run_ends_with_its_client_that_sends_much(self):
        for command in (["cat"], ["wc", "-c"]):
            with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as source:
                client = begin("run", "--rm", "-i", "--name", "dying-busy", "busybox", *command, stdin=source.stdout)
                wait_for(lambda: running("dying-busy"), "it does not start")
                time.sleep(1)
                kill(client)
                source.kill()

            wait_for(lambda: not exists("dying-busy"), f"{command}: the container lives on")

    def test_what_was_sent_before_arrives(self):
        client = begin("run", "-i", "--name", "dying-last-words", "busybox", "sh", "-c", "sleep 3; cat; echo end")
        wait_for(lambda: running("dying-last-words"), "it does not start")
        client.stdin.write(b"last words\n")
        client.stdin.flush()
        time.sleep(1)

        kill(client)
        client.stdin.close()

        wait_for(lambda: not running("dying-last-words"), "the container lives on")
        self.assertEqual(output("logs", "dying-last-words"), "last words\nend")

    def test_an_input_that_is_not_once_stays_open(self):
        docker("run", "-d", "-i", "--name", "dying-twice", "busybox", "cat")
        client = begin("attach", "dying-twice")
        time.sleep(1)

        kill(client)
        client.stdin.close()

        done = subprocess.Popen(["docker", "attach", "dying-twice"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        done.stdin.write(b"again\n")
        done.stdin.flush()
        self.assertEqual(done.stdout.readline(), b"again\n")
        kill(done)
        done.stdin.close()
        self.assertTrue(running("dying-twice"))

    def test_exec_ends_with_its_client(self):
        docker("run", "-d", "--name", "dying-exec", "busybox", "sleep", "1000")
        client = begin("exec", "-i", "dying-exec", "cat")
        cats = ["exec", "dying-exec", "sh", "-c", "grep -l ^cat /proc/[0-9]*/comm | wc -l"]
        wait_for(lambda: output(*cats) == "1", "it does not start")

        kill(client)
        client.stdin.close()

        wait_for(lambda: output(*cats) == "0", "the process lives on")


class WorkTest(HostTest):
    """What nobody waits for ends, and its container can be removed."""

    def setUp(self):
        super().setUp()
        docker("run", "--rm", "busybox", "true")
        settle()
        self._state = host_state()
        docker("run", "--name", "sparse", "busybox", "truncate", "-s", "8G", "/sparse")

    def _ends(self, client, started):
        wait_for(started, "it does not begin")
        kill(client)
        docker("rm", "-f", "sparse")
        settle(self._state)
        self.assertEqual(host_state(), self._state)
        self.assertEqual(on_host("sh", "-c", "pgrep -c containervm-layer || test $? = 1").strip(), "0")

    def _reads_files(self):
        return host_state()["monitors"] != self._state["monitors"]

    def test_copy_out(self):
        with open(os.devnull, "wb") as sink:
            client = subprocess.Popen(["docker", "cp", "sparse:/sparse", "-"], stdout=subprocess.PIPE, stderr=sink)
        self._ends(client, self._reads_files)

    def test_export(self):
        self._ends(begin("export", "sparse", stdin=subprocess.DEVNULL), self._reads_files)

    def test_commit(self):
        self._ends(begin("commit", "sparse", "never", stdin=subprocess.DEVNULL), self._reads_files)
        self.assertEqual(output("images", "-q", "never"), "")

    def test_a_removal_does_not_wait_for_a_commit(self):
        client = begin("commit", "sparse", "never", stdin=subprocess.DEVNULL)
        wait_for(self._reads_files, "it does not begin")

        docker("rm", "-f", "sparse")

        self.assertNotEqual(client.wait(timeout=TIMEOUT), 0)
        client.stdout.close()

    def test_a_monitor_that_was_stopped_is_removed(self):
        docker("rm", "-f", "sparse")
        docker("run", "-d", "--name", "stopped-monitor", "busybox", "sleep", "1000")
        pid = output("inspect", "-f", "{{.State.Pid}}", "stopped-monitor")
        on_host("kill", "-STOP", pid)

        docker("rm", "-f", "stopped-monitor")

        settle(self._state)
        self.assertEqual(host_state(), self._state)


class NetworksTest(HostTest):
    def test_what_cannot_be_honoured_is_refused(self):
        def create(endpoints):
            body = {"Image": "busybox", "Cmd": ["true"], "NetworkingConfig": {"EndpointsConfig": endpoints}}
            try:
                return api().call("POST", "/containers/create", body=body)[0]
            except ApiError as error:
                return error.status

        self.assertEqual(create({"bridge": {}, "none": {}}), 400)
        self.assertEqual(create({"bridge": {"Aliases": ["a"]}}), 400)
        self.assertEqual(create({"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}), 400)
        self.assertEqual(create({"default": {}}), 201)

    def test_a_network_that_is_not_there_is_missed_at_the_start(self):
        body = {"Image": "busybox", "Cmd": ["true"], "NetworkingConfig": {"EndpointsConfig": {"elsewhere": {}}}}
        container = api().call("POST", "/containers/create", body=body)[1]["Id"]

        with self.assertRaises(ApiError) as refused:
            api().call("POST", f"/containers/{container}/start")

        self.assertEqual(refused.exception.status, 404)
        self.assertIn("network elsewhere not found", str(refused.exception))

    def test_more_memory_than_the_host_has_is_refused(self):
        refused = docker("run", "--rm", "-m", "4000g", "busybox", "true", check=False)

        self.assertEqual(refused.returncode, 125)
        self.assertIn(b"invalid memory limit", refused.stderr)


if __name__ == "__main__":
    unittest.main()
