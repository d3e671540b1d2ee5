#!/usr/bin/python3
"""Networks and published ports with real guests: who reaches whom, from where, and what is left of it."""

import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TIMEOUT, TidyHostTest, docker, on_host, output  # noqa: E402
from harness.servers import SERVE, asks, body, eventually, host_asks, serve  # noqa: E402

NETWORK = "network-test-one"
OTHER = "network-test-two"
INNER = "network-test-inner"
PORT = 18080
ANSWER_DATAGRAMS = ('use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => "udp", LocalAddr => "0.0.0.0", '
                    'LocalPort => $ARGV[0]) or die $!; while ($s->recv(my $x, 100)) { $s->send("got $x") }')
ASK_DATAGRAM = ('use IO::Socket::INET; my $s = IO::Socket::INET->new(Proto => "udp", PeerAddr => $ARGV[0], '
                'PeerPort => $ARGV[1]) or die $!; alarm 20; my $x = ""; for (1 .. 10) { $s->send("hello"); '
                'my $r = ""; vec($r, fileno($s), 1) = 1; if (select($r, undef, undef, 1)) { $s->recv($x, 100); last if $x } } '
                'print $x')


def address(container, network):
    return output("inspect", "-f", f"{{{{(index .NetworkSettings.Networks \"{network}\").IPAddress}}}}", container)


def interfaces(container):
    return output("exec", container, "ls", "/sys/class/net").split()


def asked_from_here(port, host="127.0.0.1"):
    """What is served to whoever is outside of the emulated machine; on a native host, to the host."""
    with socket.create_connection((host, port), timeout=TIMEOUT) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        connection.settimeout(TIMEOUT)
        text = b""
        while piece := connection.recv(4096):
            text += piece
    return body(text.decode())


def answered_from_here(port, host="127.0.0.1"):
    """What answers a datagram of whoever is outside of the emulated machine; None: nothing does."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.connect((host, port))
        peer.settimeout(1)
        for _ in range(20):  # a datagram may be lost
            peer.send(b"hello")
            try:
                return peer.recv(100).decode()
            except TimeoutError:
                continue
    return None


class NetworkTest(TidyHostTest):
    def tearDown(self):
        super().tearDown()
        for name in (NETWORK, OTHER, INNER):
            docker("network", "rm", name, check=False)

    def test_members_of_a_network_reach_each_other_and_nobody_else(self):
        docker("network", "create", NETWORK)
        docker("network", "create", OTHER)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK)
        serve("three", "--network", OTHER)
        serve("four")

        self.assertEqual(asks("one", address("two", NETWORK)), "two")
        self.assertIsNone(asks("one", address("three", OTHER)))
        self.assertIsNone(asks("one", address("four", "bridge")))
        self.assertIsNone(asks("four", address("one", NETWORK)))
        self.assertEqual(sorted(entry["Name"] for entry in
                                json.loads(output("network", "inspect", NETWORK))[0]["Containers"].values()),
                         ["one", "two"])

    def test_a_container_has_a_card_for_each_of_its_networks(self):
        docker("network", "create", "--subnet", "10.77.0.0/24", NETWORK)
        docker("network", "create", OTHER)
        docker("create", "--name", "both", "--network", OTHER, "busybox", "sh", "-c", SERVE, "both")
        docker("network", "connect", "--ip", "10.77.0.9", NETWORK, "both")
        docker("start", "both")
        serve("one", "--network", NETWORK)
        serve("two", "--network", OTHER)

        self.assertEqual(address("both", NETWORK), "10.77.0.9")
        self.assertEqual(asks("one", "10.77.0.9"), "both")
        self.assertEqual(asks("two", address("both", OTHER)), "both")
        self.assertEqual(asks("both", address("one", NETWORK)), "one")
        self.assertEqual(interfaces("both"), ["eth0", "eth1", "lo"])
        self.assertEqual(output("exec", "both", "sh", "-c", "ip route | grep -c default"), "1")

    def test_a_running_container_is_connected_and_disconnected(self):
        docker("network", "create", NETWORK)
        docker("network", "create", OTHER)
        serve("one", "--network", NETWORK)
        serve("two", "--network", OTHER)
        both = serve("both", "--hostname", "both")
        route = ["exec", "both", "sh", "-c", "ip route | sed -n 's/^default.* dev //p'"]
        before = output("exec", "both", "cat", "/etc/resolv.conf")

        docker("network", "connect", "--alias", "alias", NETWORK, "both")
        self.assertEqual(interfaces("both"), ["eth0", "eth1", "lo"])
        self.assertEqual(output(*route).strip(), "eth0")
        self.assertEqual(asks("both", "one"), "one")
        self.assertEqual(asks("one", "alias"), "both")
        self.assertIn(f"{address('both', NETWORK)}\tboth", output("exec", "both", "cat", "/etc/hosts"))
        self.assertIn("nameserver 127.0.0.11", output("exec", "both", "cat", "/etc/resolv.conf"))
        self.assertIsNone(asks("both", address("two", OTHER)))

        docker("network", "disconnect", "bridge", "both")
        self.assertEqual(interfaces("both"), ["eth1", "lo"])
        self.assertEqual(output(*route).strip(), "eth1")
        docker("network", "connect", OTHER, "both")
        self.assertEqual(interfaces("both"), ["eth0", "eth1", "lo"])
        self.assertEqual(asks("both", "two"), "two")
        self.assertEqual(asks("two", "both"), "both")
        docker("network", "disconnect", NETWORK, "both")
        self.assertIsNone(asks("both", "one"))
        self.assertIsNone(asks("one", "alias"))

        docker("network", "disconnect", OTHER, "both")
        self.assertEqual(interfaces("both"), ["lo"])
        docker("network", "connect", "bridge", "both")
        self.assertEqual(output("exec", "both", "cat", "/etc/resolv.conf"), before)
        self.assertEqual(asks("both", "two"), None)
        docker("restart", "-t", "0", "both")
        self.assertEqual(interfaces("both"), ["eth0", "lo"])
        self.assertEqual(output("ps", "-q", "--no-trunc", "--filter", "name=both"), both)

    def test_links_are_names_of_one_container_alone(self):
        docker("network", "create", NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK, "--link", "one:first")
        serve("three", "--network", NETWORK)
        serve("db", "--expose", "80")
        serve("web", "--link", "db:data")

        self.assertEqual(asks("two", "first"), "one")
        self.assertIsNone(asks("three", "first"))
        self.assertEqual(asks("web", "data"), "db")
        self.assertIn(f"DATA_PORT_80_TCP_ADDR={address('db', 'bridge')}", output("exec", "web", "env").splitlines())
        self.assertEqual(output("inspect", "-f", "{{.HostConfig.Links}}", "web"), "[/db:/web/data]")
        docker("stop", "-t", "0", "db")
        serve("other")
        docker("start", "db")
        self.assertEqual(eventually(lambda: asks("web", "data"), "db"), "db")

    def test_published_ports_follow_the_network_that_leads_out(self):
        docker("network", "create", "--internal", INNER)
        docker("network", "create", NETWORK)
        serve("one", "--network", INNER, "-p", f"{PORT}:80")
        self.assertEqual(output("port", "one"), "")

        docker("network", "connect", NETWORK, "one")
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")
        docker("network", "connect", "bridge", "one")
        docker("network", "disconnect", NETWORK, "one")
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")
        docker("network", "disconnect", "bridge", "one")
        self.assertEqual(output("port", "one"), "")

    def test_a_daemon_that_was_killed_finds_the_networks_of_running_containers(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        docker("network", "create", NETWORK)
        docker("network", "create", OTHER)
        serve("one", "--network", NETWORK)
        serve("both")
        docker("network", "connect", NETWORK, "both")
        docker("network", "connect", OTHER, "both")
        docker("network", "disconnect", "bridge", "both")

        daemon.restart()

        self.assertEqual(interfaces("both"), ["eth1", "eth2", "lo"])
        self.assertEqual(eventually(lambda: asks("both", "one"), "one"), "one")
        docker("network", "disconnect", NETWORK, "both")
        self.assertIsNone(asks("both", address("one", NETWORK)))
        docker("network", "connect", "bridge", "both")
        self.assertEqual(interfaces("both"), ["eth0", "eth2", "lo"])
        docker("rm", "-f", "one", "both")
        docker("network", "rm", NETWORK, OTHER)

    def test_rounds_of_connecting_leave_a_machine_as_it_was(self):
        docker("network", "create", NETWORK)
        serve("one")
        serve("two", "--network", NETWORK)
        for _ in range(int(os.environ.get("NETWORK_ROUNDS", "5"))):
            docker("network", "connect", NETWORK, "one")
            docker("network", "disconnect", NETWORK, "one")
        docker("network", "connect", NETWORK, "one")

        self.assertEqual(interfaces("one"), ["eth0", "eth1", "lo"])
        self.assertEqual(asks("one", "two"), "two")

    def test_containers_find_each_other_by_name(self):
        docker("network", "create", NETWORK)
        docker("network", "create", OTHER)
        one = serve("one", "--network", NETWORK, "--network-alias", "first", "--hostname", "host-one")
        serve("two", "--network", NETWORK, "--network-alias", "both")
        serve("three", "--network", NETWORK, "--network-alias", "both")
        serve("four", "--network", OTHER)
        resolv = output("exec", "one", "cat", "/etc/resolv.conf")

        self.assertIn("nameserver 127.0.0.11", resolv)
        for name in ("one", "first", one[:12], "host-one", "ONE", f"one.{NETWORK}"):
            self.assertEqual(asks("two", name), "one", name)
        self.assertIn(asks("one", "both"), ("two", "three"))
        self.assertIsNone(asks("one", "four"))
        self.assertIsNone(asks("four", "one"))
        reverse = output("exec", "two", "nslookup", address("one", NETWORK))
        self.assertIn(f"one.{NETWORK}", reverse)
        both = output("exec", "one", "nslookup", "both")
        for name in ("two", "three"):
            self.assertIn(address(name, NETWORK), both)
        docker("rename", "two", "renamed")
        self.assertEqual(asks("one", "renamed"), "two")
        docker("stop", "-t", "0", "three")
        self.assertIsNone(asks("one", "three"))
        self.assertNotEqual(docker("exec", "one", "nslookup", "nobody.invalid", check=False).returncode, 0)

    def test_a_container_may_have_a_name_server_of_its_own(self):
        docker("network", "create", NETWORK)
        serve("one", "--network", NETWORK)
        docker("run", "-d", "--name", "two", "--network", NETWORK, "debian:12", "perl", "-e", ANSWER_DATAGRAMS, "53")

        self.assertIn(address("one", NETWORK), output("exec", "two", "getent", "ahostsv4", "one"))
        two = address("two", NETWORK)
        self.assertEqual(output("run", "--rm", "--network", NETWORK, "debian:12", "perl", "-e", ASK_DATAGRAM, two, "53"),
                         "got hello")
        self.assertEqual(output("inspect", "-f", "{{.State.Running}}", "two"), "true")

    def test_a_flood_of_questions_stops_nobody_else(self):
        docker("network", "create", NETWORK)
        serve("one", "--network", NETWORK)
        flood = ("i=0; while :; do i=$((i+1)); for j in 1 2 3 4 5 6 7 8; do "
                 "nslookup n$i$j.invalid >/dev/null 2>&1 & done; wait; done")
        docker("run", "-d", "--name", "two", "--network", NETWORK, "busybox", "sh", "-c", flood)
        serve("three", "--network", NETWORK)

        self.assertEqual(asks("three", "one"), "one")
        docker("rm", "-f", "two")

    def test_an_internal_network_leads_nowhere(self):
        docker("network", "create", "--internal", INNER)
        serve("one", "--network", INNER)
        serve("two", "--network", INNER)
        serve("open", "-p", f"{PORT}:80")

        self.assertEqual(asks("one", address("two", INNER)), "two")
        self.assertEqual(output("exec", "one", "sh", "-c", "ip route | grep -c default || true"), "0")
        gateway = json.loads(output("network", "inspect", INNER))[0]["IPAM"]["Config"][0]["Gateway"]
        docker("exec", "one", "ping", "-c", "1", "-W", "5", gateway)
        self.assertIsNone(asks("one", address("open", "bridge")))

    def test_members_of_a_network_without_icc_do_not_reach_each_other(self):
        docker("network", "create", "-o", "com.docker.network.bridge.enable_icc=false", NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK, "-p", f"{PORT}:80")
        gateway = json.loads(output("network", "inspect", NETWORK))[0]["IPAM"]["Config"][0]["Gateway"]

        self.assertIsNone(asks("one", address("two", NETWORK)))
        self.assertEqual(asks("one", gateway, PORT), "two")

    def test_a_published_port_is_reached_from_everywhere(self):
        docker("network", "create", NETWORK)
        serve("one", "--network", NETWORK, "-p", f"{PORT}:80")
        serve("two", "--network", NETWORK)
        serve("three")
        gateway = json.loads(output("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]

        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")
        self.assertEqual(host_asks("127.0.0.1", PORT), "one")
        self.assertEqual(host_asks(gateway, PORT), "one")
        for container in ("one", "two", "three"):
            self.assertEqual(asks(container, gateway, PORT), "one", container)
        self.assertEqual(output("port", "one"), f"80/tcp -> 0.0.0.0:{PORT}")

    def test_a_port_of_the_loopback_is_reached_from_the_host_only(self):
        serve("one", "-p", f"127.0.0.1:{PORT}:80")
        serve("two")
        gateway = json.loads(output("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]

        self.assertEqual(host_asks("127.0.0.1", PORT), "one")
        self.assertIsNone(asks("two", gateway, PORT))
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")

    def test_datagrams_reach_a_published_port(self):
        output("run", "-d", "--name", "one", "-p", f"{PORT}:53/udp", "debian:12", "perl", "-e", ANSWER_DATAGRAMS, "53")
        ask = f"perl -e '{ASK_DATAGRAM}' 127.0.0.1 {PORT}"

        self.assertEqual(eventually(lambda: on_host("sh", "-c", ask).strip(), "got hello"), "got hello")
        self.assertEqual(eventually(lambda: answered_from_here(PORT), "got hello"), "got hello")

    def test_ports_are_given_back_at_the_end_and_had_again_at_the_start(self):
        serve("one", "-p", f"{PORT}:80")
        refused = docker("run", "--rm", "-p", f"{PORT}:80", "busybox", "true", check=False)
        docker("stop", "-t", "0", "one")
        second = serve("two", "-p", f"{PORT}:80")
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "two"), "two")
        docker("rm", "-f", second)
        docker("start", "one")

        self.assertEqual(refused.returncode, 125)
        self.assertIn(f"Bind for 0.0.0.0:{PORT} failed: port is already allocated", refused.stderr.decode())
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")

    def test_every_exposed_port_is_published_at_some_port(self):
        serve("one", "-P", "--expose", "80", "--expose", "81/udp")
        port = int(output("port", "one", "80/tcp").rpartition(":")[2])

        self.assertEqual(eventually(lambda: asked_from_here(port), "one"), "one")
        self.assertIn("81/udp -> 0.0.0.0:", output("port", "one"))

    def test_services_of_the_host_are_for_containers_that_name_it(self):
        serve("one")
        serve("two", "--add-host", "host.docker.internal:host-gateway")
        gateway = json.loads(output("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
        pid = on_host("sh", "-c", f"mkdir -p /tmp/network-test && echo -n host > /tmp/network-test/index.html && "
                      f"(busybox httpd -f -p {PORT} -h /tmp/network-test >/dev/null 2>&1 & echo $!)").strip()
        try:
            self.assertEqual(eventually(lambda: host_asks("127.0.0.1", PORT), "host"), "host")
            self.assertIsNone(asks("one", gateway, PORT))
            self.assertEqual(asks("two", "host.docker.internal", PORT), "host")
        finally:
            on_host("sh", "-c", f"kill {pid}; rm -r /tmp/network-test")

    def test_a_daemon_that_was_killed_finds_networks_and_ports_again(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        network = output("network", "create", "--label", "a=b", NETWORK)
        docker("network", "create", OTHER)
        serve("one", "--network", NETWORK, "-p", f"{PORT}:80")
        serve("two", "--network", OTHER)
        before = json.loads(output("network", "inspect", NETWORK))[0]

        daemon.restart()

        self.assertEqual(json.loads(output("network", "inspect", NETWORK))[0], before)
        self.assertEqual(before["Id"], network)
        self.assertEqual(eventually(lambda: asked_from_here(PORT), "one"), "one")
        self.assertIsNone(asks("two", address("one", NETWORK)))
        serve("three", "--network", NETWORK)
        self.assertEqual(eventually(lambda: asks("three", "one"), "one"), "one")
        self.assertEqual(eventually(lambda: asks("one", "three"), "three"), "three")
        self.assertNotEqual(address("three", NETWORK), address("one", NETWORK))
        docker("rm", "-f", "one", "two", "three")
        docker("network", "rm", NETWORK, OTHER)

    def test_a_network_in_use_is_not_removed(self):
        docker("network", "create", NETWORK)
        serve("one", "--network", NETWORK)
        refused = docker("network", "rm", NETWORK, check=False)
        docker("rm", "-f", "one")

        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("has active endpoints", refused.stderr.decode())
        docker("network", "rm", NETWORK)

    def test_rounds_of_making_and_removing_leave_nothing(self):
        for _ in range(int(os.environ.get("NETWORK_ROUNDS", "5"))):
            docker("network", "create", NETWORK)
            docker("run", "--rm", "--network", NETWORK, "-p", f"{PORT}:80", "-p", f"{PORT}:80/udp", "busybox", "true")
            docker("network", "rm", NETWORK)

        self.assertEqual(on_host("sh", "-c", "ip -o link | grep -c ' br-' || true").strip(), "0")


if __name__ == "__main__":
    unittest.main()
