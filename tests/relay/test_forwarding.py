"""Bytes pass as they are, in bounded memory, and nothing rests for ever."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from relay import forwarding as module
from relay.forwarding import join


def always(_: int) -> bool:
    return True


def pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(False)
    return near, far


async def _read_all(stream: socket.socket) -> bytes:
    loop, data = asyncio.get_running_loop(), bytearray()
    while piece := await loop.sock_recv(stream, 1 << 16):
        data += piece
    return bytes(data)


async def test_both_directions_pass_at_once_and_are_counted() -> None:
    (one, far_one), (other, far_other) = pair(), pair()
    loop = asyncio.get_running_loop()
    there, back = os.urandom(3_000_000), os.urandom(2_000_000)

    async def send(stream: socket.socket, data: bytes) -> None:
        await loop.sock_sendall(stream, data)
        stream.shutdown(socket.SHUT_WR)

    async with asyncio.timeout(30):
        carried: list[int] = []

        def carry(count: int) -> bool:
            carried.append(count)
            return True

        joining = asyncio.ensure_future(join(one, other, carry))
        got = await asyncio.gather(
            _read_all(far_other), _read_all(far_one), send(far_one, there), send(far_other, back)
        )
        assert (got[0], got[1]) == (there, back)
        await joining
        assert sum(carried) == 5_000_000
    assert one.fileno() == other.fileno() == -1
    far_one.close()
    far_other.close()


@pytest.mark.row("A29")
async def test_who_does_not_read_stops_who_writes() -> None:
    (one, far_one), (other, far_other) = pair(), pair()
    joining = asyncio.ensure_future(join(one, other, always))
    sent = 0
    with far_one, far_other:
        for _ in range(200):
            try:
                sent += far_one.send(bytes(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0.002)
        kernel = sum(
            end.getsockopt(socket.SOL_SOCKET, option)
            for end in (one, far_one, other, far_other)
            for option in (socket.SO_SNDBUF, socket.SO_RCVBUF)
        )
        assert sent <= kernel + 2 * module.PIECE_BYTES
    async with asyncio.timeout(60):
        await joining


@pytest.mark.row("A29")
async def test_streams_that_rest_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_MAX_S", 0.1)
    (one, far_one), (other, far_other) = pair(), pair()
    async with asyncio.timeout(60):
        await join(one, other, always)
        assert await _read_all(far_one) == await _read_all(far_other) == b""
    far_one.close()
    far_other.close()


@pytest.mark.row("A29")
async def test_half_an_end_is_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_S", 0.1)
    (one, far_one), (other, far_other) = pair(), pair()
    far_one.shutdown(socket.SHUT_WR)
    async with asyncio.timeout(60):
        await join(one, other, always)
    far_one.close()
    far_other.close()


@pytest.mark.row("A29")
async def test_what_is_used_up_ends_the_call() -> None:
    (one, far_one), (other, far_other) = pair(), pair()
    rest = [100]

    def carry(count: int) -> bool:
        rest[0] -= count
        return rest[0] > 0

    joining = asyncio.ensure_future(join(one, other, carry))
    far_one.send(bytes(150))
    async with asyncio.timeout(60):
        assert await _read_all(far_other) == bytes(150)
        await joining
    far_one.close()
    far_other.close()


async def test_a_side_that_vanishes_ends_both() -> None:
    (one, far_one), (other, far_other) = pair(), pair()
    joining = asyncio.ensure_future(join(one, other, always))
    await asyncio.sleep(0)
    far_one.close()
    async with asyncio.timeout(60):
        assert await _read_all(far_other) == b""
        far_other.close()
        await joining
