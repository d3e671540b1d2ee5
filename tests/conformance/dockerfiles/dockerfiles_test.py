#!/usr/bin/python3
"""Dockerfiles whose images dockerd 28.5.2 has built, too: expected.json is what it made of them (compare/run --record)."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from conformance.compare.endpoint import Endpoint  # noqa: E402
from conformance.dockerfiles.behaviours import RECORDED  # noqa: E402
from conformance.dockerfiles.cases import CASES  # noqa: E402
from conformance.dockerfiles.observe import Observer  # noqa: E402
from harness.docker_api import socket_path  # noqa: E402
from harness.host import TIMEOUT  # noqa: E402

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "expected.json"), encoding="utf-8") as file:
    EXPECTED = json.load(file)


# That of the dockerd whose answers expected.json has.
RECORDED_API = "v1.51"


class DockerfilesTest(unittest.TestCase):
    maxDiff = None

    def test_as_dockerd_builds_them(self):
        endpoint = Endpoint("containervm", socket_path(), RECORDED_API)
        endpoint.api.timeout = TIMEOUT
        self.assertEqual(sorted(EXPECTED), sorted(RECORDED))
        for case in CASES:
            if case.name not in EXPECTED:
                continue
            observer = Observer(case)
            for aspect, wanted in EXPECTED[case.name].items():
                with self.subTest(f"{case.name}: {aspect}"):
                    self.assertEqual(observer.aspect(aspect)(endpoint), wanted)


if __name__ == "__main__":
    unittest.main()
