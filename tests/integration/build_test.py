#!/usr/bin/python3
"""`docker build` with real guests, through the stock client without BuildKit."""

import io
import json
import os
import sys
import tarfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.builds import build, made, said, stream  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from harness.host import HostTest, api, docker, on_host, output  # noqa: E402


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
        image = made(objects)
        self.assertEqual(output("run", "--rm", image, "/bin/busybox", "stat", "-c", "%n %u %g %a", "/bin/x", "/y", "/z"),
                         "/bin/x 3 4 640\n/y 3 4 640\n/z 5 6 644")

    def test_copies_with_permissions_of_their_own(self):
        files = {"f": "f", "d/": None, "d/inside": "x"}
        text = "FROM busybox\nARG M=0700\nCOPY --chmod=$M f d /to/\nCOPY --chown=5:6 --chmod=0755 f /f\n"

        image = made(build(text, files))
        again = stream(build(text, files))
        other = stream(build(text.replace("0755", "0750"), files))

        self.assertEqual(output("run", "--rm", image, "stat", "-c", "%n %u %a", "/to/f", "/to/inside", "/f"),
                         "/to/f 0 700\n/to/inside 0 700\n/f 5 755")
        self.assertEqual((again.count("Using cache"), other.count("Using cache")), (3, 2))

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
        image = made(build("FROM busybox\nADD a.tar.xz /there\nADD plain /there/\n",
                                {"a.tar.xz": inner.getvalue(), "plain": "p"}))
        self.assertEqual(output("run", "--rm", image, "stat", "-c", "%n %u %a", "/there/inside/file", "/there/plain"),
                         "/there/inside/file 7 600\n/there/plain 0 644")

    def test_arguments_and_triggers(self):
        made(build("FROM busybox\nONBUILD ARG V=2\nONBUILD RUN echo $V > /v\n", t="built:base"))
        objects = build("ARG B=base\nFROM built:$B\nRUN cat /v\n", buildargs=json.dumps({"V": "3", "NONE": "x"}))
        text = stream(objects)
        self.assertIn("# Executing 2 build triggers\n", text)
        self.assertIn("3\n", text)
        self.assertIn("[Warning] One or more build-args [NONE] were not consumed\n", text)

    def test_what_is_refused(self):
        for dockerfile, query, message in (
                ("FROM busybox\nFOO x", {}, "dockerfile parse error on line 2: unknown instruction: FOO (did you mean FROM?)"),
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
                ("FROM busybox\nCOPY --chmod=u+x Dockerfile /", "invalid chmod parameter: 'u+x'"),
                ("FROM busybox\nCOPY --chmod=10000 Dockerfile /", "invalid chmod parameter: '10000'"),
                ("FROM busybox\nCOPY --chmod=4755 Dockerfile /", "chmod parameter '4755': the set-user-ID"),
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

    def test_volumes_lose_what_commands_write(self):
        image = made(build("FROM busybox\nRUN mkdir /v; echo a > /v/a\nVOLUME /v /w\n"
                           "RUN rm /v/a; touch /v/b /w/x; rmdir /w 2>&1; ls /v /w\nCOPY f /v/\n", {"f": "f"}))
        self.assertEqual(output("run", "--rm", image, "sh", "-c", "ls /v /w; stat -c %a /w"), "/v:\na\nf\n\n/w:\n755")

    def test_add_fetches_urls(self):
        server = output("run", "-d", "busybox", "sh", "-c",
                        "mkdir /www; cd /www; echo x > f; tar cf a.tar f; touch index.html; touch -d '2001-02-03 04:05:06' f; exec httpd -f -p 80 -h /www")
        address = output("inspect", "-f", "{{.NetworkSettings.IPAddress}}", server)
        docker("exec", server, "sh", "-c", "until wget -q -O /dev/null http://127.0.0.1/f; do :; done")
        image = made(build(f"FROM busybox\nADD http://{address}/f http://{address}/a.tar /to/\nADD --chown=3:4 http://{address}/f /as\n"))
        self.assertEqual(output("run", "--rm", image, "stat", "-c", "%n %u:%g %a %s %Y", "/to/f", "/as"),
                         "/to/f 0:0 600 2 981173106\n/as 3:4 600 2 981173106")
        self.assertEqual(output("run", "--rm", image, "tar", "tf", "/to/a.tar"), "f")
        for url, message in ((f"http://{address}/none", f"ADD failed: failed to GET http://{address}/none with status 404 Not Found"),
                             (f"http://{address}:9/x", "connection refused"), (f"http://{address}/", "cannot determine filename for source"),
                             ("http://127.0.0.1:1/x", "this host's own"), ("http://169.254.169.254/x", "this host's own")):
            self.assertIn(message, build(f"FROM busybox\nADD {url} /x/\n")[-1]["error"])

    def test_a_context_from_a_url(self):
        server = output("run", "-d", "busybox", "sh", "-c",
                        "mkdir /www; cd /www; echo x > f; printf 'FROM busybox\nCOPY f /f\nRUN cat /f\n' > Dockerfile;"
                        " sed s/cat/wc/ Dockerfile > Other; tar cf a.tar f Dockerfile Other; tar czf a.tgz f Dockerfile; "
                        "printf 'FROM busybox\nRUN echo alone\n' > alone; head -c 100000 /dev/urandom > noise; exec httpd -f -p 80 -h /www")
        address = output("inspect", "-f", "{{.NetworkSettings.IPAddress}}", server)
        docker("exec", server, "sh", "-c", "until wget -q -O /dev/null http://127.0.0.1/noise; do :; done")
        for query, expected in (({"remote": "a.tar"}, "\nx\n"), ({"remote": "a.tgz"}, "\nx\n"),
                                ({"remote": "a.tar", "dockerfile": "Other"}, "1         1         2 /f"),
                                ({"remote": "alone"}, "\nalone\n")):
            with self.subTest(query):
                objects = build("", nocache=1, **{**query, "remote": f"http://{address}/{query['remote']}"})
                self.assertIn(expected, stream(objects))
                made(objects)
        for path, status, message in (("none", 404, "with status 404 Not Found"), ("noise", 400, "is neither an archive nor a Dockerfile"),
                                      ("a.tgz&dockerfile=Other", 500, "Cannot locate specified Dockerfile: Other")):
            name, _, more = path.partition("&dockerfile=")
            with self.subTest(path), self.assertRaises(ApiError) as caught:
                build("", remote=f"http://{address}/{name}", **({"dockerfile": more} if more else {}))
            self.assertEqual(status, caught.exception.status)
            self.assertIn(message, caught.exception.message)

    def test_quiet(self):
        objects = build("FROM busybox\nRUN echo hello\n", q=1)
        self.assertEqual(len(objects), 1, objects)
        self.assertRegex(objects[0]["stream"], "^sha256:[0-9a-f]{64}\n$")
        self.assertIn("hello", stream(build("FROM busybox\nRUN echo hello; exit 2\n", q=1)))

    def test_the_cache_of_given_images(self):
        text = "FROM busybox\nLABEL x=1\nRUN echo $$ > /x\n"
        build(text, t="built:cached")
        self.assertEqual(stream(build(text, cachefrom='["built:cached"]')).count("Using cache"), 2)
        self.assertEqual(stream(build(text, cachefrom='["busybox"]')).count("Using cache"), 0)
        self.assertEqual(stream(build(text, nocache=1)).count("Using cache"), 0)

    def test_limits_hold_for_commands(self):
        text = stream(build("FROM busybox\nRUN cat /sys/fs/cgroup/memory.max; ulimit -n; df -k /dev/shm | awk 'END {print $2}'\n",
                            memory=100 << 20, shmsize=1 << 20, ulimits='[{"Name":"nofile","Soft":100,"Hard":200}]'))
        self.assertIn(f"{100 << 20}\n100\n1024\n", text)
        self.assertIn("137", build("FROM busybox\nRUN tail /dev/zero\n", memory=20 << 20)[-1]["error"])

    def test_the_stock_client(self):
        done = docker("build", "-t", "built:cli", "-", stdin=b"FROM busybox\nRUN echo hello\n", check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(b"Successfully tagged built:cli", done.stdout)


if __name__ == "__main__":
    unittest.main()
