#!/usr/bin/python3
"""`docker run` and what goes with it, through the stock client, in real guests."""

import json
import os
import pty
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, docker, output  # noqa: E402


class RunTest(HostTest):
    def test_runs_a_program_under_the_guest_kernel(self):
        words = output("run", "--rm", "busybox", "uname", "-sr").split()

        self.assertEqual(words[0], "Linux")
        self.assertTrue(words[1].startswith("6.12."), words)
        self.assertEqual(output("info", "-f", "{{.KernelVersion}}"), words[1])

    def test_passes_the_exit_code_on(self):
        for code in (0, 1, 42, 255):
            done = docker("run", "--rm", "busybox", "sh", "-c", f"exit {code}", check=False)
            self.assertEqual(done.returncode, code)

    def test_reports_a_death_by_signal_as_128_plus_its_number(self):
        done = docker("run", "--rm", "busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?", check=False)

        self.assertEqual(done.returncode, 137)

    def test_keeps_stdout_and_stderr_apart(self):
        done = docker("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")

        self.assertEqual((done.stdout, done.stderr), (b"out\n", b"err\n"))

    def test_feeds_stdin_until_its_end(self):
        data = os.urandom(1 << 20)

        done = docker("run", "--rm", "-i", "busybox", "cat", stdin=data)

        self.assertEqual(len(done.stdout), len(data))
        self.assertEqual(done.stdout, data)

    def test_loses_no_output_of_a_short_process(self):
        for _ in range(5):
            done = docker("run", "--rm", "busybox", "sh", "-c", "seq 1 20000")
            self.assertEqual(done.stdout.decode().split(), [str(n) for n in range(1, 20001)])

    def test_an_unknown_command_is_127(self):
        done = docker("run", "--rm", "busybox", "no-such-command", check=False)

        self.assertEqual(done.returncode, 127)
        self.assertIn(b"executable file not found in $PATH", done.stderr)

    def test_a_missing_path_is_127(self):
        done = docker("run", "--rm", "busybox", "/no/such/file", check=False)

        self.assertEqual(done.returncode, 127)
        self.assertIn(b"no such file or directory", done.stderr)

    def test_a_file_that_is_not_executable_is_126(self):
        done = docker("run", "--rm", "busybox", "/etc/passwd", check=False)

        self.assertEqual(done.returncode, 126)
        self.assertIn(b"permission denied", done.stderr)

    def test_a_failed_start_with_rm_leaves_no_container(self):
        docker("run", "--rm", "--name", "failing", "busybox", "no-such-command", check=False)

        self.assertNotEqual(docker("inspect", "failing", check=False).returncode, 0)

    def test_gives_environment_user_and_working_directory(self):
        text = output("run", "--rm", "-e", "COLOUR=blue", "-u", "1000:1001", "-w", "/made/here", "busybox",
                      "sh", "-c", "echo $COLOUR; id -u; id -g; pwd")

        self.assertEqual(text.split(), ["blue", "1000", "1001", "/made/here"])

    def test_a_variable_without_a_value_takes_one_away(self):
        container = api().create("busybox", ["sh", "-c", "env; sleep 1000"], Env=["HOSTNAME", "NOTHING", "A=1"])
        api().post(f"/containers/{container}/start")
        told = output("exec", "-e", "A", "-e", "B=2", container, "env").split()

        self.assertEqual(api().get(f"/containers/{container}/json")["Config"]["Env"][:3], ["HOSTNAME", "NOTHING", "A=1"])
        self.assertNotIn("HOSTNAME", output("logs", container))
        self.assertIn("A=1", output("logs", container).split())
        self.assertEqual(sorted(line for line in told if line.startswith(("A", "B", "N"))), ["B=2"])

    def test_sets_the_hostname_to_the_short_id_or_the_given_one(self):
        container = output("run", "-d", "busybox", "hostname")
        docker("wait", container)

        self.assertEqual(output("logs", container), container[:12])
        self.assertEqual(output("run", "--rm", "-h", "box", "busybox", "cat", "/etc/hostname"), "box")

    def test_gives_dockers_default_capabilities(self):
        status = output("run", "--rm", "busybox", "grep", "CapEff", "/proc/self/status")

        self.assertEqual(int(status.split()[1], 16), 0x00000000A80425FB)

    def test_is_process_one_of_its_own_namespace(self):
        self.assertEqual(output("run", "--rm", "busybox", "sh", "-c", "echo $$"), "1")

    def test_none_network_has_only_loopback(self):
        links = output("run", "--rm", "--network", "none", "busybox", "ls", "/sys/class/net")

        self.assertEqual(links.split(), ["lo"])

    def test_any_user_may_listen_on_any_port(self):
        self.assertEqual(output("run", "--rm", "--user", "1000", "--cap-drop", "ALL", "busybox", "sh", "-c",
                                "echo x > /tmp/x; httpd -p 80 -h /tmp; wget -qO- http://127.0.0.1/x"), "x")
        self.assertEqual(output("run", "--rm", "--sysctl", "net.ipv4.ip_unprivileged_port_start=99", "busybox", "cat",
                                "/proc/sys/net/ipv4/ip_unprivileged_port_start"), "99")

    def test_bridge_network_has_an_address_and_a_gateway_that_answers(self):
        text = output("run", "--rm", "busybox", "sh", "-c",
                      "ip -4 addr show eth0 | grep inet; gw=$(ip route | awk '/default/{print $3}');"
                      "ping -c 1 -W 5 $gw >/dev/null && echo reached")

        self.assertIn("inet 172.", text)
        self.assertTrue(text.endswith("reached"), text)

    def test_two_containers_reach_each_other(self):
        server = output("run", "-d", "busybox", "sh", "-c",
                        "while true; do echo hello | nc -l -p 7000; done")
        address = output("inspect", "-f", "{{.NetworkSettings.IPAddress}}", server)

        text = output("run", "--rm", "busybox", "sh", "-c",
                      f"for i in 1 2 3 4 5 6 7 8 9 10; do nc -w 5 {address} 7000 && exit; sleep 1; done")

        self.assertEqual(text, "hello")
        docker("rm", "-f", server)


class TerminalTest(HostTest):
    def _run_on_a_terminal(self, *arguments, size=None):
        master, slave = pty.openpty()
        if size:
            subprocess.run(["stty", "rows", str(size[0]), "cols", str(size[1])], stdin=slave, check=True)
        process = subprocess.Popen(["docker", *arguments], stdin=slave, stdout=slave, stderr=slave,
                                   start_new_session=True)
        os.close(slave)
        return process, master

    def _read_all(self, master):
        data = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                return data
            if not chunk:
                return data
            data += chunk

    def test_is_a_terminal_of_the_clients_size(self):
        process, master = self._run_on_a_terminal("run", "--rm", "-it", "busybox", "sh", "-c",
                                                  "tty; sleep 1; stty size", size=(31, 97))

        text = self._read_all(master).decode()

        self.assertEqual(process.wait(timeout=60), 0)
        self.assertIn("/dev/pts/0", text)
        self.assertIn("31 97", text)
        os.close(master)

    def test_types_into_an_interactive_shell(self):
        process, master = self._run_on_a_terminal("run", "--rm", "-it", "busybox", "sh")

        time.sleep(1)
        os.write(master, b"echo $((20 + 22))\nexit 5\n")
        text = self._read_all(master).decode()

        self.assertEqual(process.wait(timeout=60), 5)
        self.assertIn("42", text)
        os.close(master)


class DetachedTest(HostTest):
    def test_lists_a_running_container_and_stops_it(self):
        container = output("run", "-d", "--name", "sleeper", "busybox", "sleep", "1000")

        self.assertIn("sleeper", output("ps", "--format", "{{.Names}}").split())
        docker("stop", "-t", "1", "sleeper")
        state = json.loads(output("inspect", container))[0]["State"]

        self.assertEqual((state["Status"], state["ExitCode"]), ("exited", 137))

    def test_stop_sends_sigterm_first(self):
        container = output("run", "-d", "busybox", "sh", "-c",
                           "trap 'echo bye; exit 7' TERM; echo ready; while true; do sleep 0.1; done")
        self._wait_for_log(container, "ready")

        docker("stop", "-t", "30", container)

        self.assertEqual(output("wait", container), "7")
        self.assertEqual(output("logs", container).split(), ["ready", "bye"])

    def test_follows_the_log_until_the_end(self):
        container = output("run", "-d", "busybox", "sh", "-c",
                           "for i in 1 2 3; do echo line $i; sleep 0.3; done")

        self.assertEqual(output("logs", "-f", container), "line 1\nline 2\nline 3")

    def test_kill_with_a_signal(self):
        container = output("run", "-d", "busybox", "sh", "-c",
                           "trap 'exit 9' USR1; echo ready; while true; do sleep 0.1; done")
        self._wait_for_log(container, "ready")

        docker("kill", "-s", "USR1", container)

        self.assertEqual(output("wait", container), "9")

    def test_keeps_the_writable_layer_over_stop_and_start(self):
        docker("run", "--name", "keeper", "busybox", "sh", "-c", "echo $((1 + $(cat /n 2>/dev/null || echo 0))) > /n.new; mv /n.new /n; cat /n")
        docker("start", "-a", "keeper")

        self.assertEqual(output("start", "-a", "keeper"), "3")

    def test_many_waiters_get_the_same_code(self):
        container = output("run", "-d", "busybox", "sh", "-c", "sleep 2; exit 3")
        waiters = [subprocess.Popen(["docker", "wait", container], stdout=subprocess.PIPE)
                   for _ in range(5)]

        codes = [waiter.communicate(timeout=60)[0].strip() for waiter in waiters]

        self.assertEqual(codes, [b"3"] * 5)

    def test_removing_a_running_container_needs_force(self):
        container = output("run", "-d", "busybox", "sleep", "1000")

        refused = docker("rm", container, check=False)
        docker("rm", "-f", container)

        self.assertEqual(refused.returncode, 1)
        self.assertNotEqual(docker("inspect", container, check=False).returncode, 0)

    def _wait_for_log(self, container, word):
        deadline = time.monotonic() + 60
        while word not in output("logs", container):
            self.assertLess(time.monotonic(), deadline, f"no {word!r} in the log")
            time.sleep(0.1)


if __name__ == "__main__":
    unittest.main()
