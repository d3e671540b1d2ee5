"""Containers that serve their names, and who is served what."""

import time

from harness.host import docker, on_host, output

# It serves the name it was started with, at port 80.
SERVE = "mkdir -p /www && echo -n $0 > /www/index.html && exec httpd -f -p 80 -h /www"


def serve(name, *options):
    """A container that serves its name; its ID."""
    return output("run", "-d", "--name", name, *options, "busybox", "sh", "-c", SERVE, name)


# Debian's busybox-static has a wget that crashes.
ASK = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {} {} 2>/dev/null || true"


def body(answer):
    """What is served; None: nothing."""
    return answer.replace("\r", "").partition("\n\n")[2] or None


def asks(container, host, port=80):
    """What `container` is served there."""
    return body(docker("exec", container, "sh", "-c", ASK.format(host, port), check=False).stdout.decode())


def host_asks(host, port):
    """What the host of the machines itself is served."""
    return body(on_host("busybox", "sh", "-c", ASK.format(host, port)))


def eventually(question, wanted):
    """Asks until the answer is `wanted`, or the time is over; the last answer."""
    deadline = time.monotonic() + 30
    while True:
        try:
            answer = question()
        except OSError as error:
            answer = error
        if answer == wanted or time.monotonic() > deadline:
            return answer
        time.sleep(0.2)
