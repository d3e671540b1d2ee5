#!/usr/bin/python3
"""Pull, push, login and distribution against real and faulty registries, natively: the daemon runs on fake machines.

FAKE_CONTAINERVMD and CONTAINERVM_LAYER name the programs; the CTest `daemon_native_registry` sets them.
"""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.archives import digest_of, tar_of  # noqa: E402
from harness.docker_api import ApiError  # noqa: E402
from native.native_daemon import Daemon, auth_header, error_of, statuses  # noqa: E402
from native.registries import (DOCKER_LIST, DOCKER_MANIFEST, FaultyRegistry, Image, Proxy, RealRegistry,  # noqa: E402
                                 TokenServer, descriptor, make_certificate)

BASE = tar_of({"base": b"base" * 1000})
NOISE = tar_of({"noise": os.urandom(3 << 20)})
TOP = tar_of({"top": b"top"})


class RegistryTest(unittest.TestCase):
    """A daemon for each class; images are removed after each test."""

    @classmethod
    def setUpClass(cls):
        if "FAKE_CONTAINERVMD" not in os.environ:
            raise unittest.SkipTest("FAKE_CONTAINERVMD names no program")
        cls.directory = tempfile.mkdtemp(prefix="cvm-registry.")
        cls.addClassCleanup(shutil.rmtree, cls.directory)
        cls.certificates = os.path.join(cls.directory, "certs.d")
        os.makedirs(cls.certificates)
        cls.daemon = Daemon(cls.directory, cls.certificates)
        cls.addClassCleanup(cls.daemon.close)

    def tearDown(self):
        for image in self.daemon.api.get("/images/json?all=1"):
            try:
                self.daemon.api.call("DELETE", f"/images/{image['Id']}?force=1")
            except ApiError:
                pass
        self.assertEqual([], self.daemon.leftovers())
        self.assertEqual([], self.daemon.layers())

    def forget(self):
        for image in self.daemon.api.get("/images/json?all=1"):
            self.daemon.api.call("DELETE", f"/images/{image['Id']}?force=1")

    def refused(self, status, pattern, function, *arguments, **more):
        with self.assertRaises(ApiError) as caught:
            function(*arguments, **more)
        self.assertEqual(status, caught.exception.status, caught.exception.message)
        self.assertRegex(caught.exception.message, pattern)


class FaultyRegistryTest(RegistryTest):
    def setUp(self):
        self.registry = FaultyRegistry()
        self.addCleanup(self.registry.close)
        self.image = Image(BASE, NOISE)
        self.registry.add("test/image", "latest", self.image)
        self.name = f"{self.registry.host}/test/image"

    def fault(self, path, function, times=1 << 30):
        left = [times]

        def run(handler, asked):
            if path not in asked or left[0] == 0:
                return False
            left[0] -= 1
            function(handler)
            return True
        self.registry.faults.append(run)

    def blob_path(self, index=1):
        return f"/blobs/{self.image.layers[index]}"

    def test_pull_speaks_as_docker_does(self):
        stream = self.daemon.pull(self.name)

        self.assertEqual({"status": "Pulling from test/image", "id": "latest"}, stream[0])
        said = statuses(stream)
        for status in ("Pulling fs layer", "Downloading", "Verifying Checksum", "Download complete", "Extracting",
                       "Pull complete"):
            self.assertIn(status, said)
        self.assertEqual([f"Digest: {digest_of(self.image.manifest)}",
                          f"Status: Downloaded newer image for {self.name}:latest"], said[-2:])
        found = self.daemon.inspect(self.name)
        self.assertEqual(self.image.id, found["Id"])
        self.assertEqual([f"{self.name}@{digest_of(self.image.manifest)}"], found["RepoDigests"])
        again = self.daemon.pull(self.name)
        self.assertEqual(f"Status: Image is up to date for {self.name}:latest", again[-1]["status"])

    def test_pull_by_digest_names_the_image_by_digest_only(self):
        digest = digest_of(self.image.manifest)
        self.daemon.pull(self.name, digest)
        found = self.daemon.inspect(f"{self.name}@{digest}")
        self.assertEqual(([], [f"{self.name}@{digest}"]), (found["RepoTags"], found["RepoDigests"]))

    def test_layers_that_are_there_are_not_fetched(self):
        self.daemon.pull(self.name)
        self.registry.add("test/more", "latest", Image(BASE, TOP))
        stream = self.daemon.pull(f"{self.registry.host}/test/more")
        self.assertIn("Already exists", statuses(stream))
        self.assertEqual(0, self.registry.count(f"GET /v2/test/more/blobs/{self.image.layers[0]}"))

    def test_unknown_manifest_is_404(self):
        self.refused(404, f"^manifest for {self.name}:none not found: manifest unknown: manifest unknown$",
                     self.daemon.pull, self.name, "none")

    def test_denied_is_404_as_docker_says_it(self):
        self.fault("/manifests/", lambda h: h.answer(403, json.dumps({"errors": [
            {"code": "DENIED", "message": "requested access to the resource is denied"}]}).encode()))
        self.refused(404, "^pull access denied for .*/test/image, repository does not exist or may require "
                     "'docker login': denied: requested access to the resource is denied$", self.daemon.pull, self.name)

    def test_nobody_there_is_500(self):
        self.registry.close()
        self.refused(500, r'^Get "http://.*/v2/": dial tcp 127.0.0.1:\d+: connect: connection refused$',
                     self.daemon.pull, self.name)

    def test_cut_blob_goes_on_where_it_was(self):
        blob = self.image.blobs[self.image.layers[1]]

        def half(handler):
            handler.answer(200, blob[:1 << 20], length=len(blob))
            handler.cut()
        self.fault(self.blob_path(), half, times=1)
        stream = self.daemon.pull(self.name)
        self.assertEqual("", error_of(stream))
        self.assertEqual(1, self.registry.count(f"GET /v2/test/image{self.blob_path()} bytes={1 << 20}-"))

    def test_cut_blob_of_a_registry_without_ranges_is_read_again(self):
        blob = self.image.blobs[self.image.layers[1]]
        calls = []

        def half(handler):
            calls.append(1)
            handler.answer(200, blob[:1 << 20] if len(calls) == 1 else blob, length=len(blob))
            if len(calls) == 1:
                handler.cut()
        self.fault(self.blob_path(), half)
        self.assertEqual("", error_of(self.daemon.pull(self.name)))

    def test_busy_registry_is_asked_again(self):
        self.fault("/manifests/", lambda h: h.answer(429, headers={"Retry-After": "1"}), times=1)
        self.fault(self.blob_path(), lambda h: h.answer(503), times=2)
        self.fault(self.blob_path(0), lambda h: h.cut(), times=2)
        self.assertEqual("", error_of(self.daemon.pull(self.name)))

    def test_broken_registry_is_given_up(self):
        self.fault(self.blob_path(), lambda h: h.answer(500))
        self.assertIn("500 Internal Server Error", error_of(self.daemon.pull(self.name)))

    def test_stalled_blob_is_given_up_and_asked_again(self):
        blob = self.image.blobs[self.image.layers[1]]
        release = threading.Event()
        self.addCleanup(release.set)

        def stall(handler):
            handler.answer(200, blob[:1000], length=len(blob))
            handler.wfile.flush()
            release.wait(30)
            handler.cut()
        self.fault(self.blob_path(), stall, times=1)
        self.assertEqual("", error_of(self.daemon.pull(self.name)))

    def prepare_push(self):
        """The image under another name, and a registry that has none of its blobs; its name."""
        self.daemon.pull(self.name)
        name = f"{self.registry.host}/test/pushed"
        self.daemon.api.call("POST", f"/images/{self.image.id}/tag?repo={name}&tag=latest")
        self.registry.blobs.clear()
        self.registry.requests.clear()
        return name

    def cut_uploads(self, times, forgets=False):
        """So many uploads end in the middle of their bytes."""
        left = [times]

        def run(handler, path):
            if handler.command != "PATCH" or left[0] == 0:
                return False
            left[0] -= 1
            number = path.rpartition("/")[2]
            self.registry.uploads[number] += handler.read_body(limit=1 << 20)
            if forgets:
                self.registry.uploads[number] = None
            handler.cut()
            return True
        self.registry.faults.append(run)

    def uploaded(self):
        """How many bytes the registry was sent, and how many uploads were begun (not counting asked mounts)."""
        return (sum(len(data or b"") for data in self.registry.uploads.values()),
                self.registry.requests.count("POST /v2/test/pushed/blobs/uploads/"))

    def test_cut_upload_goes_on_where_it_was(self):
        name = self.prepare_push()
        self.cut_uploads(times=2)
        self.assertEqual("", error_of(self.daemon.push(name)))
        sent, begun = self.uploaded()
        self.assertEqual(sent, sum(map(len, self.registry.blobs.values())))
        self.assertEqual(3, begun)  # two layers and the configuration
        self.assertIn(("test/pushed", "latest"), self.registry.manifests)
        self.forget()
        self.daemon.pull(name)
        self.assertEqual(self.image.id, self.daemon.inspect(name)["Id"])

    def test_upload_that_the_registry_forgot_begins_anew(self):
        name = self.prepare_push()
        self.cut_uploads(times=1, forgets=True)
        self.assertEqual("", error_of(self.daemon.push(name)))
        self.assertEqual(4, self.uploaded()[1])
        self.forget()
        self.daemon.pull(name)
        self.assertEqual(self.image.id, self.daemon.inspect(name)["Id"])

    def test_upload_that_is_always_cut_is_given_up(self):
        name = self.prepare_push()
        self.cut_uploads(times=1 << 30, forgets=True)
        self.assertNotEqual("", error_of(self.daemon.push(name)))
        self.assertNotIn(("test/pushed", "latest"), self.registry.manifests)

    def test_lies_about_bytes_are_found_out(self):
        lies = {
            "another blob": (self.blob_path(), lambda h: h.answer(200, b"x" * len(self.image.blobs[self.image.layers[1]])),
                             "filesystem layer verification failed|invalid|EOF"),
            "more than the size": (self.blob_path(), lambda h: h.answer(
                200, self.image.blobs[self.image.layers[1]] + b"more"), "is larger than its size"),
            "another configuration": (self.image.id, lambda h: h.answer(200, b"x" * len(self.image.config)),
                                      "verification failed"),
        }
        for name, (path, answer, pattern) in lies.items():
            with self.subTest(name):
                self.registry.faults.clear()
                self.fault(path, answer)
                self.assertRegex(error_of(self.daemon.pull(self.name)), pattern)
                self.assertEqual([], self.daemon.api.get("/images/json"))

    def test_manifest_that_is_not_its_digest_is_refused(self):
        digest = digest_of(self.image.manifest)
        self.fault("/manifests/", lambda h: h.answer(200, self.image.manifest + b" ", {"Content-Type": DOCKER_MANIFEST}))
        self.refused(500, "manifest verification failed", self.daemon.pull, self.name, digest)

    def test_layer_that_is_not_its_diff_id_is_refused(self):
        wrong = Image(BASE)
        config = json.loads(wrong.config)
        config["rootfs"]["diff_ids"] = [digest_of(b"other")]
        wrong.config = json.dumps(config).encode()
        wrong.document["config"] = descriptor(wrong.document["config"]["mediaType"], wrong.config)
        wrong.blobs[digest_of(wrong.config)] = wrong.config
        self.registry.add("test/wrong", "latest", wrong)
        self.assertIn("invalid diffID", error_of(self.daemon.pull(f"{self.registry.host}/test/wrong")))

    def test_endless_answers_are_bounded(self):
        def endless(handler):
            handler.send_response(200)
            handler.send_header("Content-Type", DOCKER_MANIFEST)
            handler.end_headers()
            handler.close_connection = True
            while True:
                handler.wfile.write(b" " * 65536)
        self.fault("/manifests/", endless)
        self.refused(500, "larger than the limit", self.daemon.pull, self.name)

    def test_endless_headers_are_bounded(self):
        def endless(handler):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while True:
                handler.wfile.write(b"X-More: " + b"x" * 4000 + b"\r\n")
        self.fault("/manifests/", endless)
        self.refused(500, "header limit exceeded", self.daemon.pull, self.name)

    def test_redirect_gets_no_credentials(self):
        other = FaultyRegistry()
        self.addCleanup(other.close)
        other.blobs.update(self.image.blobs)

        def challenge(handler, path):
            if handler.headers["Authorization"]:
                return False
            handler.answer(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return True
        self.registry.faults.append(challenge)
        self.fault("/blobs/", lambda h: h.answer(307, headers={"Location": f"http://{other.host}{h.path}"}))
        stream = self.daemon.pull(self.name, headers=auth_header(username="me", password="secret"))
        self.assertEqual("", error_of(stream))
        self.assertEqual({None}, set(other.authorizations))
        self.refused(500, "no basic auth credentials", self.daemon.pull, self.name)

    def test_platforms(self):
        arm = Image(TOP, architecture="arm64")
        self.registry.add("test/list", "arm", arm)
        self.registry.add("test/list", "amd", self.image)
        entries = [descriptor(DOCKER_MANIFEST, arm.manifest, platform={"os": "linux", "architecture": "arm64"}),
                   descriptor(DOCKER_MANIFEST, self.image.manifest, platform={"os": "linux", "architecture": "amd64"})]
        index = json.dumps({"schemaVersion": 2, "mediaType": DOCKER_LIST, "manifests": entries}).encode()
        self.registry.add_manifest("test/list", "latest", DOCKER_LIST, index)
        name = f"{self.registry.host}/test/list"

        self.daemon.pull(name)
        found = self.daemon.inspect(name)
        self.assertEqual((self.image.id, [f"{name}@{digest_of(index)}"]), (found["Id"], found["RepoDigests"]))
        self.assertEqual("no matching manifest for linux/s390x in the manifest list entries",
                         error_of(self.daemon.pull(name, platform="linux/s390x")))
        self.assertIn("does not match this host", error_of(self.daemon.pull(name, platform="linux/arm64")))
        self.refused(400, "platform specifier", self.daemon.pull, name, platform="a/b/c/d")
        answer = self.daemon.api.get(f"/distribution/{name}/json")
        self.assertEqual((digest_of(index), DOCKER_LIST, len(index)),
                         tuple(answer["Descriptor"][key] for key in ("digest", "mediaType", "size")))
        self.assertEqual(["arm64", "amd64"], [platform["architecture"] for platform in answer["Platforms"]])

    def test_schema_1_is_refused_with_a_sentence(self):
        self.registry.add_manifest("test/old", "latest", "application/vnd.docker.distribution.manifest.v1+prettyjws",
                                   b'{"schemaVersion": 1, "name": "test/old"}')
        self.refused(501, "schema 1 support has been removed", self.daemon.pull, f"{self.registry.host}/test/old")

    def test_same_layer_in_two_pulls_is_fetched_once(self):
        self.registry.add("test/other", "latest", Image(NOISE, TOP))
        release = threading.Event()

        def wait(handler, path):
            if self.image.layers[1] in path and not release.is_set():
                release.wait(20)
            return False
        self.registry.faults.append(wait)
        streams = []
        pulls = [threading.Thread(target=lambda name=name: streams.append(
            self.daemon.pull(f"{self.registry.host}/test/{name}"))) for name in ("image", "other")]
        for pull in pulls:
            pull.start()
        while self.registry.count("GET /v2/test/image/manifests") + self.registry.count("GET /v2/test/other/manifests") < 2 \
                or not any(self.image.layers[1] in line for line in self.registry.requests):
            time.sleep(0.05)
        time.sleep(1)  # the slower one has joined by now, or pulls later and finds the layer
        release.set()
        for pull in pulls:
            pull.join()
        self.assertEqual(["", ""], [error_of(stream) for stream in streams])
        self.assertEqual(1, sum(self.image.layers[1] in line for line in self.registry.requests))

    def test_pull_stops_with_its_client(self):
        release = threading.Event()
        self.addCleanup(release.set)
        blob = self.image.blobs[self.image.layers[1]]
        gone = threading.Event()

        def drip(handler):
            handler.answer(200, blob[:100], length=len(blob))
            while not release.wait(0.1):
                try:
                    handler.wfile.write(b"x")
                except OSError:
                    gone.set()
                    return
        self.fault(self.blob_path(), drip)
        connection = self.daemon.api.connect()
        response = self.daemon.api.send(connection, "POST", "/images/create",
                                        query={"fromImage": self.name, "tag": "latest"})
        response.readline()
        while not any(self.image.layers[1] in line for line in self.registry.requests):
            time.sleep(0.05)
        response.close()
        connection.close()
        self.assertTrue(gone.wait(15), "the download goes on without its client")

    def test_killed_daemon_leaves_nothing(self):
        release = threading.Event()
        self.addCleanup(release.set)
        blob = self.image.blobs[self.image.layers[1]]

        def stall(handler):
            handler.answer(200, blob[:1 << 20], length=len(blob))
            release.wait(30)
            handler.cut()
        self.fault(self.blob_path(), stall, times=1)
        connection = self.daemon.api.connect()
        response = self.daemon.api.send(connection, "POST", "/images/create",
                                        query={"fromImage": self.name, "tag": "latest"})
        while b"Pull complete" not in response.readline():
            pass
        self.daemon.end(kill=True)
        self.daemon.start()
        self.assertEqual(([], []), (self.daemon.leftovers(), self.daemon.layers()))
        self.assertEqual("", error_of(self.daemon.pull(self.name)))

    def test_search_asks_the_index_of_the_host_in_the_term(self):
        found = [{"name": "one", "description": "first", "star_count": 7, "is_official": True},
                 {"name": "two", "description": "second", "star_count": 2}]
        self.fault("/v1/search", lambda h: h.answer(200, json.dumps({"results": found}).encode()))
        term = f"{self.registry.host}/thing"

        everything = self.daemon.api.get("/images/search", term=term, limit=10)
        starred = self.daemon.api.get("/images/search", term=term, filters=json.dumps({"stars": ["5"]}))
        unofficial = self.daemon.api.get("/images/search", term=term, filters=json.dumps({"is-official": ["false"]}))

        self.assertEqual(["one", "two"], [image["name"] for image in everything])
        self.assertEqual({"name": "one", "description": "first", "star_count": 7, "is_official": True,
                          "is_automated": False}, everything[0])
        self.assertEqual((["one"], ["two"]), ([i["name"] for i in starred], [i["name"] for i in unofficial]))
        self.assertIn("GET /v1/search?q=thing&n=10", self.registry.requests)

    def test_search_without_an_index_is_an_error(self):
        search = self.daemon.api.get
        self.refused(501, "has no search", search, "/images/search", term=f"{self.registry.host}/thing")
        self.refused(400, "no search term", search, "/images/search", term="")
        self.refused(400, "outside the range", search, "/images/search", term="x", limit=1000)
        self.refused(400, "invalid filter", search, "/images/search", term="x", filters=json.dumps({"stars": ["many"]}))
        self.fault("/v1/search", lambda h: h.answer(200, b"<html>"))
        self.refused(500, "not a list of search results", search, "/images/search", term=f"{self.registry.host}/thing")

    def test_hostile_challenges_and_locations(self):
        for value in ("Bearer", 'Bearer realm="ftp://x"', 'Bearer realm="' + "x" * 9000 + '"', ", , =", 'Basic realm="'):
            with self.subTest(value[:30]):
                self.registry.faults.clear()
                self.fault("/v2/", lambda h, value=value: h.answer(401, headers={"WWW-Authenticate": value}))
                with self.assertRaises(ApiError):
                    self.daemon.pull(self.name)
        self.registry.faults.clear()
        self.fault("/blobs/", lambda h: h.answer(307, headers={"Location": h.path}))
        self.assertIn("stopped after 10 redirects", error_of(self.daemon.pull(self.name)))


class RealRegistryTest(RegistryTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.registry = RealRegistry(os.path.join(cls.directory, "plain"))
        cls.addClassCleanup(cls.registry.close)

    def load(self, *layers, name):
        """An image in the store, by way of a faulty registry that has no faults."""
        source = FaultyRegistry()
        image = Image(*layers)
        source.add("source", "latest", image)
        self.daemon.pull(f"{source.host}/source")
        source.close()
        for one in name if isinstance(name, list) else [name]:
            repository, _, tag = one.rpartition(":")
            self.daemon.api.call("POST", f"/images/{image.id}/tag?repo={repository}&tag={tag}")
        return image

    def test_push_and_pull(self):
        name = f"{self.registry.host}/some/image"
        image = self.load(BASE, NOISE, name=f"{name}:one")
        stream = self.daemon.push(name, "one")
        said = statuses(stream)
        self.assertEqual(f"The push refers to repository [{name}]", said[0])
        for status in ("Preparing", "Pushing", "Pushed"):
            self.assertIn(status, said)
        result = stream[-1]["aux"]
        self.assertEqual(f"one: digest: {result['Digest']} size: {result['Size']}", said[-2])
        self.assertIn(f"{name}@{result['Digest']}", self.daemon.inspect(f"{name}:one")["RepoDigests"])

        again = statuses(self.daemon.push(name, "one"))
        self.assertEqual(2, again.count("Layer already exists"))
        self.forget()
        self.daemon.pull(name, "one")
        found = self.daemon.inspect(f"{name}:one")
        self.assertEqual((image.id, [f"{name}@{result['Digest']}"]), (found["Id"], found["RepoDigests"]))

    def test_layers_are_mounted_from_other_repositories(self):
        first, second = f"{self.registry.host}/mount/first", f"{self.registry.host}/mount/second"
        self.load(NOISE, name=[f"{first}:latest", f"{second}:latest"])
        self.daemon.push(first)
        self.assertIn("Mounted from " + first, statuses(self.daemon.push(second)))

    def test_all_tags(self):
        name = f"{self.registry.host}/many/tags"
        self.load(TOP, name=[f"{name}:a", f"{name}:b"])
        self.assertEqual(["a", "b"], [entry["aux"]["Tag"] for entry in self.daemon.push(name, "") if "aux" in entry])
        self.forget()
        stream = self.daemon.pull(name, "")
        self.assertEqual(f"Status: Downloaded newer image for {name}", stream[-1]["status"])
        self.assertEqual([f"{name}:a", f"{name}:b"], sorted(self.daemon.inspect(f"{name}:a")["RepoTags"]))

    def test_what_is_not_there_is_not_pushed(self):
        name = f"{self.registry.host}/not/there"
        self.assertEqual(f"An image does not exist locally with the tag: {name}", error_of(self.daemon.push(name)))
        self.load(TOP, name=f"{name}:a")
        self.assertEqual(f"tag does not exist: {name}:b", error_of(self.daemon.push(name, "b")))

    def test_other_forms_of_images(self):
        layout = os.path.join(self.directory, "layout")
        name = f"{self.registry.host}/forms/image"
        image = self.load(BASE, TOP, name=f"{name}:docker")
        self.daemon.push(name, "docker")
        self.forget()
        copy = ["skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
        source = f"docker://{name}:docker"
        for tag, options in {"oci": ["--format", "oci"],
                             "zstd": ["--format", "oci", "--dest-compress-format", "zstd"]}.items():
            subprocess.run([*copy, *options, source, f"oci:{layout}-{tag}"], check=True, capture_output=True)
            subprocess.run([*copy, f"oci:{layout}-{tag}", f"docker://{name}:{tag}"], check=True, capture_output=True)
            with self.subTest(tag):
                self.assertEqual("", error_of(self.daemon.pull(name, tag)))
                self.assertEqual([digest_of(BASE), digest_of(TOP)],
                                 self.daemon.inspect(f"{name}:{tag}")["RootFS"]["Layers"])
                self.assertEqual("", error_of(self.daemon.push(name, tag)))
                self.forget()
        self.assertTrue(image.id)

    def test_events(self):
        name = f"{self.registry.host}/some/event"
        before = int(time.time()) - 1
        self.load(TOP, name=f"{name}:latest")
        self.daemon.push(name)
        events = self.daemon.stream("GET", "/events", {"since": before, "until": int(time.time()) + 1})
        said = [(event["Action"], event["Actor"]["ID"], event["Actor"]["Attributes"].get("name")) for event in events]
        self.assertIn(("push", f"{name}:latest", name), said)
        self.assertTrue(any(action == "pull" for action, _, _ in said))

    def test_missing_image_is_pulled_by_the_stock_client(self):
        client = shutil.which("docker")
        if not client:
            self.skipTest("there is no docker client")
        name = f"{self.registry.host}/stock/client:latest"
        self.load(BASE, TOP, name=name)
        host = f"unix://{self.daemon.state}/docker.sock"

        def docker(*arguments):
            return subprocess.run([client, "-H", host, *arguments], capture_output=True, text=True, timeout=60, check=False)
        pushed = docker("push", name)
        self.assertEqual(0, pushed.returncode, pushed.stderr)
        self.forget()
        made = docker("create", name)
        self.assertEqual(0, made.returncode, made.stderr)
        self.assertIn("Status: Downloaded newer image", made.stderr)
        self.assertEqual(0, docker("rm", made.stdout.strip()).returncode)
        pulled = docker("pull", name)
        self.assertIn("Image is up to date", pulled.stdout)
        self.assertIn(digest_of(b"")[:7], docker("images", "--digests").stdout)


    def test_build_pulls_what_it_begins_with(self):
        name = f"{self.registry.host}/base/image:latest"
        base = self.load(BASE, name=name)
        self.daemon.push(f"{self.registry.host}/base/image")
        self.forget()
        stream = self.daemon.build(f"FROM {name}\nENV A=1\n")
        self.assertEqual("", error_of(stream))
        self.assertIn("Pull complete", statuses(stream))
        built = [entry["aux"]["ID"] for entry in stream if "aux" in entry][-1]
        self.assertEqual(base.id, self.daemon.inspect(built)["Parent"])
        missing = self.daemon.build(f"FROM {self.registry.host}/none/such\n")
        self.assertRegex(error_of(missing), "manifest for .* not found|repository .* not found")


class SignatureTest(RegistryTest):
    """Images that must be signed, as cosign signs with a key."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = os.path.join(cls.directory, "key.pem")
        public = os.path.join(cls.directory, "public.pem")
        cls.openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", cls.key)
        cls.openssl("ec", "-in", cls.key, "-pubout", "-out", public)
        policy = os.path.join(cls.directory, "policy.json")
        with open(policy, "w", encoding="ascii") as file:
            json.dump({"default": [{"type": "reject"}], "transports": {"docker": {"": [
                {"type": "sigstoreSigned", "keyPath": public, "signedIdentity": {"type": "matchRepository"}}]}}}, file)
        directory = os.path.join(cls.directory, "strict")
        os.makedirs(directory)
        cls.strict = Daemon(directory, cls.certificates, "", policy)
        cls.addClassCleanup(cls.strict.close)

    @staticmethod
    def openssl(*arguments, data=None):
        return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout

    def sign(self, registry, repository, image, claimed=None):
        """Puts a signature for `image` beside it; `claimed`: the digest that it is for."""
        digest = digest_of(image.manifest)
        payload = json.dumps({"critical": {"identity": {"docker-reference": f"{registry.host}/{repository}"},
                                           "image": {"docker-manifest-digest": claimed or digest},
                                           "type": "cosign container image signature"}, "optional": None}).encode()
        signature = base64.b64encode(self.openssl("dgst", "-sha256", "-sign", self.key, data=payload)).decode()
        registry.blobs[digest_of(payload)] = payload
        config = b"{}"
        registry.blobs[digest_of(config)] = config
        layer = descriptor("application/vnd.dev.cosign.simplesigning.v1+json", payload)
        layer["annotations"] = {"dev.cosignproject.cosign/signature": signature}
        oci = "application/vnd.oci.image."
        manifest = json.dumps({"schemaVersion": 2, "mediaType": oci + "manifest.v1+json", "layers": [layer],
                               "config": descriptor(oci + "config.v1+json", config)}).encode()
        registry.add_manifest(repository, digest.replace(":", "-") + ".sig", oci + "manifest.v1+json", manifest)

    def test_only_signed_images_come_in_and_run(self):
        registry = FaultyRegistry()
        self.addCleanup(registry.close)
        signed, unsigned, other = Image(BASE), Image(TOP), Image(NOISE)
        for name, image in (("signed", signed), ("unsigned", unsigned), ("other", other)):
            registry.add(f"test/{name}", "latest", image)
        self.sign(registry, "test/signed", signed)
        self.sign(registry, "test/other", other, claimed=digest_of(signed.manifest))

        for name, image, reason in (("unsigned", unsigned, "no signature exists"),
                                    ("other", other, "Signature for digest .* does not match")):
            said = error_of(self.strict.pull(f"{registry.host}/test/{name}"))
            self.assertRegex(said, f"Source image rejected: .*{reason}")
            self.assertFalse([line for line in registry.requests if image.layers[0] in line])
        self.assertEqual("", error_of(self.strict.pull(f"{registry.host}/test/signed")))
        self.assertEqual(signed.id, self.strict.inspect(f"{registry.host}/test/signed")["Id"])
        self.strict.api.call("POST", "/containers/create", {"Image": f"{registry.host}/test/signed", "Cmd": ["x"]})


class LoginTest(RegistryTest):
    def log_in(self, host, **fields):
        return self.daemon.api.call("POST", "/auth", {"serveraddress": host, **fields})

    def check_login(self, registry, wrong):
        self.refused(401, wrong, self.log_in, registry.host, username="me", password="wrong")
        status, answer = self.log_in(registry.host, username="me", password="secret")
        self.assertEqual((200, "Login Succeeded"), (status, answer["Status"]))
        return answer["IdentityToken"]

    def check_transfer(self, registry, good, expected):
        source = FaultyRegistry()
        self.addCleanup(source.close)
        source.add("source", "latest", Image(TOP))
        self.daemon.pull(f"{source.host}/source")
        name = f"{registry.host}/private/image"
        self.daemon.api.call("POST", f"/images/{source.host}/source:latest/tag?repo={name}&tag=latest")
        self.assertRegex(error_of(self.daemon.push(name)), expected)
        self.assertEqual("", error_of(self.daemon.push(name, headers=good)))
        self.assertEqual("", error_of(self.daemon.pull(name, headers=good)))
        with self.assertRaises(ApiError):
            self.daemon.pull(name)
        answer = self.daemon.api.call("GET", f"/distribution/{name}/json", headers=good)[1]
        self.assertEqual("amd64", answer["Platforms"][0]["architecture"])
        self.refused(401, "basic auth|unauthorized", self.daemon.api.call, "GET", f"/distribution/{name}/json")

    def test_basic(self):
        path = os.path.join(self.directory, "htpasswd")
        with open(path, "w", encoding="ascii") as file:  # me:secret, bcrypt
            file.write(HTPASSWD)
        registry = RealRegistry(os.path.join(self.directory, "basic"), htpasswd=path)
        self.addCleanup(registry.close)
        self.assertEqual("", self.check_login(registry, "login attempt to .* failed with status: 401 Unauthorized"))
        self.check_transfer(registry, auth_header(username="me", password="secret"), "no basic auth credentials")
        dockerfile = f"FROM {registry.host}/private/image\nENV A=1\n"
        self.forget()
        self.assertIn("no basic auth credentials", error_of(self.daemon.build(dockerfile)))
        logins = {registry.host: {"username": "me", "password": "secret"}}
        self.assertEqual("", error_of(self.daemon.build(dockerfile, logins)))

    def test_tokens(self):
        server = TokenServer(self.directory, "me", "secret")
        self.addCleanup(server.close)
        registry = RealRegistry(os.path.join(self.directory, "token"), token=server.settings())
        self.addCleanup(registry.close)
        identity = self.check_login(registry, "unauthorized: incorrect username or password")
        self.assertEqual("refresh-me", identity)
        self.check_transfer(registry, auth_header(username="me", password="secret"), "unauthorized")
        self.assertIn("repository:private/image:pull,push", server.asked)
        stream = self.daemon.pull(f"{registry.host}/private/image", headers=auth_header(identitytoken=identity))
        self.assertEqual("", error_of(stream))
        self.assertGreater(server.refreshed, 0)

    def test_nobody_is_not_logged_in(self):
        registry = FaultyRegistry()
        self.addCleanup(registry.close)
        self.refused(400, "no credentials", self.log_in, registry.host)
        self.assertEqual([], registry.requests)

    def test_bad_headers_are_400(self):
        self.refused(400, "invalid X-Registry-Auth header", self.daemon.pull, "127.0.0.1:1/x",
                     headers={"X-Registry-Auth": "!!!"})


def other_address():
    """An address of this machine that is not a loopback's, which is never verified."""
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=False).stdout.split()
    return next((address for address in addresses if ":" not in address), None)


class TlsTest(RegistryTest):
    def test_private_authority(self):
        address = other_address()
        if not address:
            self.skipTest("this machine has no address but the loopback's")
        authority = make_certificate(self.directory, "authority", "authority")
        key, certificate = make_certificate(self.directory, "server", "server", address, authority)
        registry = RealRegistry(os.path.join(self.directory, "tls"), tls=(certificate, key), address=address)
        self.addCleanup(registry.close)
        source = FaultyRegistry()
        self.addCleanup(source.close)
        source.add("source", "latest", Image(TOP))
        self.daemon.pull(f"{source.host}/source")
        name = f"{registry.host}/tls/image"
        self.daemon.api.call("POST", f"/images/{source.host}/source:latest/tag?repo={name}&tag=latest")

        self.assertIn("x509: certificate signed by unknown authority", error_of(self.daemon.push(name)))
        trusted = os.path.join(self.certificates, registry.host)
        os.makedirs(trusted)
        shutil.copy(authority[1], os.path.join(trusted, "ca.crt"))
        self.assertEqual("", error_of(self.daemon.push(name)))
        self.assertEqual("", error_of(self.daemon.pull(name)))
        shutil.copy(certificate, os.path.join(trusted, "client.cert"))
        self.assertIn("missing key client.key for client certificate client.cert", error_of(self.daemon.push(name)))


class ProxyTest(unittest.TestCase):
    """Registries that only a proxy reaches: 192.0.2.1 is nobody's address, mirror.invalid nobody's name."""

    def setUp(self):
        if "FAKE_CONTAINERVMD" not in os.environ:
            self.skipTest("FAKE_CONTAINERVMD names no program")
        self.directory = tempfile.mkdtemp(prefix="cvm-registry.")
        self.addCleanup(shutil.rmtree, self.directory)
        self.certificates = os.path.join(self.directory, "certs.d")

    def daemon(self, mirror="", **environment):
        daemon = Daemon(self.directory, self.certificates, mirror, environment=environment)
        self.addCleanup(daemon.close)
        return daemon

    def proxy(self, targets, credentials=None):
        proxy = Proxy(targets, credentials)
        self.addCleanup(proxy.close)
        return proxy

    def source(self):
        source = FaultyRegistry()
        self.addCleanup(source.close)
        source.add("library/image", "latest", Image(TOP))
        return source

    def test_a_mirror_by_http_is_asked_through_it(self):
        source = self.source()
        proxy = self.proxy({"mirror.invalid:80": source.port})
        daemon = self.daemon("http://mirror.invalid", HTTP_PROXY=proxy.url)

        self.assertEqual("", error_of(daemon.pull("image")))

        self.assertEqual(["image:latest"], daemon.inspect("image")["RepoTags"])
        self.assertIn("GET http://mirror.invalid/v2/library/image/manifests/latest", proxy.asked)
        self.assertIn("GET /v2/library/image/manifests/latest", source.requests)
        self.assertEqual(proxy.url, daemon.api.get("/info")["HttpProxy"])

    def test_https_goes_through_a_tunnel(self):
        authority = make_certificate(self.directory, "authority", "authority")
        key, certificate = make_certificate(self.directory, "server", "server", "192.0.2.1", authority)
        registry = RealRegistry(os.path.join(self.directory, "tls"), tls=(certificate, key))
        self.addCleanup(registry.close)
        name = f"192.0.2.1:{registry.port}"
        proxy = self.proxy({name: registry.port}, "me:p@ss")
        trusted = os.path.join(self.certificates, name)
        os.makedirs(trusted)
        shutil.copy(authority[1], os.path.join(trusted, "ca.crt"))
        source = self.source()
        daemon = self.daemon(HTTPS_PROXY=proxy.url.replace("//", "//me:p%40ss@"))
        daemon.pull(f"{source.host}/library/image")  # the loopback's needs no proxy
        daemon.api.call("POST", f"/images/{source.host}/library/image:latest/tag?repo={name}/image&tag=latest")

        self.assertEqual([], proxy.asked)
        self.assertEqual("", error_of(daemon.push(f"{name}/image")))
        self.assertEqual("", error_of(daemon.pull(f"{name}/image")))
        self.assertEqual({f"CONNECT {name}"}, set(proxy.asked))
        self.assertEqual(proxy.url.replace("//", "//xxxxx:xxxxx@"), daemon.api.get("/info")["HttpsProxy"])

    def test_what_goes_wrong_is_said(self):
        proxy = self.proxy({}, "me:pass")
        wrong = self.daemon(HTTPS_PROXY=proxy.url)
        with self.assertRaisesRegex(ApiError, "the proxy 127.0.0.1:[0-9]+ opens no tunnel: 407 "):
            wrong.pull("192.0.2.1:5000/image")
        wrong.end()
        proxy.close()
        with self.assertRaisesRegex(ApiError, "proxyconnect tcp: dial tcp 127.0.0.1:[0-9]+: connect: connection refused"):
            self.daemon(HTTPS_PROXY=proxy.url).pull("192.0.2.1:5000/image")


# bcrypt of "secret"
HTPASSWD = "me:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"

if __name__ == "__main__":
    unittest.main()
