"""Registries for tests: Debian's docker-registry as a process, a token server, and one whose faults are chosen."""

import base64
import gzip
import http.client
import http.server
import json
import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse

from harness.archives import digest_of

DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for_port(port, process=None, address="127.0.0.1", patience=60):
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if process and process.poll() is not None:
            raise AssertionError(f"ended with status {process.returncode}")
        try:
            socket.create_connection((address, port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nothing listens on port {port}")


def descriptor(media_type, data, **more):
    return {"mediaType": media_type, "size": len(data), "digest": digest_of(data), **more}


class Image:
    """A schema 2 image of the given uncompressed layers."""

    def __init__(self, *layers, architecture="amd64"):
        self.blobs = {}
        self.config = json.dumps({
            "architecture": architecture, "os": "linux", "config": {"Cmd": ["/bin/sh"]},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}).encode()
        descriptors = []
        for layer in layers:
            blob = gzip.compress(layer, mtime=0)
            self.blobs[digest_of(blob)] = blob
            descriptors.append(descriptor("application/vnd.docker.image.rootfs.diff.tar.gzip", blob))
        self.layers = [entry["digest"] for entry in descriptors]
        self.blobs[digest_of(self.config)] = self.config
        self.document = {"schemaVersion": 2, "mediaType": DOCKER_MANIFEST,
                         "config": descriptor("application/vnd.docker.container.image.v1+json", self.config),
                         "layers": descriptors}

    @property
    def manifest(self):
        return json.dumps(self.document).encode()

    @property
    def id(self):
        return digest_of(self.config)


class RealRegistry:
    """Debian's docker-registry on a port of its own, below `directory`."""

    def __init__(self, directory, *, htpasswd=None, tls=None, token=None, address="127.0.0.1"):
        self.port = free_port()
        self.host = f"{address}:{self.port}"
        os.makedirs(directory)
        config = f"version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {directory}/data}}\n" \
                 f"  delete: {{enabled: true}}\nhttp:\n  addr: {self.host}\n"
        if tls:
            config += f"  tls: {{certificate: {tls[0]}, key: {tls[1]}}}\n"
        if htpasswd:
            config += f"auth:\n  htpasswd: {{realm: test, path: {htpasswd}}}\n"
        if token:
            config += "auth:\n  token: " + json.dumps(token) + "\n"
        path = os.path.join(directory, "config.yml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(config)
        self._log = open(os.path.join(directory, "log"), "wb")
        self._process = subprocess.Popen(["docker-registry", "serve", path], stdout=self._log, stderr=self._log)
        wait_for_port(self.port, self._process, address)

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._log.close()


class Proxy:
    """An HTTP proxy: it tunnels (CONNECT) and passes requests on, to whom `targets` says ("HOST:PORT" -> port here).

    `asked` are the lines "METHOD TARGET" so far. With `credentials` ("USER:PASSWORD") it wants them.
    """

    def __init__(self, targets, credentials=None):
        self.asked = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def target_of(self, authority):
                """The port behind this authority; None if it was refused."""
                proxy.asked.append(f"{self.command} {self.path}")
                wanted = credentials and "Basic " + base64.b64encode(credentials.encode()).decode()
                status = 407 if wanted and self.headers["Proxy-Authorization"] != wanted else \
                    502 if authority not in targets else 200
                if status == 200:
                    return targets[authority]
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None

            def do_CONNECT(self):
                self.close_connection = True
                port = self.target_of(self.path)
                if port is None:
                    return
                with socket.create_connection(("127.0.0.1", port)) as other:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    there = threading.Thread(target=_carry, args=(self.connection, other))
                    there.start()
                    _carry(other, self.connection)
                    there.join()

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                port = self.target_of(url.netloc if url.port else f"{url.netloc}:80")
                if port is None:
                    return
                connection = http.client.HTTPConnection("127.0.0.1", port)
                headers = {name: value for name, value in self.headers.items() if not name.startswith("Proxy-")}
                connection.request(self.command, url.path, headers=headers)
                answer = connection.getresponse()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.read())
                connection.close()

            do_HEAD = do_GET

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _carry(source, sink):
    """Bytes from one socket to the other until the first ends."""
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class FaultyRegistry:
    """Serves images from memory, takes them, and does, per path, what it is told to.

    `faults` is a list of functions (handler, path) -> bool; the first that returns True has answered.
    `requests` are the lines "METHOD PATH [RANGE]" so far, `authorizations` the headers that came with them.
    """

    def __init__(self):
        self.manifests = {}  # (repository, tag or digest) -> (media type, bytes)
        self.blobs = {}
        self.uploads = {}  # number, as text -> bytes so far
        self.faults = []
        self.requests = []
        self.authorizations = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def answer(self, status, body=b"", headers=None, length=None):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body) if length is None else length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def cut(self):
                """Ends the connection in the middle of whatever it was."""
                self.close_connection = True
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)

            def read_body(self, limit=1 << 30):
                """The bytes of the body, or of as many of its chunks as hold `limit` bytes."""
                if self.headers["Transfer-Encoding"] != "chunked":
                    return self.rfile.read(min(limit, int(self.headers["Content-Length"] or 0)))
                body = b""
                while len(body) < limit and (size := int(self.rfile.readline(), 16)):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                if len(body) < limit:
                    self.rfile.readline()
                return body

            def serve(self):
                path = urllib.parse.unquote(self.path)
                registry.requests.append(f"{self.command} {path}" +
                                         (f" {self.headers['Range']}" if self.headers["Range"] else ""))
                registry.authorizations.append(self.headers["Authorization"])
                try:
                    for fault in list(registry.faults):
                        if fault(self, path):
                            return
                    registry.serve(self, path)
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            do_GET = do_HEAD = do_POST = do_PATCH = do_PUT = do_DELETE = serve

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, client_address):
                pass  # a client that breaks off is what some tests are about

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.registry = self
        self.port = self._server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def add(self, repository, tag, image):
        self.blobs.update(image.blobs)
        self.add_manifest(repository, tag, DOCKER_MANIFEST, image.manifest)

    def add_manifest(self, repository, tag, media_type, data):
        self.manifests[repository, tag] = self.manifests[repository, digest_of(data)] = (media_type, data)

    def count(self, prefix):
        return sum(line.startswith(prefix) for line in self.requests)

    def serve(self, handler, path):
        if path == "/v2/":
            return handler.answer(200, b"{}")
        if match := re.fullmatch(r"/v2/(.+)/blobs/uploads/(\d*)(?:\?(.*))?", path):
            return self.take(handler, *match.groups(default=""))
        if match := re.fullmatch(r"/v2/(.+)/manifests/(.+)", path):
            if handler.command == "PUT":
                data = handler.read_body()
                self.add_manifest(*match.groups(), handler.headers["Content-Type"], data)
                return handler.answer(201, headers={"Docker-Content-Digest": digest_of(data)})
            found = self.manifests.get(match.groups())
            if not found:
                return handler.answer(404, json.dumps({"errors": [
                    {"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode())
            return handler.answer(200, found[1], {"Content-Type": found[0]})
        if match := re.fullmatch(r"/v2/(.+)/blobs/(sha256:.+)", path):
            blob = self.blobs.get(match.group(2))
            if blob is None:
                return handler.answer(404, b'{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown to registry"}]}')
            wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
            if wanted:
                first = int(wanted.group(1))
                return handler.answer(206, blob[first:], {"Content-Range": f"bytes {first}-{len(blob) - 1}/{len(blob)}"})
            return handler.answer(200, blob)
        return handler.answer(404, b"")

    def take(self, handler, repository, number, query):
        """A request of an upload: begun by POST, PATCH adds bytes, GET tells how many, PUT ends it."""
        if handler.command == "POST":
            handler.read_body()
            number = str(len(self.uploads) + 1)
            self.uploads[number] = b""
        elif self.uploads.get(number) is None:
            handler.read_body()
            return handler.answer(404, b'{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"no such upload"}]}')
        elif handler.command in ("PATCH", "PUT"):
            self.uploads[number] += handler.read_body()
        elif handler.command == "DELETE":
            self.uploads[number] = None
            return handler.answer(204)
        data = self.uploads[number]
        if handler.command == "PUT":
            if urllib.parse.parse_qs(query).get("digest") != [digest_of(data)]:
                return handler.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"not its digest"}]}')
            self.blobs[digest_of(data)] = data
            return handler.answer(201)
        return handler.answer(204 if handler.command == "GET" else 202, headers={
            "Location": f"/v2/{repository}/blobs/uploads/{number}", "Range": f"0-{max(len(data) - 1, 0)}"})

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class TokenServer(FaultyRegistry):
    """A realm for docker-registry: tokens signed with the key of a certificate, RS256."""

    def __init__(self, directory, user, password):
        super().__init__()
        self.key, self.certificate = make_certificate(directory, "token", "token")
        self.user, self.password = user, password
        self.refreshed = 0
        self.asked = []  # scopes

    def settings(self):
        return {"realm": f"http://{self.host}/token", "service": "test", "issuer": "issuer",
                "rootcertbundle": self.certificate}

    def serve(self, handler, path):
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(handler.path).query)
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0)).decode()
        if handler.command == "POST":
            query = urllib.parse.parse_qs(body)
            known = query.get("refresh_token") == ["refresh-me"]
            self.refreshed += known
            scopes = query.get("scope", [""])[0].split()
        else:
            expected = "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            known = handler.headers["Authorization"] == expected
            scopes = query.get("scope", [])
        self.asked += scopes
        if not known:
            return handler.answer(401, b'{"details":"incorrect username or password"}')
        answer = {"token": self.token(scopes), "expires_in": 300}
        if query.get("offline_token"):
            answer["refresh_token"] = "refresh-me"
        return handler.answer(200, json.dumps(answer).encode())

    def token(self, scopes):
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())
        certificate = subprocess.run(["openssl", "x509", "-in", self.certificate, "-outform", "DER"],
                                     capture_output=True, check=True).stdout
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(certificate).decode()]}
        claims = {"iss": "issuer", "sub": self.user, "aud": "test", "exp": now + 300, "nbf": now - 10, "iat": now,
                  "jti": str(now), "access": access}
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
        signed = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=b".".join(parts),
                                capture_output=True, check=True).stdout
        return b".".join([*parts, base64.urlsafe_b64encode(signed).rstrip(b"=")]).decode()


def make_certificate(directory, name, common_name, address=None, authority=None):
    """(key, certificate) files; signed by `authority` (such a pair), else self-signed."""
    key, certificate = (os.path.join(directory, f"{name}.{end}") for end in ("key", "crt"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", key, "-out",
               certificate, "-subj", f"/CN={common_name}"]
    if address:
        command += ["-addext", f"subjectAltName=IP:{address}", "-addext", "basicConstraints=critical,CA:FALSE"]
    if authority:
        command += ["-CA", authority[1], "-CAkey", authority[0]]
    subprocess.run(command, capture_output=True, check=True)
    return key, certificate
