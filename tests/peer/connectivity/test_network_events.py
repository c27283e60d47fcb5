"""What the kernel says of addresses is heard, in a network of the test's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from peer.connectivity.network_events import NetworkEvents, lost_addresses
from tests.nat.lab import Home, World
from tests.nat.routers import Kind


def heard(home: Home, change: Callable[[], None], count: int) -> list[frozenset[str] | None]:
    """What is heard on the first host while something is changed there."""
    is_listening = threading.Event()

    async def listen() -> list[frozenset[str] | None]:
        events = NetworkEvents()
        is_listening.set()
        try:
            return [await events.next(10) for _ in range(count)]
        finally:
            events.close()

    def changing() -> None:
        is_listening.wait(10)
        change()

    thread = threading.Thread(target=changing)
    thread.start()
    try:
        return home.hosts[0].call(lambda: asyncio.run(listen()))
    finally:
        thread.join()


def test_an_address_that_goes_is_named() -> None:
    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED)
        host = home.hosts[0]
        (lost,) = heard(home, lambda: host.ip("addr del 10.0.0.2/24 dev eth0"), 1)
        assert lost == frozenset({"10.0.0.2"})


def test_one_that_comes_back_was_away_all_the_same() -> None:
    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED)
        assert heard(home, lambda: home.give_address(0, 2), 1) == [frozenset({"10.0.0.2"})]


def test_a_new_address_is_news_and_nothing_is_lost() -> None:
    with World() as world:
        home = world.home(Kind.PORT_RESTRICTED)
        host = home.hosts[0]
        assert heard(home, lambda: host.ip("addr add 10.0.0.9/24 dev eth0"), 1) == [frozenset()]


def test_ipv6_too() -> None:
    with World() as world:
        home = world.home(Kind.IPV6_ONLY)
        (lost,) = heard(home, lambda: home.give_address(0, 9), 1)
        assert lost is not None
        assert home.inner[0].address not in lost
        assert any(address.startswith("2600:cafe:") for address in lost)


async def test_silence_is_none() -> None:
    events = NetworkEvents()
    events.close()
    assert await events.next(0.01) is None


@given(st.binary(max_size=200))
def test_no_bytes_hang_or_fail(data: bytes) -> None:
    assert len(list(lost_addresses(data))) <= len(data)
