#!/usr/bin/python3
"""What a real guest may send to the host. Every kind of frame, on taps without a guest, is in
api/privileged/packet_rules_test.cc."""

import os
import pathlib
import shlex
import socket
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.archives import tar_of  # noqa: E402
from harness.host import HostTest, TIMEOUT, api, docker, output  # noqa: E402

SENDER = pathlib.Path(__file__).resolve().parents[2] / "build" / "release" / "tests" / "send_frames"
PORT = 9999
END = "the end"

LISTENER = f"""
import socket
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", {PORT}))
udp.settimeout({TIMEOUT})
print("listening", flush=True)
while True:
    text = udp.recv(100).decode()
    print(text, flush=True)
    if text == "{END}":
        break
"""


def mac_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def datagram(source, target, text):
    payload = struct.pack("!4H", 4444, PORT, 8 + len(text), 0) + text.encode()
    header = struct.pack("!2B3H2BH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0)
    header += socket.inet_aton(source) + socket.inet_aton(target)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xffff) + (total >> 16)
    total = (total & 0xffff) + (total >> 16)
    return header[:10] + struct.pack("!H", ~total & 0xffff) + header[12:] + payload


class SpoofedFramesTest(HostTest):
    def test_only_frames_of_the_machines_own_reach_a_socket_of_the_host(self):
        container = output("run", "-d", "--add-host", "host:host-gateway", "busybox", "sleep", "1000")
        self.addCleanup(docker, "rm", "-f", container)
        network = api().get(f"/containers/{container}/json")["NetworkSettings"]
        own, mac, gateway = network["IPAddress"], network["MacAddress"], network["Gateway"]
        gateway_mac = "02:42:" + ":".join(f"{int(byte):02x}" for byte in gateway.split("."))

        def frame(text, target_mac=gateway_mac, source_mac=mac, source=own, target=gateway):
            return (mac_bytes(target_mac) + mac_bytes(source_mac) + b"\x08\0" +
                    datagram(source, target, text)).hex()

        frames = [frame("its own")]
        for last in range(16):
            group = f"01:80:c2:00:00:{last:02x}"
            frames += [frame(f"own address to {group}", group),
                       frame(f"foreign address to {group}", group, source="8.8.8.8")]
        frames += [frame("foreign address", source="8.8.8.8"),
                   frame("foreign MAC", source_mac="02:42:de:ad:be:ef"),
                   frame("to the metadata service", target="169.254.169.254"),
                   frame(END)]
        docker("cp", "-", f"{container}:/", stdin=tar_of({"send_frames": SENDER.read_bytes()}))
        docker("exec", container, "chmod", "755", "/send_frames")

        prefix = shlex.split(os.environ.get("CONTAINERVM_ON_HOST", ""))
        with subprocess.Popen([*prefix, "python3", "-c", LISTENER], stdout=subprocess.PIPE, text=True) as listener:
            self.addCleanup(listener.kill)
            self.assertEqual(listener.stdout.readline(), "listening\n")
            docker("exec", container, "/send_frames", "eth0", *frames)
            arrived = listener.stdout.read().splitlines()

        self.assertEqual(arrived, ["its own", END])


if __name__ == "__main__":
    unittest.main()
