#!/usr/bin/python3
"""Networks with IPv6, with real guests: who reaches whom, by which names, and what stays after a restart."""

import json
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from harness.daemon import Daemon  # noqa: E402
from harness.host import TidyHostTest, docker, on_host, output  # noqa: E402
from harness.servers import SERVE, asks, eventually, host_asks, serve  # noqa: E402

NETWORK = "network6-test-one"
OTHER = "network6-test-two"
INNER = "network6-test-inner"
SUBNET = "fd00:77:1::/64"
PORT = 18086


def place(container, network):
    return json.loads(output("inspect", container))[0]["NetworkSettings"]["Networks"][network]


def address(container, network):
    return place(container, network)["GlobalIPv6Address"]


def shown(network):
    return json.loads(output("network", "inspect", network))[0]


def subnets(network):
    """Of IPv6: what is said of each."""
    return [config for config in shown(network)["IPAM"]["Config"] if ":" in config["Subnet"]]


def pings(container, host):
    return docker("exec", container, "ping", "-6", "-c", "1", "-W", "5", host, check=False).returncode == 0


def addresses_on(container, card):
    """What a card has of IPv6, as the kernel writes it."""
    lines = output("exec", container, "cat", "/proc/net/if_inet6").splitlines()
    return [line.split()[0] for line in lines if line.split()[-1] == card]


def default_routes(container):
    return output("exec", container, "sh", "-c", "ip -6 route | grep '^default' || true").splitlines()


class Network6Test(TidyHostTest):
    @classmethod
    def setUpClass(cls):
        # From the first network with IPv6 on, and until it ends, the daemon keeps the host's forwarding of it from
        # the host's other interfaces: that is no network's, and stays.
        docker("network", "create", "--ipv6", NETWORK)
        docker("network", "rm", NETWORK)
        super().setUpClass()

    def tearDown(self):
        super().tearDown()
        for name in (NETWORK, OTHER, INNER):
            docker("network", "rm", name, check=False)

    def test_members_reach_each_other_by_address_and_by_name(self):
        docker("network", "create", "--ipv6", NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK, "--network-alias", "second")
        one, two = address("one", NETWORK), address("two", NETWORK)

        self.assertNotEqual(one, two)
        self.assertTrue(pings("one", two))
        self.assertEqual(asks("one", two), "two")
        self.assertEqual(asks("two", one), "one")
        for name in ("two", "second", f"two.{NETWORK}"):
            self.assertTrue(pings("one", name), name)
        names = "getent ahostsv6 second && getent hosts " + two
        found = output("run", "--rm", "--network", NETWORK, "debian:12", "sh", "-c", names)
        self.assertIn(two, found)
        self.assertIn(f"two.{NETWORK}", found)

    def test_what_there_is_of_ipv6_is_shown(self):
        docker("network", "create", "--ipv6", NETWORK)
        docker("network", "create", OTHER)
        serve("one", "--network", NETWORK)
        serve("two", "--network", OTHER)
        network, one = shown(NETWORK), place("one", NETWORK)
        (subnet,) = subnets(NETWORK)

        self.assertTrue(network["EnableIPv6"])
        self.assertTrue(subnet["Subnet"].startswith("fd"), subnet)
        self.assertTrue(subnet["Subnet"].endswith("/64"), subnet)
        self.assertEqual(one["GlobalIPv6PrefixLen"], 64)
        self.assertEqual(one["IPv6Gateway"], subnet["Gateway"])
        (member,) = network["Containers"].values()
        self.assertEqual(member["IPv6Address"], one["GlobalIPv6Address"] + "/64")
        self.assertIn(one["GlobalIPv6Address"] + "\t", output("exec", "one", "cat", "/etc/hosts"))
        self.assertFalse(shown(OTHER)["EnableIPv6"])
        self.assertEqual(subnets(OTHER), [])
        self.assertEqual(address("two", OTHER), "")

    def test_the_default_route_leads_to_the_gateway_which_may_be_pinged(self):
        docker("network", "create", "--ipv6", NETWORK)
        docker("network", "create", "--ipv6", "--internal", INNER)
        serve("one", "--network", NETWORK)
        serve("two", "--network", INNER)
        serve("three", "--network", INNER)
        (gateway,) = (subnet["Gateway"] for subnet in subnets(NETWORK))
        (inner,) = (subnet["Gateway"] for subnet in subnets(INNER))

        (route,) = default_routes("one")
        self.assertIn(f"via {gateway} dev eth0", route)
        self.assertTrue(pings("one", gateway))
        self.assertEqual(default_routes("two"), [])
        self.assertTrue(pings("two", inner))
        self.assertEqual(asks("two", address("three", INNER)), "three")

    def test_networks_do_not_reach_each_other(self):
        docker("network", "create", "--ipv6", NETWORK)
        docker("network", "create", "--ipv6", OTHER)
        serve("one", "--network", NETWORK)
        serve("two", "--network", OTHER)

        for container, host in (("one", address("two", OTHER)), ("two", address("one", NETWORK))):
            self.assertFalse(pings(container, host))
            self.assertIsNone(asks(container, host))

    def test_members_of_a_network_without_icc_do_not_reach_each_other(self):
        docker("network", "create", "--ipv6", "-o", "com.docker.network.bridge.enable_icc=false", NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK)

        self.assertFalse(pings("one", address("two", NETWORK)))
        self.assertIsNone(asks("one", address("two", NETWORK)))

    def test_cards_of_networks_without_ipv6_have_none(self):
        docker("network", "create", "--ipv6", NETWORK)
        docker("create", "--name", "both", "--network", "bridge", "busybox", "sh", "-c", SERVE, "both")
        docker("network", "connect", NETWORK, "both")
        docker("start", "both")
        cards = {"eth0", "eth1"}

        having = {card for card in cards if addresses_on("both", card)}
        self.assertEqual(len(having), 1, having)
        (without,) = cards - having
        off = output("exec", "both", "cat", f"/proc/sys/net/ipv6/conf/{without}/disable_ipv6")
        self.assertEqual(off.strip(), "1")
        self.assertTrue(addresses_on("both", "lo"))

    def test_an_address_that_is_asked_for_is_had_again_after_a_restart(self):
        docker("network", "create", "--ipv6", "--subnet", SUBNET, NETWORK)
        serve("one", "--network", NETWORK, "--ip6", "fd00:77:1::99")
        serve("two", "--network", NETWORK)

        self.assertEqual(address("one", NETWORK), "fd00:77:1::99")
        self.assertEqual(asks("two", "fd00:77:1::99"), "one")
        docker("restart", "-t", "0", "one")
        self.assertEqual(address("one", NETWORK), "fd00:77:1::99")
        self.assertEqual(eventually(lambda: asks("two", "fd00:77:1::99"), "one"), "one")
        taken = docker("run", "--rm", "--network", NETWORK, "--ip6", "fd00:77:1::99", "busybox", "true", check=False)
        self.assertNotEqual(taken.returncode, 0)
        self.assertIn("Address already in use", taken.stderr.decode())

    def test_addresses_are_of_subnets_that_were_asked_for(self):
        docker("network", "create", "--ipv6", NETWORK)
        docker("network", "create", "--ipv6", "--subnet", SUBNET, OTHER)
        for network, text in ((NETWORK, "user configured subnets"), (OTHER, "no configured subnet")):
            refused = docker("run", "--rm", "--network", network, "--ip6", "fd00:77:2::99", "busybox", "true",
                             check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn(text, refused.stderr.decode())

    def test_a_running_container_is_connected_and_disconnected(self):
        docker("network", "create", "--ipv6", "--subnet", SUBNET, NETWORK)
        serve("one", "--network", NETWORK)
        serve("both", "--hostname", "both")
        self.assertEqual(addresses_on("both", "eth0"), [])

        docker("network", "connect", "--ip6", "fd00:77:1::42", NETWORK, "both")
        self.assertIn("fd000077000100000000000000000042", addresses_on("both", "eth1"))
        self.assertIn("fd00:77:1::42\tboth", output("exec", "both", "cat", "/etc/hosts"))
        self.assertEqual(asks("both", address("one", NETWORK)), "one")
        self.assertEqual(asks("one", "fd00:77:1::42"), "both")
        # The default network has the lead, and no IPv6.
        self.assertEqual(default_routes("both"), [])

        docker("network", "disconnect", "bridge", "both")
        (route,) = default_routes("both")
        self.assertIn("via fd00:77:1::1 dev eth1", route)
        docker("network", "disconnect", NETWORK, "both")
        self.assertNotIn("fd00:77:1::42", output("exec", "both", "cat", "/etc/hosts"))
        self.assertFalse(pings("one", "fd00:77:1::42"))

    def test_services_of_the_host_are_for_containers_that_name_it(self):
        docker("network", "create", "--ipv6", "--subnet", SUBNET, NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK, "--add-host", "host.docker.internal:host-gateway")
        pid = on_host("sh", "-c", f"mkdir -p /tmp/network6-test && echo -n host > /tmp/network6-test/index.html && "
                      f"(busybox httpd -f -p {PORT} -h /tmp/network6-test >/dev/null 2>&1 & echo $!)").strip()
        try:
            self.assertEqual(eventually(lambda: host_asks("127.0.0.1", PORT), "host"), "host")
            self.assertIsNone(asks("one", "fd00:77:1::1", PORT))
            self.assertEqual(asks("two", "fd00:77:1::1", PORT), "host")
        finally:
            on_host("sh", "-c", f"kill {pid}; rm -r /tmp/network6-test")

    def test_a_daemon_that_was_killed_finds_networks_and_addresses_again(self):
        daemon = Daemon()
        self.addCleanup(daemon.revive)
        docker("network", "create", "--ipv6", NETWORK)
        serve("one", "--network", NETWORK)
        serve("two", "--network", NETWORK)
        before, one = shown(NETWORK), address("one", NETWORK)

        daemon.restart()

        self.assertEqual(shown(NETWORK), before)
        self.assertEqual(address("one", NETWORK), one)
        self.assertEqual(eventually(lambda: asks("two", one), "one"), "one")
        serve("three", "--network", NETWORK)
        three = address("three", NETWORK)
        self.assertNotIn(three, (one, address("two", NETWORK)))
        self.assertEqual(eventually(lambda: asks("three", one), "one"), "one")
        self.assertTrue(pings("one", "three"))

    def test_rounds_of_making_and_removing_leave_nothing(self):
        for _ in range(int(os.environ.get("NETWORK_ROUNDS", "3"))):
            docker("network", "create", "--ipv6", NETWORK)
            docker("run", "--rm", "--network", NETWORK, "busybox", "true")
            docker("network", "rm", NETWORK)

        self.assertEqual(on_host("sh", "-c", "ip -o link | grep -c ' br-' || true").strip(), "0")
        # The table stays for the next network with IPv6, without anything of the ones that are gone.
        tables = on_host("sh", "-c", "/usr/sbin/nft list tables ip6 | grep -o 'containervm_.*'").split()
        for table in tables:
            for found in ("hidden", "host_users"):
                self.assertNotIn("elements", on_host("/usr/sbin/nft", "list", "set", "ip6", table, found), found)


if __name__ == "__main__":
    unittest.main()
