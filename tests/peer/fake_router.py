"""A router that opens ports by PCP and NAT-PMP, on a loopback address of its own."""

from __future__ import annotations

import asyncio
import itertools
import os
import struct
from ipaddress import IPv6Address
from typing import Self

from peer.connectivity.gateway import Gateway
from protocol import nat_pmp

_NUMBERS = itertools.count(1)


class FakeRouter(asyncio.DatagramProtocol):
    """What it was asked is in `asked`: (protocol, internal port, suggested port, lifetime)."""

    def __init__(self) -> None:
        self.speaks = {"PCP", "NAT-PMP"}
        self.outside = "11.0.0.10"
        self.grants_s = 3600
        self.epoch_s = 1000
        self.refusal = 0
        self.shift = 1
        """Between the port inside and the one that is granted."""
        self.asked: list[tuple[str, int, int, int]] = []
        self.was_asked = asyncio.Event()
        # Of this process alone, so that tests may run side by side.
        number = os.getpid() % 65_000 * 4 + next(_NUMBERS)
        self.host = f"127.{64 + number // 65_536 % 64}.{number // 256 % 256}.{number % 256 or 1}"

    @property
    def gateway(self) -> Gateway:
        return Gateway(self.host, "127.0.0.1")

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(self.host, nat_pmp.PORT)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    async def next(self, count: int) -> list[tuple[str, int, int, int]]:
        """What it was asked, once that is so many requests."""
        async with asyncio.timeout(60):
            while len(self.asked) < count:
                self.was_asked.clear()
                await self.was_asked.wait()
        return self.asked

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        answer = self._pcp(data) if data[0] == 2 else self._nat_pmp(data)
        if answer is not None:
            self._transport.sendto(answer, addr)

    def _pcp(self, data: bytes) -> bytes | None:
        if "PCP" not in self.speaks:
            return bytes((0, 129, 0, 1, 0, 0, 0, 1)) if "NAT-PMP" in self.speaks else None
        lifetime_s = int.from_bytes(data[4:8], "big")
        internal, suggested = struct.unpack("!HH", data[40:44])
        self._note("PCP", internal, suggested, lifetime_s)
        granted_s = self.grants_s if lifetime_s else 0
        head = struct.pack("!BBBBII12x", 2, 0x81, 0, self.refusal, granted_s, self.epoch_s)
        host = IPv6Address(f"::ffff:{self.outside}").packed
        return head + data[24:42] + struct.pack("!H", internal + self.shift) + host

    def _nat_pmp(self, data: bytes) -> bytes | None:
        if "NAT-PMP" not in self.speaks:
            return None
        if data == nat_pmp.external_request():
            host = bytes(map(int, self.outside.split(".")))
            return struct.pack("!BBHI4s", 0, 128, self.refusal, self.epoch_s, host)
        _, _, _, internal, suggested, lifetime_s = struct.unpack("!BBHHHI", data)
        self._note("NAT-PMP", internal, suggested, lifetime_s)
        granted_s = self.grants_s if lifetime_s else 0
        return struct.pack(
            "!BBHIHHI", 0, 129, self.refusal, self.epoch_s, internal, internal + self.shift,
            granted_s,
        )  # fmt: skip

    def _note(self, *request: object) -> None:
        self.asked.append(request)  # type: ignore[arg-type]
        self.was_asked.set()
