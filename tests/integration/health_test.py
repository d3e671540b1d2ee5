#!/usr/bin/python3
"""Health checks of containers in real guests, through the stock client."""

import io
import json
import os
import sys
import tarfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.host import HostTest, api, docker, output  # noqa: E402


class HealthTest(HostTest):
    def _run(self, *options, command="sleep 1000"):
        return output("run", "-d", *options, "busybox", "sh", "-c", command)

    def _health(self, container):
        return json.loads(output("inspect", "-f", "{{json .State.Health}}", container))

    def _wait_for(self, container, holds, what):
        deadline = time.monotonic() + 120
        while not holds(health := self._health(container)):
            self.assertLess(time.monotonic(), deadline, f"{what}: {health}")
            time.sleep(0.2)
        return health

    def _wait_for_status(self, container, status):
        return self._wait_for(container, lambda health: health["Status"] == status, status)

    def test_without_a_check_there_is_no_health(self):
        container = self._run()

        self.assertIsNone(self._health(container))
        self.assertIn(container, output("ps", "-q", "--no-trunc", "-f", "health=none").split())

    def test_goes_from_starting_to_healthy_to_unhealthy_and_back(self):
        container = self._run("--health-cmd", "cat /well", "--health-interval", "1s", "--health-retries", "2")
        self.assertEqual(self._health(container)["Status"], "starting")
        self.assertIn("(health: starting)", output("ps", "-f", f"id={container}", "--format", "{{.Status}}"))

        docker("exec", container, "sh", "-c", "echo fine > /well")
        healthy = self._wait_for_status(container, "healthy")
        listed = output("ps", "-f", "health=healthy", "--format", "{{.ID}} {{.Status}}", "--no-trunc")
        docker("exec", container, "rm", "/well")
        unhealthy = self._wait_for_status(container, "unhealthy")
        docker("exec", container, "touch", "/well")
        self._wait_for_status(container, "healthy")

        self.assertEqual((healthy["Log"][-1]["ExitCode"], healthy["Log"][-1]["Output"]), (0, "fine\n"))
        self.assertEqual(healthy["FailingStreak"], 0)
        self.assertRegex(listed, f"{container} Up .* \\(healthy\\)")
        self.assertGreaterEqual(unhealthy["FailingStreak"], 2)
        self.assertIn("No such file", unhealthy["Log"][-1]["Output"])

    def test_keeps_five_results_and_4096_bytes_of_each(self):
        container = self._run("--health-cmd", "head -c 10000 /dev/zero | tr '\\0' x", "--health-interval", "300ms")

        first = self._wait_for(container, lambda health: len(health["Log"]) == 5, "five results")
        later = self._wait_for(container, lambda health: health["Log"][0] != first["Log"][0], "a sixth")

        self.assertEqual(len(later["Log"]), 5)
        self.assertEqual(later["Log"][0]["Output"], "x" * 4096 + "...")

    def test_kills_a_probe_that_exceeds_its_timeout(self):
        container = self._run("--health-cmd", "echo begun; exec sleep 777", "--health-interval", "1s",
                              "--health-timeout", "2s", "--health-retries", "1")

        health = self._wait_for_status(container, "unhealthy")

        self.assertEqual(health["Log"][0]["ExitCode"], -1)
        self.assertEqual(health["Log"][0]["Output"], "Health check exceeded timeout (2s): begun\n")
        self.assertLessEqual(output("exec", container, "ps").count("sleep 777"), 1)

    def test_a_command_that_is_missing_is_told(self):
        check = {"Test": ["CMD", "no-such-command"], "Interval": 1_000_000_000}
        container = api("v1.51").create("busybox", ["sleep", "1000"], Healthcheck=check)

        docker("start", container)
        health = self._wait_for(container, lambda health: health["Log"], "a result")

        self.assertEqual(health["Log"][0]["ExitCode"], -1)
        self.assertIn("executable file not found in $PATH", health["Log"][0]["Output"])

    def test_failures_in_the_start_period_do_not_count(self):
        container = self._run("--health-cmd", "false", "--health-interval", "1s", "--health-retries", "1",
                              "--health-start-period", "1h", "--health-start-interval", "500ms")

        health = self._wait_for(container, lambda health: len(health["Log"]) >= 3, "three results")

        self.assertEqual((health["Status"], health["FailingStreak"]), ("starting", 0))

    def test_runs_as_the_containers_user_with_its_environment_and_directory(self):
        container = self._run("-u", "1000:1001", "-e", "COLOUR=blue", "-w", "/made/here",
                              "--health-cmd", "id -u; id -g; echo $COLOUR; pwd", "--health-interval", "1s")

        health = self._wait_for_status(container, "healthy")

        self.assertEqual(health["Log"][0]["Output"].split(), ["1000", "1001", "blue", "/made/here"])

    def _import_image(self, *changes):
        """busybox's layer as an image with other defaults; its ID."""
        with tarfile.open(fileobj=io.BytesIO(docker("save", "busybox").stdout)) as image:
            layer = json.load(image.extractfile("manifest.json"))[0]["Layers"][0]
            root = image.extractfile(layer).read()
        options = [word for change in changes for word in ("--change", change)]
        made = docker("import", *options, "-", stdin=root).stdout.decode().strip()
        self.addCleanup(docker, "rmi", "-f", made, check=False)
        return made

    def test_takes_from_the_image_what_the_client_leaves_out(self):
        image = self._import_image("HEALTHCHECK --interval=1s --retries=7 CMD echo of the image", 'CMD ["sleep", "1000"]')

        inherited = output("run", "-d", image)
        changed = output("run", "-d", "--health-cmd", "echo own", image)
        disabled = output("run", "-d", "--no-healthcheck", image)

        self.assertEqual(self._wait_for_status(inherited, "healthy")["Log"][0]["Output"], "of the image\n")
        self.assertEqual(self._wait_for_status(changed, "healthy")["Log"][0]["Output"], "own\n")
        self.assertIsNone(self._health(disabled))
        self.assertEqual(json.loads(output("inspect", "-f", "{{json .Config.Healthcheck}}", changed)),
                         {"Test": ["CMD-SHELL", "echo own"], "Interval": 10**9, "Retries": 7})
        docker("rm", "-f", inherited, changed, disabled)

    def test_publishes_dockers_events(self):
        since = str(int(time.time()))
        container = self._run("--health-cmd", "true", "--health-interval", "1s")
        self._wait_for_status(container, "healthy")

        lines = output("events", "--since", since, "--until", str(int(time.time()) + 1), "-f", f"container={container}",
                       "--format", "{{.Action}} {{index .Actor.Attributes \"exitCode\"}}").splitlines()
        changes = output("events", "--since", since, "--until", str(int(time.time()) + 1),
                         "-f", "event=health_status", "-f", f"container={container}", "--format", "{{.Action}}")

        probe = lines.index("exec_create: /bin/sh -c true ")
        self.assertEqual([line.strip() for line in lines[probe:probe + 4]],
                         ["exec_create: /bin/sh -c true", "exec_start: /bin/sh -c true", "exec_die 0",
                          "health_status: healthy"])
        self.assertEqual(changes, "health_status: healthy")

    def test_begins_again_at_each_start_and_ends_with_the_container(self):
        container = self._run("--health-cmd", "true", "--health-interval", "2s")
        self._wait_for_status(container, "healthy")

        docker("stop", "-t", "0", container)
        stopped = self._health(container)
        docker("start", container)
        started = self._health(container)
        self._wait_for_status(container, "healthy")

        self.assertEqual(stopped["Status"], "unhealthy")
        self.assertEqual(started["Status"], "starting")

    def test_removing_in_the_middle_of_a_probe_waits_for_nothing(self):
        container = self._run("--health-cmd", "touch /probed; sleep 500", "--health-interval", "100ms")
        deadline = time.monotonic() + 60
        while docker("exec", container, "test", "-e", "/probed", check=False).returncode != 0:
            self.assertLess(time.monotonic(), deadline)

        docker("rm", "-f", container)

        self.assertNotEqual(docker("inspect", container, check=False).returncode, 0)


if __name__ == "__main__":
    unittest.main()
