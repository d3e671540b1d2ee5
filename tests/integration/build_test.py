#!/usr/bin/python3
"""`docker build` with real guests, through the stock client without BuildKit."""

import io
import json
import os
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.docker_api import ApiError  # noqa: E402
from harness.host import HostTest, api, docker, on_host, output  # noqa: E402


def context(files):
    """A build context: name -> text, or (text, mode), or None for a directory."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            if content is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
                continue
            text, mode = content if isinstance(content, tuple) else (content, 0o644)
            data = text if isinstance(text, bytes) else text.encode()
            info.mode, info.size = mode, len(data)
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


def said(body):
    return [json.loads(line) for line in body.split("\r\n") if line]


def build(text, files=None, /, **query):
    """The objects that the build answers with."""
    body = context({"Dockerfile": text, **(files or {})})
    connection = api().connect()
    response = api().send(connection, "POST", "/build", body=body, query=query,
                          headers={"Content-Type": "application/x-tar"})
    answer = response.read().decode()
    connection.close()
    if response.status != 200:
        raise ApiError(response.status, json.loads(answer)["message"])
    return said(answer)


def stream(objects):
    return "".join(item.get("stream", "") for item in objects)


class BuildTest(HostTest):
    def setUp(self):
        super().setUp()
        self._images = set(output("images", "-aq", "--no-trunc").split())

    def tearDown(self):
        super().tearDown()
        for _ in range(20):
            left = set(output("images", "-aq", "--no-trunc").split()) - self._images
            if not left:
                break
            docker("rmi", "-f", *left, check=False)

    def made(self, objects):
        self.assertNotIn("error", objects[-1], objects[-1])
        return [item["aux"]["ID"] for item in objects if "aux" in item][-1]

    def test_run_copy_and_metadata(self):
        objects = build("FROM busybox\nENV A=1\nRUN echo $A > /a; echo said; echo wrong >&2\n"
                        "COPY f d /to/\nWORKDIR /w\nCMD [\"cat\", \"/a\", \"/to/f\", \"/to/inside\"]\n",
                        {"f": "file\n", "d/": None, "d/inside": "inside\n"}, t="built:1")
        text = stream(objects)

        self.assertIn("Step 3/6 : RUN echo $A", text)
        self.assertIn("said\n", text)
        self.assertIn("\x1b[91mwrong\n\x1b[0m", text)
        self.assertIn("Successfully tagged built:1\n", text)
        self.assertEqual(output("run", "--rm", "built:1"), "1\nfile\ninside")
        self.assertEqual(output("run", "--rm", "built:1", "pwd"), "/w")
        self.assertEqual(set(output("ps", "-aq", "--no-trunc").split()), self._before)

        again = stream(build("FROM busybox\nENV A=1\nRUN echo $A > /a; echo said; echo wrong >&2\n"
                             "COPY f d /to/\nWORKDIR /w\nCMD [\"cat\", \"/a\", \"/to/f\", \"/to/inside\"]\n",
                             {"f": "file\n", "d/": None, "d/inside": "inside\n"}))
        self.assertEqual(again.count(" ---> Using cache\n"), 5)

    def test_stages_and_scratch(self):
        objects = build("FROM busybox AS first\nRUN echo x > /x; chown 3:4 /x; chmod 640 /x\n"
                        "FROM scratch\nCOPY --from=first /x /bin/busybox /bin/\n"
                        "COPY --from=0 /x /y\nCOPY --chown=5:6 z /z\n",
                        {"z": "z"}, t="built:stages")
        image = self.made(objects)
        self.assertEqual(output("run", "--rm", image, "/bin/busybox", "stat", "-c", "%n %u %g %a", "/bin/x", "/y", "/z"),
                         "/bin/x 3 4 640\n/y 3 4 640\n/z 5 6 644")

    def test_a_command_that_fails(self):
        objects = build("FROM busybox\nRUN exit 3\n", forcerm=1)
        self.assertEqual(objects[-1]["errorDetail"],
                         {"code": 3, "message": "The command '/bin/sh -c exit 3' returned a non-zero code: 3"})
        self.assertEqual(set(output("ps", "-aq", "--no-trunc").split()), self._before)

    def test_add_extracts_archives(self):
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:xz") as tar:
            info = tarfile.TarInfo("inside/file")
            info.size, info.uid, info.mode = 2, 7, 0o600
            tar.addfile(info, io.BytesIO(b"x\n"))
        image = self.made(build("FROM busybox\nADD a.tar.xz /there\nADD plain /there/\n",
                                {"a.tar.xz": inner.getvalue(), "plain": "p"}))
        self.assertEqual(output("run", "--rm", image, "stat", "-c", "%n %u %a", "/there/inside/file", "/there/plain"),
                         "/there/inside/file 7 600\n/there/plain 0 644")

    def test_arguments_and_triggers(self):
        self.made(build("FROM busybox\nONBUILD ARG V=2\nONBUILD RUN echo $V > /v\n", t="built:base"))
        objects = build("ARG B=base\nFROM built:$B\nRUN cat /v\n", buildargs=json.dumps({"V": "3", "NONE": "x"}))
        text = stream(objects)
        self.assertIn("# Executing 2 build triggers\n", text)
        self.assertIn("3\n", text)
        self.assertIn("[Warning] One or more build-args [NONE] were not consumed\n", text)

    def test_what_is_refused(self):
        for dockerfile, query, message in (
                ("FROM busybox\nFOO x", {}, "dockerfile parse error line 2: unknown instruction: FOO"),
                ("FROM busybox", {"version": "2"}, "buildkit is not enabled on daemon"),
                ("FROM busybox", {"squash": "1"}, "squash is only supported with experimental mode"),
                ("", {}, "the Dockerfile (Dockerfile) cannot be empty"),
                ("FROM busybox", {"t": "Not Valid"}, "invalid reference format"),
                ("FROM busybox", {"dockerfile": "none"}, "Cannot locate specified Dockerfile: none")):
            with self.assertRaises(ApiError) as caught:
                build(dockerfile, **query)
            self.assertIn(message, caught.exception.message)
        for dockerfile, message in (
                ("FROM busybox\nCOPY ../x /", "forbidden path outside the build context"),
                ("FROM busybox\nCOPY none /", "file not found in build context"),
                ("FROM busybox\nCOPY --chmod=1 Dockerfile /", "the --chmod option requires BuildKit"),
                ("FROM busybox\nRUN --mount=type=tmpfs,target=/x true", "the --mount option requires BuildKit"),
                ("FROM 127.0.0.1:1/none-such", "127.0.0.1:1")):
            self.assertIn(message, build(dockerfile)[-1]["error"])

    def test_a_hostile_context_stays_in_itself(self):
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            def add(name, data=b"", **fields):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                for field, value in fields.items():
                    setattr(info, field, value)
                tar.addfile(info, io.BytesIO(data))
            add("Dockerfile", b"FROM busybox\nCOPY link/passwd /got\nCOPY up /up\nRUN cat /got /up\n")
            add("link", type=tarfile.SYMTYPE, linkname="/etc")
            add("link/passwd", b"mine\n")
            add("../../up", b"inside\n")
        connection = api().connect()
        response = api().send(connection, "POST", "/build", body=archive.getvalue(),
                              headers={"Content-Type": "application/x-tar"})
        text = stream(said(response.read().decode()))
        connection.close()
        self.assertIn("mine\ninside\n", text)
        self.assertEqual(on_host("sh", "-c", "ls /up /tmp/up 2>/dev/null; true"), "")

    def test_the_stock_client(self):
        done = docker("build", "-t", "built:cli", "-", stdin=b"FROM busybox\nRUN echo hello\n", check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"Successfully tagged built:cli", done.stdout)


if __name__ == "__main__":
    unittest.main()
