"""The daemon on fake machines, with a real image store, as a process of the test's own."""

import base64
import json
import os
import subprocess
import time

from harness.archives import tar_of
from harness.docker_api import Api, ApiError


def auth_header(**fields):
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()}


class Daemon:
    """Real images and registries below `directory`, machines that are none. The environment names the programs.

    `through`: a command that executes the one after it.
    """

    def __init__(self, directory, *more, environment=None, through=()):
        own = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
        self.environment = {**own, **(environment or {})}
        self.state = os.path.join(directory, "state")
        self.command = [*through, os.environ["FAKE_CONTAINERVMD"], self.state, os.environ["CONTAINERVM_LAYER"], *more]
        self.log = open(os.path.join(directory, "daemon.log"), "ab")
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log)
        self.api = Api(os.path.join(self.state, "docker.sock"), timeout=60, version="v1.50")
        for _ in range(600):
            try:
                self.api.call("GET", "/version")
                return
            except OSError:
                if self.process.poll() is not None:
                    raise
                time.sleep(0.1)
        raise AssertionError("the daemon does not answer")

    def close(self):
        self.end()
        self.log.close()

    def end(self, kill=False):
        (self.process.kill if kill else self.process.terminate)()
        self.process.wait()

    def stream(self, method, path, query, headers=None, body=None):
        """The objects of a progress stream. ApiError for a status."""
        connection = self.api.connect()
        response = self.api.send(connection, method, path, body=body, query=query, headers=headers)
        text = response.read().decode()
        connection.close()
        if response.status >= 400:
            raise ApiError(response.status, json.loads(text)["message"])
        return [json.loads(line) for line in text.splitlines() if line]

    def pull(self, image, tag="latest", headers=None, **query):
        return self.stream("POST", "/images/create", {"fromImage": image, "tag": tag, **query}, headers)

    def push(self, image, tag="latest", headers=None):
        return self.stream("POST", f"/images/{image}/push", {"tag": tag}, headers)

    def inspect(self, image):
        return self.api.get(f"/images/{image}/json")

    def leftovers(self):
        return os.listdir(os.path.join(self.state, "images/tmp"))

    def layers(self):
        return [name for name in os.listdir(os.path.join(self.state, "images/layers/default")) if name.endswith("erofs")]

    def build(self, dockerfile, logins=None):
        """The objects of a build's stream; `logins`: AuthConfigs by server."""
        headers = {"Content-Type": "application/x-tar"}
        if logins is not None:
            headers["X-Registry-Config"] = base64.urlsafe_b64encode(json.dumps(logins).encode()).decode()
        return self.stream("POST", "/build", {}, headers, tar_of({"Dockerfile": dockerfile.encode()}))


def statuses(stream):
    return [entry.get("status") for entry in stream]


def error_of(stream):
    return stream[-1].get("error", "") if stream else ""
