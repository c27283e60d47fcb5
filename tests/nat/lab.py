"""The lab: a world with a relay in it, and homes behind routers of every kind.

Everything is of the kernel's: namespaces, wires, bridges, nftables. The addresses look public, for
programs treat those of documents as private; nothing leaves the namespaces.
"""

from __future__ import annotations

from typing import Final, Self

from tests.nat.namespaces import Namespace, check_machine
from tests.nat.routers import FIRST_PORT, PORTS_PER_HOST, SHIFT, Inner, Kind, rules

WORLD: Final = "11.0.0"
WORLD6: Final = "2600:cafe::"
PROVIDER: Final = "100.64.7"
"""Between a provider's router and its customers' (RFC 6598)."""
LAN: Final = "10.0.0"
_FAST: Final = (
    ("ipv6/conf/all/accept_dad", 0),
    ("ipv6/conf/default/accept_dad", 0),
    ("ipv6/conf/default/router_solicitations", 0),
)
"""No second of waiting for a neighbour who has the same address."""
_FORWARDS: Final = (
    ("ipv4/ip_forward", 1),
    ("ipv6/conf/all/forwarding", 1),
    # Else frames between two hosts of a LAN go through the rules that are meant for routed packets.
    ("bridge/bridge-nf-call-iptables", 0),
    ("bridge/bridge-nf-call-ip6tables", 0),
)


class Home:
    """A router of a kind and the hosts behind it, each a namespace in which devices run."""

    def __init__(
        self,
        world: World,
        number: int,
        kind: Kind,
        hosts: int = 1,
        *,
        hairpin: bool = False,
        isolated: bool = False,
    ) -> None:
        """`isolated`: the hosts do not see each other on the LAN, as in many a guest network."""
        self.kind, self.hairpin, self.number = kind, hairpin, number
        self._addresses = 0
        self.outer = f"{WORLD}.{number}"
        self.router = world.namespace(f"router{number}", *_FORWARDS)
        self.router.ip("link add lan type bridge", "link set lan up")
        self.inner: list[Inner] = []
        self.hosts: list[Namespace] = []
        if kind is Kind.DOUBLE:
            provider = world.namespace(f"provider{number}", *_FORWARDS)
            world.attach(provider, self.outer)
            wire(provider, "lan", self.router, "wan")
            provider.ip(f"addr add {PROVIDER}.1/24 dev lan")
            self.router.ip(
                f"addr add {PROVIDER}.2/24 dev wan", f"route add default via {PROVIDER}.1"
            )
            self.provider, self.middle = provider, f"{PROVIDER}.2"
        else:
            world.attach(self.router, self.outer, f"{WORLD6}{number}")
        if kind is Kind.IPV6_ONLY:
            self.router.ip(f"addr add {WORLD6}{number}:1/112 dev lan nodad")
            world.space.ip(f"route add {WORLD6}{number}:0/112 via {WORLD6}{number} dev world")
        else:
            self.router.ip(f"addr add {LAN}.1/24 dev lan")
        for _ in range(hosts):
            self.take_in(world.namespace(f"host{number}-{len(self.hosts)}"), isolated=isolated)

    def take_in(self, host: Namespace, *, isolated: bool = False) -> None:
        """Attaches a host to the LAN, with an address, a way out and its ports at the router."""
        place = len(self.hosts)
        port = f"port{place}"
        wire(self.router, port, host, "eth0")
        self.router.ip(f"link set {port} master lan")
        if isolated:
            self.router.ip(f"link set {port} type bridge_slave isolated on")
        self.hosts.append(host)
        self.inner.append(Inner("", FIRST_PORT + PORTS_PER_HOST * place))
        self.give_address(place, place + 2)

    def give_address(self, place: int, number: int) -> None:
        """Gives a host of this LAN an address in place of what it has."""
        host = self.hosts[place]
        host.ip("addr flush dev eth0 scope global")
        if self.kind is Kind.IPV6_ONLY:
            address, router = (f"{WORLD6}{self.number}:{end}" for end in (number, 1))
            host.ip(f"addr add {address}/112 dev eth0 nodad")
        else:
            address, router = f"{LAN}.{number}", f"{LAN}.1"
            host.ip(f"addr add {address}/24 dev eth0")
        host.ip(f"route replace default via {router}")
        outer_port = FIRST_PORT + SHIFT + PORTS_PER_HOST * self._addresses
        self._addresses += 1
        self.inner[place] = Inner(address, self.inner[place].first_port, outer_port)
        self.apply_rules()

    def apply_rules(self) -> None:
        """Makes the router what its kind says."""
        if self.kind is Kind.DOUBLE:
            self.router.nft(rules(Kind.PORT_RESTRICTED, self.middle, self.inner))
            beyond = Inner(
                self.middle,
                self.inner[0].first_outer_port,
                self.inner[0].first_outer_port + SHIFT,
            )
            self.provider.nft(rules(Kind.PORT_RESTRICTED, self.outer, [beyond]))
        else:
            self.router.nft(rules(self.kind, self.outer, self.inner, hairpin=self.hairpin))


def lose(router: Namespace, percent: int) -> None:
    """Drops so many of a hundred packets that a router forwards, at random; 0 drops none."""
    drop = f"numgen random mod 100 < {percent} drop" if percent else ""
    rules = f"""
        add table inet loss
        delete table inet loss
        table inet loss {{
            chain forward {{ type filter hook forward priority -10;
                {drop}
            }}
        }}
    """
    router.run("nft", "-f", "-", text=rules)


def silence(router: Namespace, address: str) -> None:
    """Drops what a router forwards to an address, and still lets in what comes from there; an empty
    one drops nothing.
    """
    drop = f"ip daddr {address} drop" if address else ""
    rules = f"""
        add table inet silence
        delete table inet silence
        table inet silence {{
            chain forward {{ type filter hook forward priority -10;
                {drop}
            }}
        }}
    """
    router.run("nft", "-f", "-", text=rules)


class World:
    """The public network: one bridge, a host for the relay with two addresses, and homes."""

    def __init__(self) -> None:
        check_machine()
        self._namespaces: list[Namespace] = []
        self._taken = 9
        self.space = self.namespace("world", *_FORWARDS)
        self.space.ip(
            "link add world type bridge", "link set world up",
            f"addr add {WORLD}.1/24 dev world", f"addr add {WORLD6}1/112 dev world nodad",
        )  # fmt: skip
        self.relay_host = self.namespace("relay")
        self.attach(self.relay_host, f"{WORLD}.2", f"{WORLD6}2")
        self.relay_host.ip(
            f"addr add {WORLD}.3/24 dev wan", f"addr add {WORLD6}3/112 dev wan nodad"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def namespace(self, name: str, *settings: tuple[str, object]) -> Namespace:
        """One more namespace that ends with the lab."""
        space = Namespace(name)
        self._namespaces.append(space)
        space.set(*_FAST, *settings)
        space.ip("link set lo up")
        return space

    def attach(self, space: Namespace, address: str, address6: str = "") -> None:
        """Wires a namespace to the world by an interface `wan`."""
        port = f"to-{address.rpartition('.')[2]}"
        wire(self.space, port, space, "wan")
        self.space.ip(f"link set {port} master world")
        space.ip(f"addr add {address}/24 dev wan")
        if address6:
            space.ip(
                f"addr add {address6}/112 dev wan nodad", f"route add default via {WORLD6}1 dev wan"
            )

    def home(
        self, kind: Kind, hosts: int = 1, *, hairpin: bool = False, isolated: bool = False
    ) -> Home:
        """A home of this kind at an address of its own."""
        self._taken += 1
        return Home(self, self._taken, kind, hosts, hairpin=hairpin, isolated=isolated)

    def close(self) -> None:
        """Lets go of every namespace."""
        for space in self._namespaces:
            space.close()


def wire(one: Namespace, one_end: str, other: Namespace, other_end: str) -> None:
    """A cable with its ends in two namespaces, both up."""
    one.ip(
        f"link add {one_end} type veth peer name {other_end} netns {other.path}",
        f"link set {one_end} up",
    )
    other.ip(f"link set {other_end} up")


def shape(space: Namespace, interface: str, megabits_s: int, latency: str = "50ms") -> None:
    """Bounds what goes out at an interface; this kernel has tbf and no netem."""
    space.run(
        "tc", "qdisc", "replace", "dev", interface, "root", "tbf",
        "rate", f"{megabits_s}mbit", "burst", "64kb", "latency", latency,
    )  # fmt: skip
