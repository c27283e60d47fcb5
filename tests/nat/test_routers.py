"""The lab's routers are what they are called: else the matrix would be about something else."""

from __future__ import annotations

import socket

import pytest

from tests.nat.lab import Home, World
from tests.nat.probe import NONE, Behaviour, behaviour
from tests.nat.routers import FIRST_PORT, SHIFT, Kind

EI, AD, APD = "endpoint-independent", "address-dependent", "address and port-dependent"
EXPECTED = {
    Kind.FULL_CONE: Behaviour(EI, EI),
    Kind.ADDRESS_RESTRICTED: Behaviour(EI, AD),
    Kind.PORT_RESTRICTED: Behaviour(EI, APD),
    Kind.SYMMETRIC: Behaviour(APD, APD),
    Kind.DOUBLE: Behaviour(EI, APD),
    Kind.UDP_BLOCKED: NONE,
    Kind.IPV6_ONLY: Behaviour(EI, APD),
}


@pytest.mark.parametrize("kind", Kind)
def test_a_router_is_of_its_kind(kind: Kind) -> None:
    with World() as world:
        home = world.home(kind)
        found = behaviour(
            world.relay_host, home.hosts[0], FIRST_PORT, is_ipv6=kind is Kind.IPV6_ONLY
        )
        assert found == EXPECTED[kind]


def test_a_port_is_another_one_outside() -> None:
    with World() as world:
        home = world.home(Kind.FULL_CONE)
        server = world.relay_host.call(lambda: bound("11.0.0.2", 7000))
        own = home.hosts[0].call(lambda: bound("0.0.0.0", FIRST_PORT))
        with server, own:
            own.sendto(b"hello", ("11.0.0.2", 7000))
            assert server.recvfrom(100)[1] == (home.outer, FIRST_PORT + SHIFT)


@pytest.mark.parametrize("hairpin", [True, False])
def test_two_behind_one_router_meet_at_its_outside_only_with_hairpinning(hairpin: bool) -> None:
    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED, 2, hairpin=hairpin, isolated=True)
        one, other = (bound_in(home, place) for place in (0, 1))
        with one, other:
            one.sendto(b"direct", (home.inner[1].address, home.inner[1].first_port))
            one.sendto(b"hairpin", (home.outer, home.inner[1].first_port + SHIFT))
            if hairpin:
                assert other.recvfrom(100) == (
                    b"hairpin", (home.outer, home.inner[0].first_port + SHIFT)
                )  # fmt: skip
            else:
                with pytest.raises(TimeoutError):
                    other.recvfrom(100)


def bound_in(home: Home, place: int) -> socket.socket:
    return home.hosts[place].call(lambda: bound("0.0.0.0", home.inner[place].first_port))


def bound(host: str, port: int) -> socket.socket:
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.settimeout(0.3)
    udp.bind((host, port))
    return udp
