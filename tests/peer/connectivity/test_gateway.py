"""The way to the internet is read from the system's own table."""

from __future__ import annotations

import socket

import pytest

from peer.connectivity.gateway import Gateway, find_gateway, own_host_towards, read_routes
from tests.nat.lab import World
from tests.nat.routers import Kind

HEAD = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"


def route(gateway: str, *, to: str = "0.0.0.0", flags: int = 3, metric: int = 0) -> str:
    def word(host: str) -> str:
        return socket.inet_aton(host)[::-1].hex().upper()  # as a little-endian machine prints it

    mask = "00000000" if to == "0.0.0.0" else "00FFFFFF"
    return f"eth0\t{word(to)}\t{word(gateway)}\t{flags:04X}\t0\t0\t{metric}\t{mask}\t0\t0\t0"


def test_the_default_route_of_the_lowest_metric_counts() -> None:
    lines = [
        HEAD,
        route("0.0.0.0", to="10.0.0.0", flags=1),
        route("10.0.0.1", metric=600),
        route("192.168.1.1", metric=100),
        route("10.0.0.9", metric=50, flags=2),
    ]
    assert read_routes(lines) == "192.168.1.1"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [HEAD],
        [route("0.0.0.0", flags=1)],
        ["eth0 x"],
        ["eth0\t00000000\tXYZ\t0003\t0\t0\t0\t00000000\t0\t0\t0"],
    ],
)
def test_without_one_there_is_no_router(lines: list[str]) -> None:
    assert read_routes(lines) is None


def test_a_host_of_the_lab_finds_its_router() -> None:
    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED)
        assert home.hosts[0].call(find_gateway) == Gateway("10.0.0.1", "10.0.0.2")
        assert home.hosts[0].call(lambda: own_host_towards("11.0.0.2")) == "10.0.0.2"
        home.hosts[0].ip("route del default")
        assert home.hosts[0].call(lambda: own_host_towards("11.0.0.2")) is None
        assert home.hosts[0].call(find_gateway) is None
