#!/usr/bin/python3
"""Logs, their rotation, events and attach, through the stock client and on the wire, in real guests."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import unittest

import websocket

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError, socket_path  # noqa: E402
from harness.host import HostTest, api, docker, on_host, output  # noqa: E402


def log_files(path):
    """The log's files as they are on the host, by name; what the daemon keeps beside them is none."""
    names = on_host("ls", os.path.dirname(path)).split()
    return sorted(name for name in names
                  if name.startswith(os.path.basename(path)) and not name.endswith(".position"))


class RotationTest(HostTest):
    def _run(self, options, script):
        arguments = [word for option in options for word in ("--log-opt", option)]
        container = output("run", "-d", *arguments, "busybox", "sh", "-c", script)
        docker("wait", container)
        return container, output("inspect", "-f", "{{.LogPath}}", container)

    def test_keeps_one_file_by_default(self):
        container, path = self._run(["max-size=2k"], "seq 1 1000")

        self.assertEqual(log_files(path), [os.path.basename(path)])
        lines = output("logs", container).split()
        self.assertEqual(lines, [str(n) for n in range(1001 - len(lines), 1001)])

    def test_keeps_and_reads_the_newest_of_its_rotated_files(self):
        for compress in ("false", "true"):
            container, path = self._run(["max-size=2k", "max-file=3", f"compress={compress}"], "seq 1 1000")
            name, end = os.path.basename(path), ".gz" if compress == "true" else ""

            files = log_files(path)
            self.assertEqual(len(files), 3)
            self.assertIn(name, files)
            self.assertEqual(sum(file.endswith(end) for file in files if file != name), 2)
            lines = output("logs", container).split()
            self.assertGreater(len(lines), 50)
            self.assertEqual(lines, [str(n) for n in range(1001 - len(lines), 1001)])
            self.assertEqual(output("logs", "--tail", "40", container).split(), lines[-40:])
            self.assertEqual(output("logs", "--tail", "0", container), "")

    def test_a_large_log_is_compressed_beside_the_container(self):
        container, path = self._run(["max-size=1m", "max-file=5", "compress=true"], "seq 1 40000")

        lines = output("logs", container).split()
        self.assertEqual(lines, [str(n) for n in range(1, 40001)])
        self.assertIn(os.path.basename(path) + ".1.gz", log_files(path))

    def test_follows_across_rotations_without_loss_or_duplication(self):
        container = output("create", "--log-opt", "max-size=2k", "--log-opt", "max-file=2", "busybox",
                           "sh", "-c", "sleep 2; seq 1 20000; sleep 1")
        docker("start", container)

        lines = output("logs", "-f", container).split()

        self.assertEqual(len(lines), 20000)
        self.assertEqual(lines, [str(n) for n in range(1, 20001)])

    def test_removal_leaves_nothing(self):
        container, path = self._run(["max-size=1m", "max-file=9", "compress=true"], "seq 1 40000")

        docker("rm", container)

        self.assertEqual(on_host("ls", os.path.dirname(path), check=False), "")

    def test_refuses_bad_options_in_dockers_words(self):
        for option, words in (("colour=red", "unknown log opt 'colour' for json-file log driver"),
                              ("mode=x", "logger: logging mode not supported: x"),
                              ("max-size=x", "failed to initialize logging driver: invalid size: 'x'"),
                              ("max-file=0", "max-file cannot be less than 1"),
                              ("compress=true", "compress cannot be true when max-file is less than 2")):
            done = docker("run", "--rm", "--log-opt", option, "busybox", "true", check=False)
            self.assertEqual(done.returncode, 125, option)
            self.assertIn(words, done.stderr.decode())


class LogsTest(HostTest):
    def test_details_are_labels_variables_and_the_tag(self):
        container = output("run", "-d", "--name", "tagged", "-l", "team=red", "-e", "COLOUR=blue green",
                           "--log-opt", "labels=team", "--log-opt", "env-regex=^COL",
                           "--log-opt", "tag={{.Name}}", "busybox", "echo", "hi")
        docker("wait", container)

        self.assertEqual(output("logs", "--details", container),
                         "COLOUR=blue+green,tag=tagged,team=red hi")
        self.assertEqual(output("logs", container), "hi")

    def test_since_and_until_take_fractions_and_rfc_3339(self):
        container = output("run", "-d", "busybox", "sh", "-c", "echo one; sleep 2; echo two")
        docker("wait", container)
        first, second = [line.split()[0] for line in output("logs", "-t", container).splitlines()]

        self.assertEqual(output("logs", "--since", second, container), "two")
        self.assertEqual(output("logs", "--until", first, container), "one")
        self.assertEqual(output("logs", "--since", first[:19] + "Z", "--until", first, container), "one")
        self.assertEqual(output("logs", "--since", "2100-01-01", container), "")

    def test_a_long_line_is_logged_in_parts_and_read_whole(self):
        container = output("run", "-d", "busybox", "sh", "-c",
                           "head -c 50000 /dev/zero | tr '\\0' x; echo; printf end")
        docker("wait", container)

        done = docker("logs", container)
        stamped = docker("logs", "-t", container).stdout

        self.assertEqual(done.stdout, b"x" * 50000 + b"\nend")
        self.assertEqual(stamped.count(stamped[:31]), 4)  # parts of 16 KiB, all of one time

    def test_without_a_log_nothing_is_read(self):
        container = output("run", "-d", "--log-driver", "none", "busybox", "echo", "hi")

        done = docker("logs", container, check=False)

        self.assertEqual(done.returncode, 1)
        self.assertIn(b"configured logging driver does not support reading", done.stderr)


class AttachTest(HostTest):
    def _serving(self, *options):
        container = output("run", "-d", "-i", *options, "busybox", "cat")
        return container

    def test_several_clients_see_the_same(self):
        container = self._serving()
        streams = [api().attach(container) for _ in range(3)]

        writer = api().attach(container, stdin=True)
        writer.send(b"hello\n")

        for stream in streams:
            self.assertEqual(next(stream.read_frames()), (1, b"hello\n"))
            stream.close()
        writer.close()

    def test_detach_keys_leave_the_container_running(self):
        container = output("run", "-d", "-it", "busybox", "cat")
        stream = api().hijack(f"/containers/{container}/attach",
                              {"stream": 1, "stdin": 1, "stdout": 1, "detachKeys": "ctrl-x,x"})

        stream.send(b"\x18x")
        stream.read_raw()

        self.assertEqual(output("inspect", "-f", "{{.State.Running}}", container), "true")
        self.assertIn("detach", output("events", "--since", "1h", "--until", "-2s", "--filter",
                                       f"container={container}", "--format", "{{.Action}}").split())

    def test_half_close_is_the_end_of_input_with_stdin_once(self):
        container = api().create("busybox", ["cat"], OpenStdin=True, StdinOnce=True)
        stream = api().attach(container, stdin=True)
        docker("start", container)

        stream.send(b"all")
        stream.close_stdin()

        self.assertEqual(stream.read_outputs(), (b"all", b""))
        self.assertEqual(output("wait", container), "0")

    def test_replays_the_log_before_what_follows(self):
        container = self._serving()
        writer = api().attach(container, stdin=True)
        writer.send(b"one\n")
        next(writer.read_frames())

        stream = api().hijack(f"/containers/{container}/attach", {"logs": 1, "stream": 1, "stdout": 1})
        frames = stream.read_frames()
        self.assertEqual(next(frames), (1, b"one\n"))
        writer.send(b"two\n")
        self.assertEqual(next(frames), (1, b"two\n"))


class WebsocketTest(HostTest):
    def _connect(self, container, query="stream=1&stdin=1&stdout=1", version="v1.51"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(60)
        sock.connect(socket_path())
        url = f"ws://docker/{version}/containers/{container}/attach/ws?{query}"
        return websocket.create_connection(url, socket=sock)

    def test_carries_input_and_output(self):
        container = output("run", "-d", "-i", "busybox", "cat")
        client = self._connect(container)

        client.send_binary(b"ping\n")
        self.assertEqual(client.recv_data(), (websocket.ABNF.OPCODE_BINARY, b"ping\n"))
        client.ping("alive")
        client.send("text too\n")
        self.assertEqual(client.recv_data(), (websocket.ABNF.OPCODE_BINARY, b"text too\n"))
        client.close()

        self.assertEqual(output("inspect", "-f", "{{.State.Running}}", container), "true")

    def test_closes_in_order_when_the_container_ends(self):
        container = output("create", "busybox", "sh", "-c", "echo out; echo err >&2")
        client = self._connect(container, "stream=1&stdout=1&stderr=1")
        docker("start", container)

        received = b""
        while True:
            opcode, data = client.recv_data()
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                break
            received += data

        self.assertEqual(sorted(received.split()), [b"err", b"out"])
        self.assertEqual(data[:2], b"\x03\xe8")

    def test_ends_the_input_with_stdin_once(self):
        container = api().create("busybox", ["sh", "-c", "cat >/dev/null; echo done"], OpenStdin=True,
                                 StdinOnce=True)
        docker("start", container)

        self._connect(container).close()

        self.assertEqual(output("wait", container), "0")

    def test_an_unknown_container_is_404(self):
        with self.assertRaises(websocket.WebSocketBadStatusException) as refused:
            self._connect("nothing")

        self.assertEqual(refused.exception.status_code, 404)

    def test_a_plain_request_is_400(self):
        container = output("create", "busybox")

        with self.assertRaises(ApiError) as refused:
            api().get(f"/containers/{container}/attach/ws", stream=1)

        self.assertEqual(refused.exception.status, 400)


class EventsTest(HostTest):
    def test_keep_their_order_and_are_filtered(self):
        begun = output("info", "-f", "{{.SystemTime}}")  # the clock of the host
        container = output("run", "-d", "-l", "team=blue", "--name", "noted", "busybox", "true")
        docker("wait", container)

        def actions(*filters):
            words = [word for item in filters for word in ("--filter", item)]
            return output("events", "--since", begun, "--until", "-2s", *words, "--format",
                          "{{.Type}} {{.Action}}").splitlines()

        self.assertEqual(actions("label=team=blue"), ["container create", "container start", "container die"])
        self.assertEqual(actions("container=noted", "event=die"), ["container die"])
        self.assertEqual(actions("container=noted", "type=network"), [])

    def test_a_listener_gets_what_happens(self):
        listener = subprocess.Popen(["docker", "events", "--filter", "event=start", "--format",
                                     "{{.Actor.Attributes.name}}"], stdout=subprocess.PIPE)
        seen = []
        reader = threading.Thread(target=lambda: seen.extend(listener.stdout))
        reader.start()
        time.sleep(1)

        docker("run", "--rm", "--name", "heard", "busybox", "true")
        deadline = time.monotonic() + 60
        while not seen and time.monotonic() < deadline:
            time.sleep(0.1)
        listener.terminate()
        reader.join()

        self.assertEqual(seen, [b"heard\n"])


class JsonTest(HostTest):
    def test_the_file_is_dockers_json(self):
        container = output("run", "-d", "--log-opt", "tag=t", "busybox", "sh", "-c", "echo '<a> \"b\"'")
        docker("wait", container)
        path = output("inspect", "-f", "{{.LogPath}}", container)

        line = on_host("cat", path)

        self.assertTrue(line.startswith('{"log":"\\u003ca\\u003e \\"b\\"\\n","stream":"stdout","attrs":'
                                        '{"tag":"t"},"time":"'), line)
        self.assertEqual(json.loads(line)["log"], '<a> "b"\n')


if __name__ == "__main__":
    unittest.main()
