"""Bytes through `docker run -i IMAGE cat`: standard input to standard output, compared, through the stock client.

Every MiB begins with its number, so that a lost, repeated or exchanged piece is seen; the rest is one
random block, so that the comparison costs little beside the streams. The daemon's memory is the peak
(VmHWM) of the process that listens on the socket, reset before each run; dockerd's shims and
containerd are not counted.
"""

import os
import socket
import struct
import subprocess
import threading
import time

from bench.contenders import IMAGE

MIB = 1 << 20


def listener(path):
    """The pid of the daemon behind a unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        return struct.unpack("3i", credentials)[0]


def reset_peak(pid):
    with open(f"/proc/{pid}/clear_refs", "w", encoding="ascii") as control:
        control.write("5")


def peak_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError(f"no VmHWM of process {pid}")


def feed(pipe, source):
    try:
        for block in source:
            pipe.write(block)
        pipe.close()
    except OSError:  # the client ended: its exit code and the bytes that are missing say so
        pass


def stream_once(contender, mebibytes):
    """{seconds, mib_per_second, daemon_peak_bytes}. Raises if one byte differs."""
    pid = listener(contender.socket)
    data = os.urandom(MIB - 8)
    environment = dict(os.environ, DOCKER_HOST="unix://" + contender.socket)
    reset_peak(pid)
    began = time.monotonic()
    with subprocess.Popen(["docker", "run", "--rm", "-i", IMAGE, "cat"], env=environment, bufsize=0,
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        sent = (struct.pack(">Q", number) + data for number in range(mebibytes))
        feeder = threading.Thread(target=feed, args=(client.stdin, sent), daemon=True)
        feeder.start()
        for number in range(mebibytes):
            block = bytearray()
            while len(block) < MIB:
                piece = client.stdout.read(MIB - len(block))
                if not piece:
                    raise RuntimeError(f"{contender.name}: the output ends after {number} MiB")
                block += piece
            if block[:8] != struct.pack(">Q", number) or block[8:] != data:
                raise RuntimeError(f"{contender.name}: MiB {number} is not what was sent")
        if client.stdout.read(1):
            raise RuntimeError(f"{contender.name}: more came out than went in")
        feeder.join()
        code = client.wait()
    seconds = time.monotonic() - began
    if code != 0:
        raise RuntimeError(f"{contender.name}: exit code {code}")
    return {"seconds": seconds, "mib_per_second": mebibytes / seconds,
            "daemon_peak_bytes": peak_bytes(pid)}


def describe(rows):
    size = max(row["mebibytes"] for row in rows.values())
    lines = [f"{size} MiB through `docker run -i cat`, every byte compared"]
    for name, row in rows.items():
        rates = row["mib_per_second"]
        lines.append(f"  {name:14} {rates['p50']:8.2f} MiB/s ({rates['min']:.2f}-{rates['max']:.2f}, n {rates['n']}), "
                     f"daemon at most {row['daemon_peak_bytes'] / MIB:.1f} MiB")
    return "\n".join(lines)
