#!/usr/bin/python3
"""Sockets of the host, and the daemon's own, in containers with real guests."""

import json
import os
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TIMEOUT, TidyHostTest, docker, on_host, output, refused  # noqa: E402

IMAGE = "python:3.11"

# Answers each connection, once it has half-closed, with how much it said; prints what it has heard of each.
SERVER = """
import os, socket, sys, threading
def serve(connection):
    size = 0
    while True:
        piece = connection.recv(65536)
        if not piece: break
        size += len(piece)
        print("heard", size, flush=True)
        if piece.endswith(b"echo\\n"): connection.sendall(piece)
    try: connection.sendall(b"%d" % size)
    except OSError: pass
    connection.close()
    print("ended", size, flush=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
os.chmod(sys.argv[1], int(sys.argv[2], 8))
listener.listen(64)
print("ready", flush=True)
while True: threading.Thread(target=serve, args=[listener.accept()[0]], daemon=True).start()
"""

# say(bytes) -> what the server at /s says until it closes.
CLIENT = """
import socket, sys, threading
def say(text):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect("/s")
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65536): answer += piece
        return answer
"""

ASK_DAEMON = """
import http.client, json, socket
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect("/var/run/docker.sock")
connection = Connection("localhost")
connection.request("GET", "/containers/json")
print(json.dumps([container["Id"][:12] for container in json.load(connection.getresponse())]), socket.gethostname())
"""


class HostSocketsTest(TidyHostTest):
    def setUp(self):
        super().setUp()
        self.directory = on_host("mktemp", "-d", "/var/tmp/host-sockets-XXXXXX").strip()
        self.path = f"{self.directory}/socket"
        self.server = None

    def tearDown(self):
        super().tearDown()
        self.stop_server()
        on_host("rm", "-rf", self.directory)

    def start_server(self, mode="666"):
        """Its process goes on after the command that starts it."""
        on_host("sh", "-c", f"cat > {self.directory}/server.py <<'END'\n{SERVER}\nEND\n"
                            f"rm -f {self.path}; setsid /usr/bin/python3 {self.directory}/server.py {self.path} {mode} "
                            f"> {self.directory}/log 2>&1 < /dev/null & echo $! > {self.directory}/pid")
        self.server = on_host("cat", f"{self.directory}/pid").strip()
        self.wait_for_log("ready")

    def stop_server(self):
        if self.server:
            on_host("kill", self.server)
        self.server = None

    def wait_for_log(self, text):
        end = time.monotonic() + TIMEOUT
        while text not in (log := on_host("cat", f"{self.directory}/log")):
            self.assertLess(time.monotonic(), end, log)
            time.sleep(0.2)

    def container(self, *options):
        return output("run", "-d", "-v", f"{self.path}:/s", *options, IMAGE, "sleep", "1000")

    @staticmethod
    def python(container, script, *options, check=True):
        done = docker("exec", *options, container, "python3", "-c", CLIENT + script, check=check)
        return done.stdout.decode().strip()

    def test_the_daemons_own_socket(self):
        container = output("run", "-d", "-v", "/var/run/docker.sock:/var/run/docker.sock", IMAGE, "sleep", "1000")
        ids, hostname = output("exec", container, "python3", "-c", ASK_DAEMON).rsplit(" ", 1)
        self.assertEqual(hostname, container[:12])
        self.assertIn(hostname, json.loads(ids))
        mount = json.loads(output("inspect", "-f", "{{json .Mounts}}", container))[0]
        self.assertEqual((mount["Type"], mount["Source"]), ("bind", "/var/run/docker.sock"))

    def test_bytes_half_closes_and_many_at_once(self):
        self.start_server()
        container = self.container()
        self.assertEqual(self.python(container, "print(say(b'x' * 3_000_000))"), "b'3000000'")
        self.assertEqual(self.python(container, "print(say(b'hello echo\\n'))"), "b'hello echo\\n11'")
        self.assertEqual(self.python(container, """
results = []
threads = [threading.Thread(target=lambda n=n: results.append(int(say(b"x" * n)))) for n in range(1, 41)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(results) == list(range(1, 41)))"""), "True")

    def test_more_than_the_most_wait_for_their_turn(self):
        self.start_server()
        container = self.container()
        self.assertEqual(self.python(container, """
held = []
for _ in range(160):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect("/s")  # without a time limit: with one Python does not wait where the queue is full
    connection.settimeout(60)
    held.append(connection)
held[0].sendall(b"echo\\n")
assert held[0].recv(100) == b"echo\\n"
for connection in held[:100]: connection.close()
held[-1].sendall(b"last echo\\n")
print(held[-1].recv(100))"""), "b'last echo\\n'")

    def test_a_server_that_comes_goes_and_comes(self):
        self.start_server()
        container = self.container()
        self.assertEqual(self.python(container, "print(say(b'one'))"), "b'3'")
        self.stop_server()
        self.assertEqual(self.python(container, """
try: print(say(b'two'))
except OSError as error: print(b'')"""), "b''")
        self.start_server()
        self.assertEqual(self.python(container, "print(say(b'three'))"), "b'5'")

    def test_who_may_connect(self):
        self.start_server(mode="600")
        container = self.container()
        self.assertEqual(self.python(container, "print(say(b'root'))"), "b'4'")
        self.assertEqual(output("exec", container, "stat", "-c", "%F %a %u", "/s"), "socket 600 0")
        denied = docker("exec", "-u", "nobody", container, "python3", "-c", CLIENT + "say(b'x')", check=False)
        self.assertIn("Permission", denied.stderr.decode())

    def test_ends_are_passed_on(self):
        self.start_server()
        container = self.container()
        self.python(container, "connection = socket.socket(socket.AF_UNIX); connection.connect('/s'); "
                               "connection.sendall(b'12345'); import os; os._exit(0)")
        self.wait_for_log("ended 5")
        docker("exec", "-d", container, "python3", "-c", CLIENT + """
connection = socket.socket(socket.AF_UNIX)
connection.connect("/s")
connection.sendall(b"1234567")
connection.recv(1)""")
        self.wait_for_log("heard 7")
        output("kill", container)
        self.wait_for_log("ended 7")

    def test_outlives_the_daemon(self):
        self.start_server()
        container = self.container()
        self.assertEqual(self.python(container, "print(say(b'one'))"), "b'3'")
        Daemon().restart()
        self.assertEqual(self.python(container, "print(say(b'three'))"), "b'5'")
        output("restart", "-t", "1", container)
        self.assertEqual(self.python(container, "print(say(b'again'))"), "b'5'")

    def test_what_is_no_stream_socket(self):
        on_host("sh", "-c", f"/usr/bin/python3 -c \"import socket; socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)"
                            f".bind('{self.path}')\"")
        container = self.container()
        self.assertEqual(self.python(container, """
try: print(say(b'x'))
except OSError as error: print(b'')"""), "b''")
        self.assertIn("is a device", refused("run", "--rm", "-v", "/dev/null:/x", "busybox", "true"))


if __name__ == "__main__":
    unittest.main()
