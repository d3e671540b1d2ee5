"""Builds through the raw API, as clients without BuildKit ask for them."""

import io
import json
import tarfile

from harness.docker_api import ApiError
from harness.host import api


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


def begin(text, files=None, /, **query):
    """(connection, response) of a build that goes on."""
    body = context({"Dockerfile": text, **(files or {})})
    connection = api().connect()
    return connection, api().send(connection, "POST", "/build", body=body, query=query, headers={"Content-Type": "application/x-tar"})


def build(text, files=None, /, **query):
    """The objects that the build answers with."""
    connection, response = begin(text, files, **query)
    answer = response.read().decode()
    connection.close()
    if response.status != 200:
        raise ApiError(response.status, json.loads(answer)["message"])
    return said(answer)


def stream(objects):
    return "".join(item.get("stream", "") for item in objects)


def made(objects):
    """The ID of the image; an AssertionError if there is none."""
    if "error" in objects[-1]:
        raise AssertionError(objects[-1])
    return [item["aux"]["ID"] for item in objects if "aux" in item][-1]
