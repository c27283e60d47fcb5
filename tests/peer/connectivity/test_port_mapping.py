"""A port is opened, renewed, found anew and given back; what a router says decides nothing else.

Real routers, and UPnP, are in tests/nat.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from peer.connectivity.gateway import Gateway
from peer.connectivity.port_mapping import PortMapping
from protocol import mapped_port
from protocol.candidates import Candidate, CandidateKind
from tests.peer.fake_router import FakeRouter

PORT = 22330


class Watched:
    """A mapping at work, with what it told."""

    def __init__(self, router: FakeRouter | None) -> None:
        self.changes = 0
        self.changed = asyncio.Event()
        self.gateway: Gateway | None = router.gateway if router is not None else None
        self.mapping = PortMapping(PORT, self._on_change, lambda: self.gateway)

    def _on_change(self) -> None:
        self.changes += 1
        self.changed.set()

    async def next_change(self) -> list[Candidate]:
        async with asyncio.timeout(60):
            await self.changed.wait()
        self.changed.clear()
        return list(self.mapping.candidates())


@contextlib.asynccontextmanager
async def at_work(router: FakeRouter | None) -> AsyncIterator[Watched]:
    watched = Watched(router)
    task = asyncio.ensure_future(watched.mapping.run())
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await watched.mapping.close()


@pytest.mark.parametrize("way", ["PCP", "NAT-PMP"])
async def test_a_port_is_opened_and_given_back(way: str) -> None:
    async with FakeRouter() as router:
        router.speaks = {way}
        async with at_work(router) as watched:
            assert await watched.next_change() == [
                Candidate(CandidateKind.MAPPED, "11.0.0.10", PORT + 1)
            ]
            assert watched.mapping.problem == ""
        asked = await router.next(2)
    assert asked[0] == (way, PORT, PORT, mapped_port.LIFETIME_S)
    assert asked[1][:2] == (way, PORT)
    assert asked[1][3] == 0
    assert not watched.mapping.candidates()


@pytest.mark.parametrize("way", ["PCP", "NAT-PMP"])
async def test_it_is_renewed_before_its_time_is_over_and_nobody_is_told_of_what_stays(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_port, "LIFETIME_MIN_S", 0.2)
    async with FakeRouter() as router:
        router.speaks, router.grants_s = {way}, 1
        async with at_work(router) as watched:
            await watched.next_change()
            asked = await router.next(2)
            assert asked[1] == (way, PORT, PORT + 1, mapped_port.LIFETIME_S), "the same one"
            assert watched.changes == 1


async def test_another_outside_address_is_told() -> None:
    async with FakeRouter() as router, at_work(router) as watched:
        await watched.next_change()
        router.outside = "11.0.0.11"
        watched.mapping.network_changed()
        assert (await watched.next_change())[0].host == "11.0.0.11"


async def test_another_network_has_another_router_or_none() -> None:
    async with FakeRouter() as home, FakeRouter() as office, at_work(home) as watched:
        await watched.next_change()
        office.outside, watched.gateway = "11.0.0.12", office.gateway
        watched.mapping.network_changed()
        assert (await watched.next_change())[0].host == "11.0.0.12"
        watched.gateway = None
        watched.mapping.network_changed()
        assert await watched.next_change() == []
        assert "no router" in watched.mapping.problem


@pytest.mark.parametrize(
    ("speaks", "refusal", "outside", "words"),
    [
        ({"PCP"}, 2, "11.0.0.10", "nobody open ports"),
        ({"NAT-PMP"}, 2, "11.0.0.10", "switched off"),
        ({"PCP"}, 0, "192.168.1.1", "another router"),
        ({"NAT-PMP"}, 0, "100.64.0.9", "another router"),
    ],
)
async def test_what_the_router_does_not_do_is_said(
    speaks: set[str], refusal: int, outside: str, words: str
) -> None:
    async with FakeRouter() as router:
        router.speaks, router.refusal, router.outside = speaks, refusal, outside
        watched = Watched(router)
        await watched.mapping._renew()
        assert words in watched.mapping.problem
        assert not watched.mapping.candidates()
        assert watched.changes == 0


@pytest.mark.row("A32")
async def test_an_answer_with_another_nonce_is_none() -> None:
    """Who sees no datagrams cannot answer for the router, though it can send in its name."""
    async with FakeRouter() as router:
        honest = router._pcp

        def forged(data: bytes) -> bytes | None:
            answer = honest(data)
            return answer and answer[:24] + bytes(12) + answer[36:]

        router._pcp = forged  # type: ignore[method-assign]
        router.speaks = {"PCP"}
        watched = Watched(router)
        await watched.mapping._renew()
        assert not watched.mapping.candidates()
        assert len(router.asked) == 3, "asked as often as for no answer, and no more"


@pytest.mark.row("A32")
async def test_a_port_of_a_service_is_not_taken() -> None:
    async with FakeRouter() as router:
        router.shift = 53 - PORT
        watched = Watched(router)
        await watched.mapping._renew()
        assert not watched.mapping.candidates()
