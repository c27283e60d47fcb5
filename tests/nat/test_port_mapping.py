"""Debian's miniupnpd opens a port for a device, in each of the three ways, and it leads there."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peer.connectivity.port_mapping import PortMapping
from protocol.candidates import Candidate
from tests.end_to_end.device import wait_until
from tests.nat.lab import Home, World
from tests.nat.miniupnpd import Miniupnpd
from tests.nat.routers import FIRST_PORT, Kind

WAYS = ("PCP", "NAT-PMP", "UPnP")


class Mapping:
    """A port mapping at work on a host of the lab, in a loop of its own."""

    def __init__(self, home: Home, way: str) -> None:
        self.told: list[list[Candidate]] = []
        self._is_over = threading.Event()
        self._way = way
        self._thread = threading.Thread(target=lambda: home.hosts[0].call(self._run))
        self._thread.start()

    def _run(self) -> None:
        asyncio.run(self._work())

    async def _work(self) -> None:
        mapping = PortMapping(
            FIRST_PORT, lambda: self.told.append(list(mapping.candidates())), ways=[self._way]
        )
        self._loop, self._mapping = asyncio.get_running_loop(), mapping
        task = asyncio.ensure_future(mapping.run())
        await asyncio.to_thread(self._is_over.wait)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await mapping.close()

    def network_changed(self) -> None:
        self._loop.call_soon_threadsafe(self._mapping.network_changed)

    def next(self, count: int) -> Candidate:
        wait_until(lambda: len(self.told) >= count, lambda: self._mapping.problem)
        return self.told[count - 1][0]

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()


Scene = tuple[World, Home, Miniupnpd, Mapping]


@pytest.fixture(params=WAYS)
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scene]:
    way: str = request.param
    with World() as world, contextlib.ExitStack() as stack:
        home = world.home(Kind.SYMMETRIC)
        router = Miniupnpd(home, tmp_path / "router", by="UPnP" if way == "UPnP" else "PCP")
        router.start()
        stack.callback(router.stop)
        mapping = Mapping(home, way)
        stack.callback(mapping.close)
        yield world, home, router, mapping


def arrives(world: World, home: Home, candidate: Candidate) -> bool:
    """Whether what a stranger in the world sends to the address reaches the host."""

    def bound(host: str, port: int) -> Callable[[], socket.socket]:
        def make() -> socket.socket:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            udp.settimeout(1)
            udp.bind((host, port))
            return udp

        return make

    own = home.hosts[0].call(bound("0.0.0.0", FIRST_PORT))
    stranger = world.relay_host.call(bound("0.0.0.0", 0))
    with own, stranger, contextlib.suppress(TimeoutError):
        stranger.sendto(b"knock", (candidate.host, candidate.port))
        return own.recv(100) == b"knock"
    return False


def test_a_port_is_opened_leads_here_and_is_closed_at_the_end(scene: Scene) -> None:
    world, home, router, mapping = scene
    candidate = mapping.next(1)
    assert candidate.host == home.outer
    assert arrives(world, home, candidate)
    mapping.close()
    assert "dnat" not in router.open_ports()
    assert not arrives(world, home, candidate)


def test_after_the_router_has_lost_its_power_the_port_is_opened_again(scene: Scene) -> None:
    world, home, router, mapping = scene
    candidate = mapping.next(1)
    router.forget()
    assert not arrives(world, home, candidate)
    router.start()
    if mapping._way == "UPnP":
        mapping.network_changed()  # it has no announcement that says so; half the lifetime would
    wait_until(lambda: "dnat" in router.open_ports(), "the port")
    assert arrives(world, home, candidate)


def test_after_another_address_the_port_leads_to_that(scene: Scene) -> None:
    world, home, _, mapping = scene
    mapping.next(1)
    home.hosts[0].ip(
        "addr flush dev eth0 scope global", "addr add 10.0.0.77/24 dev eth0",
        "route replace default via 10.0.0.1",
    )  # fmt: skip
    mapping.network_changed()
    candidate = mapping.next(2)
    assert arrives(world, home, candidate)
