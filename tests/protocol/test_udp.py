from __future__ import annotations

import asyncio
import errno
import socket
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol import udp
from protocol.datagrams import RelayedAddress
from protocol.udp import (
    RELAYED_MAX,
    SEGMENTED_BYTES_MAX,
    SEGMENTS_MAX,
    SocketAddress,
    UdpEndpoint,
)

LOOPBACK = "127.0.0.1"
QUIC_BYTE = b"\x40"


@dataclass
class Received:
    datagrams: list[bytes] = field(default_factory=list)
    calls: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, datagrams: list[bytes], address: SocketAddress) -> None:
        self.datagrams += datagrams
        self.calls += 1
        self.changed.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(60):
            while len(self.datagrams) < count:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def endpoints() -> AsyncIterator[tuple[UdpEndpoint, UdpEndpoint, Received]]:
    received = Received()
    a = UdpEndpoint(udp.bind(LOOPBACK, 0), lambda datagrams, address: None)
    b = UdpEndpoint(udp.bind(LOOPBACK, 0), received.take)
    try:
        yield a, b, received
    finally:
        a.close()
        b.close()


def datagrams_of(sizes: list[int]) -> list[bytes]:
    return [QUIC_BYTE + bytes([index % 256]) * (size - 1) for index, size in enumerate(sizes)]


@pytest.mark.parametrize("segments", [True, False])
async def test_datagrams_arrive_whole_whatever_their_sizes(segments: bool) -> None:
    async with endpoints() as (a, b, received):
        a.has_segmentation &= segments
        sent = datagrams_of([1_200] * 30 + [700, 1_450, 1_450, 90, 1, 1, 8_900, 8_900, 10, 1_200])
        a.send(sent, b.address)
        await received.wait_for(len(sent))
        assert received.datagrams == sent


async def test_the_kernel_is_asked_for_bursts() -> None:
    async with endpoints() as (a, b, received):
        if not a.has_segmentation:
            return  # nothing to ask for on this system
        sent = datagrams_of([1_200] * 40)
        a.send(sent, b.address)
        await received.wait_for(len(sent))
        assert received.calls < 10


@given(st.lists(st.integers(1, 9_000), max_size=200))
def test_runs_are_what_one_call_can_send(sizes: list[int]) -> None:
    endpoint = UdpEndpoint.__new__(UdpEndpoint)
    endpoint.has_segmentation = True
    sent = [bytes(size) for size in sizes]
    runs = endpoint._runs(sent)
    assert [each for run in runs for each in run] == sent
    for run in runs:
        assert len({len(each) for each in run[:-1]}) <= 1
        assert len(run[-1]) <= len(run[0])
        assert len(run) <= SEGMENTS_MAX
        assert sum(map(len, run)) <= SEGMENTED_BYTES_MAX
    endpoint.has_segmentation = False
    assert all(len(run) == 1 for run in endpoint._runs(sent))


class RefusingSocket:
    """A socket of a driver that accepts the option and refuses the call."""

    def __init__(self, code: int) -> None:
        self.code = code
        self.sent: list[bytes] = []
        self.refusals = 0

    def sendmsg(self, *arguments: object) -> int:
        self.refusals += 1
        raise OSError(self.code, "no")

    def sendto(self, data: bytes, address: object) -> int:
        self.sent.append(data)
        return len(data)

    def fileno(self) -> int:
        return 3


def test_a_driver_without_segmentation_is_found_out_once_and_loses_nothing() -> None:
    endpoint = UdpEndpoint.__new__(UdpEndpoint)
    endpoint.has_segmentation = True
    endpoint._pending = deque()
    refusing = RefusingSocket(errno.EIO)
    endpoint._socket = refusing  # type: ignore[assignment]
    sent = datagrams_of([1_200] * 5)
    endpoint.send(sent, (LOOPBACK, 9))
    endpoint.send(sent, (LOOPBACK, 9))
    assert refusing.sent == sent * 2
    assert refusing.refusals == 1


async def test_a_full_socket_keeps_datagrams_and_sends_them_later() -> None:
    async with endpoints() as (a, b, received):
        takes = False
        original = a._send_run

        def sometimes(run: list[bytes], address: SocketAddress) -> bool:
            return takes and original(run, address)

        a._send_run = sometimes  # type: ignore[method-assign]
        sent = datagrams_of([1_000] * 20 + [500] * 20)
        a.send(sent, b.address)
        assert a.is_full
        takes = True
        await received.wait_for(len(sent))
        assert received.datagrams == sent
        assert not a.is_full


async def test_what_waits_is_bounded() -> None:
    async with endpoints() as (a, b, _):
        a._send_run = lambda run, address: False  # type: ignore[method-assign]
        for _ in range(3):
            a.send(datagrams_of([30] * 3_000), b.address)
        assert a._pending_count <= udp.PENDING_MAX


async def test_other_first_bytes_go_to_the_hook() -> None:
    async with endpoints() as (a, b, received):
        others: list[bytes] = []
        b.on_other = lambda data, address: others.append(data)
        stun = b"\x00\x01" + bytes(18)
        a.send([b"\x40quic", stun, b"\xc0more"], b.address)
        await received.wait_for(2)
        assert received.datagrams == [b"\x40quic", b"\xc0more"]
        assert others == [stun]
        b.on_other = None
        a.send([stun, b"\x40last"], b.address)
        await received.wait_for(3)
        assert others == [stun]


async def test_unreachable_and_impossible_sends_are_only_lost() -> None:
    async with endpoints() as (a, b, received):
        a.send([b"\x40x"], (LOOPBACK, 1))
        a.send([b"\x40x"], ("192.0.2.1", 0))
        a.send([bytes([0x40]) * 70_000], b.address)
        await asyncio.sleep(0)
        a.send([b"\x40y"], b.address)
        await received.wait_for(1)
        assert received.datagrams == [b"\x40y"]


async def test_closing_twice_and_sending_after() -> None:
    async with endpoints() as (a, b, _):
        address = b.address
        b.close()
        b.close()
        b.send([b"\x40"], a.address)
        assert address[0] == LOOPBACK


def test_ipv6_sockets_leave_ipv4_alone() -> None:
    with udp.bind("::1", 0) as six:
        assert six.family == socket.AF_INET6
        assert six.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
        with udp.bind(LOOPBACK, six.getsockname()[1]) as four, pytest.raises(OSError, match="use"):
            udp.bind(LOOPBACK, four.getsockname()[1])


# ---------------------------------------------------------------- through a relay


@asynccontextmanager
async def endpoint() -> AsyncIterator[tuple[UdpEndpoint, Received]]:
    received = Received()
    one = UdpEndpoint(udp.bind(LOOPBACK, 0), received.take)
    try:
        yield one, received
    finally:
        one.close()


PREFIX, OTHER_PREFIX = b"\x80" + b"p" * 7, b"\xbf" + b"q" * 7


async def test_what_a_relay_forwards_is_told_by_its_prefix() -> None:
    async with endpoint() as (device, received), endpoint() as (relay, _):
        host, port = relay.address
        relayed = RelayedAddress(host, port, PREFIX)
        addresses: list[SocketAddress] = []

        def take(datagrams: list[bytes], address: SocketAddress) -> None:
            addresses.append(address)
            received.take(datagrams, address)

        device._on_datagrams = take
        device.expect(relayed)
        sent = [PREFIX + QUIC_BYTE + bytes([n]) * 99 for n in range(20)]
        strange = [
            OTHER_PREFIX + QUIC_BYTE, PREFIX + b"\x00", PREFIX, PREFIX[:5], PREFIX + PREFIX,
        ]  # fmt: skip
        relay.send([*strange, *sent, *strange], device.address)
        relay.send([QUIC_BYTE + b"the relay's own"], device.address)
        await received.wait_for(21)
        assert received.datagrams[:20] == [datagram[8:] for datagram in sent]
        assert set(addresses[:-1]) == {relayed}
        assert addresses[-1] == relay.address, "what has no prefix is from where it came"


@pytest.mark.row("A33")
async def test_a_prefix_is_good_from_the_relay_alone() -> None:
    async with (
        endpoint() as (device, received),
        endpoint() as (relay, _),
        endpoint() as (thief, _),
    ):
        device.expect(RelayedAddress(*relay.address, PREFIX))
        thief.send([PREFIX + QUIC_BYTE + b"thief"] * 5, device.address)
        relay.send([PREFIX + QUIC_BYTE + b"relay"], device.address)
        await received.wait_for(1)
        assert received.datagrams == [QUIC_BYTE + b"relay"]


async def test_what_goes_through_a_relay_has_its_prefix() -> None:
    async with endpoint() as (device, _), endpoint() as (relay, _):
        runs: list[tuple[bytes, int]] = []
        arrived = asyncio.Event()

        def take(run: memoryview, size: int, address: SocketAddress) -> None:
            assert address == device.address
            runs.append((bytes(run), size))
            arrived.set()

        relay.on_prefixed = take
        device.send([QUIC_BYTE * 100], RelayedAddress(*relay.address, PREFIX))
        async with asyncio.timeout(60):
            await arrived.wait()
        assert runs == [(PREFIX + QUIC_BYTE * 100, 108)]


@pytest.mark.parametrize("segments", [True, False])
async def test_a_run_is_sent_on_as_it_came(segments: bool) -> None:
    async with endpoint() as (relay, _), endpoint() as (device, received):
        relay.has_segmentation = relay.has_segmentation and segments
        run = b"".join(QUIC_BYTE + bytes([n]) * 99 for n in range(10)) + QUIC_BYTE + b"shorter"
        relay.forward(memoryview(run), 100, device.address)
        await received.wait_for(11)
        assert b"".join(received.datagrams) == run
        assert [len(datagram) for datagram in received.datagrams] == [100] * 10 + [8]


@pytest.mark.row("A29")
async def test_sessions_that_are_known_are_bounded() -> None:
    async with endpoint() as (device, _):
        for number in range(2 * RELAYED_MAX):
            device.expect(RelayedAddress(LOOPBACK, 1, PREFIX[:6] + number.to_bytes(2, "big")))
        assert len(device._relayed) == RELAYED_MAX
