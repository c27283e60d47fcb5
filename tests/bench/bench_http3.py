"""A share link's bytes by HTTP/3: `python -m tests.bench.bench_http3 [--mib 128]`.

The endpoint is a program of its own, over TLS on loopback; its visitor, by aioquic as well, takes
datagrams as long as browsers do and reads a pack of 8 MiB again and again. Lines say how fast, and
how many bytes each of the two could do with a core of its own: the slower one is the limit, and for
a visitor whose QUIC is not in Python it is the endpoint. HTTP/1.1 with the same TLS stands beside.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import ssl
import tempfile
import time
from pathlib import Path

from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection

from crypto.packs import LEAF_SIZE
from tests.bench.machine import cpu_s
from tests.protocol.quic_pair import take_at_most
from tests.relay.http3_visitor import asked, visiting
from tests.relay.relay_stage import LOOPBACK
from tests.relay.web_program import PACK_LEAVES, WebProgram, web_program

PACK_SIZE = PACK_LEAVES * LEAF_SIZE


class AsBrowsers(QuicConnection):
    """Takes datagrams of 1,472 bytes, as Chromium says in its transport parameters."""

    def __init__(self, *, configuration: QuicConfiguration) -> None:
        super().__init__(configuration=configuration)
        take_at_most(self, 1_472)


def headers_of(web: WebProgram) -> dict[str, str]:
    """Those of a request for all of the pack."""
    return {"X-Holdfast-Ticket": web.ticket, "Range": f"bytes=0-{PACK_SIZE - 1}"}


async def by_http3(web: WebProgram, packs: int) -> None:
    """One pack after the other on one connection."""
    request = asked("GET", web.path, **headers_of(web))
    async with visiting(web.port, AsBrowsers) as client:
        for _ in range(packs):
            headers, body = await client.ask(request)
            assert (headers[b":status"], len(body)) == (b"206", PACK_SIZE), headers


def by_http1(web: WebProgram, packs: int) -> None:
    """The same over TCP."""
    context = ssl._create_unverified_context()
    connection = http.client.HTTPSConnection(LOOPBACK, web.port, timeout=600, context=context)
    for _ in range(packs):
        connection.request("GET", web.path, headers=headers_of(web))
        assert len(connection.getresponse().read()) == PACK_SIZE
    connection.close()


async def measured(mib: int, home: Path) -> None:
    """Prints a line a protocol."""
    packs = max(1, (mib << 20) // PACK_SIZE)
    async with web_program(home) as web:
        for name in ("HTTP/3", "HTTP/1.1"):
            began = time.monotonic()
            relay_s, own_s = cpu_s([web.pid]), cpu_s([os.getpid()])
            if name == "HTTP/3":
                await by_http3(web, packs)
            else:
                await asyncio.to_thread(by_http1, web, packs)
            size = packs * PACK_SIZE / 1e6
            took, relay_s = time.monotonic() - began, cpu_s([web.pid]) - relay_s
            own_s = cpu_s([os.getpid()]) - own_s
            print(
                f"{name}: {size / took:.0f} MB/s; by the processor's time the endpoint could do"
                f" {size / relay_s:.0f} and the visitor {size / own_s:.0f} MB/s",
                flush=True,
            )


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=128)
    mib: int = parser.parse_args().mib
    with tempfile.TemporaryDirectory() as home:
        asyncio.run(measured(mib, Path(home) / "relay"))


if __name__ == "__main__":
    main()
