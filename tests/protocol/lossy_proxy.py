"""A bad network in one object: UDP with loss, delay, copies and damage, by seed."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

Address = tuple[str, int]


@dataclass(frozen=True)
class Weather:
    """What happens to a datagram, as chances; delays in seconds."""

    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    """The chance of being held back by `reorder_delay_s`, behind those that come after."""
    delay_s: float = 0.0
    reorder_delay_s: float = 0.002
    length_max: int = 65_535
    """Longer datagrams vanish, as on a path with a small MTU."""


class LossyProxy:
    """Forwards between any number of clients and one server; `counts` says what it did to them."""

    def __init__(self, server: Address, weather: Weather, seed: int) -> None:
        self.weather = weather
        self.counts = dict.fromkeys(("sent", "lost", "copied", "damaged", "held", "too long"), 0)
        self._server = server
        self._random = random.Random(seed)
        self._loop = asyncio.get_running_loop()
        self._front = _bound()
        self._backs: dict[Address, socket.socket] = {}
        self._loop.add_reader(self._front, self._from_client)

    @property
    def address(self) -> Address:
        host, port = self._front.getsockname()
        return host, port

    def close(self) -> None:
        for each in (self._front, *self._backs.values()):
            self._loop.remove_reader(each)
            each.close()

    def rebind(self) -> None:
        """The router forgets its table: clients come from new ports from now on."""
        for each in self._backs.values():
            self._loop.remove_reader(each)
            each.close()
        self._backs.clear()

    def _from_client(self) -> None:
        for data, client in _read(self._front):
            back = self._backs.get(client)
            if back is None:
                back = self._backs[client] = _bound()
                self._loop.add_reader(back, self._from_server, back, client)
            self._forward(back, data, self._server)

    def _from_server(self, back: socket.socket, client: Address) -> None:
        for data, _ in _read(back):
            self._forward(self._front, data, client)

    def _forward(self, out: socket.socket, data: bytes, to: Address) -> None:
        weather, chance = self.weather, self._random.random
        if len(data) > weather.length_max:
            self.counts["too long"] += 1
            return
        if chance() < weather.loss:
            self.counts["lost"] += 1
            return
        copies = 1
        if chance() < weather.duplicate:
            self.counts["copied"] += 1
            copies = 2
        if chance() < weather.corrupt:
            self.counts["damaged"] += 1
            at = self._random.randrange(len(data))
            data = data[:at] + bytes((data[at] ^ 1 << self._random.randrange(8),)) + data[at + 1 :]
        delay_s = weather.delay_s
        if chance() < weather.reorder:
            self.counts["held"] += 1
            delay_s += weather.reorder_delay_s
        for _ in range(copies):
            self.counts["sent"] += 1
            if delay_s:
                self._loop.call_later(delay_s, _send, out, data, to)
            else:
                _send(out, data, to)


@asynccontextmanager
async def lossy_proxy(server: Address, weather: Weather, seed: int) -> AsyncIterator[LossyProxy]:
    proxy = LossyProxy(server, weather, seed)
    try:
        yield proxy
    finally:
        proxy.close()


def _bound() -> socket.socket:
    out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    out.setblocking(False)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    out.bind(("127.0.0.1", 0))
    return out


def _read(source: socket.socket) -> list[tuple[bytes, Address]]:
    found: list[tuple[bytes, Address]] = []
    while len(found) < 64:
        try:
            found.append(source.recvfrom(65_535))
        except BlockingIOError:
            break
    return found


def _send(out: socket.socket, data: bytes, to: Address) -> None:
    if out.fileno() >= 0:
        try:
            out.sendto(data, to)
        except BlockingIOError:
            pass  # a full queue loses datagrams, here as anywhere
