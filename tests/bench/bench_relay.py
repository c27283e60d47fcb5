"""What a relay costs: its forwarding by UDP beside a direct QUIC link in one run, and meeting.

    python -m tests.bench.bench_relay [--size-mib 256] [--runs 5] [--no-uvloop]

Three processes on loopback: relay, sender, receiver. A direct link uses two cores and a relayed one
three, so on two cores the ratio says less about the relay than its own processor time does.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from crypto.keys import DeviceKeys
from peer.connectivity.relay_session import RelaySession
from peer.connectivity.relays import call_through
from protocol import quic_engine
from protocol.datagrams import RelayedAddress
from protocol.link import Address, Link, LinkKind
from protocol.links import Listener
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay, open_stream
from protocol.showing import Showing
from protocol.wire import FRAME_LENGTH_MAX
from relay.ports import listen_on_both
from relay.server import Relay
from tests.bench.bench_links import run_loop

HOST = "127.0.0.1"
WAITING = b"w" * 16
FRAME_BYTES = 128 << 10
DATAGRAM_SIZES = {"1,450 B": (1_450,), "as the path allows": quic_engine.DATAGRAM_SIZES}


def serve_relay(pipe: Pipe, is_fast: bool) -> None:
    """A relay that answers each word on the pipe with its processor time."""

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            relay = Relay(DeviceKeys.generate(os.urandom), tasks)
            port = relay.start(*listen_on_both(HOST, 0))
            pipe.send(str(RelayAddress(HOST, port, relay.relay_id)))
            while await asyncio.to_thread(pipe.recv):
                pipe.send(time.process_time())
            await relay.stop()

    run_loop(main, is_fast)


@dataclass
class Device:
    """A device at the relay, shown by UDP."""

    listener: Listener
    session: RelaySession
    showing: Showing
    prefixes: asyncio.Queue[tuple[bytes, bytes]]


@asynccontextmanager
async def device(address: RelayAddress, on_link: Any) -> AsyncIterator[Device]:
    """Until it is left: a listener, a link to the relay, and an address that the relay knows."""
    loop = asyncio.get_running_loop()
    prefixes: asyncio.Queue[tuple[bytes, bytes]] = asyncio.Queue()
    async with asyncio.TaskGroup() as tasks:
        listener = Listener(tasks)
        await listener.start(HOST, 0, list(LinkKind), on_link)
        link = await dial_relay(address, DeviceKeys.generate(os.urandom))
        session = RelaySession(link, lambda *call: prefixes.put_nowait(call))
        talking = tasks.create_task(session.run())
        key = await session.udp_key()
        showing = Showing(key.client_id, key.key, loop.time())
        seen = asyncio.Event()

        def take(datagram: bytes, place: Address) -> None:
            showing.receive(datagram, loop.time(), 0.5)
            seen.set()

        listener.on_datagram = take
        while showing.observed is None:
            for datagram in showing.datagrams_to_send(loop.time(), 0.5):
                listener.send_datagram(datagram, session.place)
            seen.clear()
            async with asyncio.timeout_at(showing.next_deadline):
                await seen.wait()
        try:
            yield Device(listener, session, showing, prefixes)
        finally:
            talking.cancel()
            await listener.stop()


def serve_receiver(
    pipe: Pipe, text: str, total: int, sizes: tuple[int, ...], is_fast: bool
) -> None:
    """Receives `total` bytes a link and answers with a frame, link after link."""
    quic_engine.DATAGRAM_SIZES = sizes

    async def take(link: Link) -> None:
        link.admit()
        await link.receive()
        link.set_frame_limit(FRAME_LENGTH_MAX)
        link.send(1, [b"ready"])
        received = 0
        while received < total and (frame := await link.receive()) is not None:
            received += len(frame[1])
        link.send(0, [b"done"])
        await link.receive()

    async def main() -> None:
        address = RelayAddress.parse(text)
        async with device(address, take) as here, asyncio.TaskGroup() as tasks:
            await here.session.register([WAITING], [])
            pipe.send(here.listener.port)

            async def answer() -> None:
                while True:
                    ticket, prefix = await here.prefixes.get()
                    stream = await open_stream(here.session.place, ticket)
                    path = RelayedAddress(*here.session.place, prefix)
                    here.listener.adopt(stream, HOST, path)

            answering = tasks.create_task(answer())
            await asyncio.to_thread(pipe.recv)
            answering.cancel()

    run_loop(main, is_fast)


async def send(link: Link, total: int) -> float:
    """MB/s of one link."""
    link.admit()
    link.set_frame_limit(FRAME_LENGTH_MAX)
    link.send(1, [b"are you ready"])
    await link.receive()
    payload = os.urandom(FRAME_BYTES)
    begin = time.perf_counter()
    for _ in range(-(-total // FRAME_BYTES)):
        link.send(2, [payload], bulk=True)
        await link.drain()
    await link.receive()
    speed = total / (time.perf_counter() - begin) / 1e6
    await link.close()
    return speed


@dataclass
class Run:
    """One run: direct and relayed one after the other."""

    direct: float
    by_udp: float
    relay_cores: float
    relay_s_gb: float
    by_tcp: float
    meeting_s: float


def measure(total: int, sizes: tuple[int, ...], is_fast: bool) -> Run:
    """Starts the three, and sends."""
    quic_engine.DATAGRAM_SIZES = sizes
    (relay_pipe, relay_end), (receiver_pipe, receiver_end) = [
        multiprocessing.Pipe() for _ in range(2)
    ]
    relay = multiprocessing.Process(target=serve_relay, args=(relay_end, is_fast))
    relay.start()
    text = relay_pipe.recv()
    receiver = multiprocessing.Process(
        target=serve_receiver, args=(receiver_end, text, total, sizes, is_fast)
    )
    receiver.start()
    port = receiver_pipe.recv()
    results: list[Run] = []

    def relay_cpu_s() -> float:
        relay_pipe.send(True)
        cpu_s: float = relay_pipe.recv()
        return cpu_s

    async def nobody(link: Link) -> None:
        link.abort()

    async def main() -> None:
        async with AsyncExitStack() as stack:
            here = await stack.enter_async_context(device(RelayAddress.parse(text), nobody))
            direct = await send(await here.listener.dial(LinkKind.QUIC, HOST, port), total)
            begin = time.perf_counter()
            relayed = await call_through(here.session, WAITING)
            meeting_s = time.perf_counter() - begin
            assert relayed.relay_path is not None
            link = await here.listener.dial_relayed(relayed.relay_path)
            begin, cpu_s = time.perf_counter(), relay_cpu_s()
            by_udp = await send(link, total)
            cpu_s = relay_cpu_s() - cpu_s
            cores, s_gb = cpu_s / (time.perf_counter() - begin), cpu_s / total * 1e9
            by_tcp = await send(relayed, total)
            results.append(Run(direct, by_udp, cores, s_gb, by_tcp, meeting_s))

    run_loop(main, is_fast)
    receiver_pipe.send(None)
    relay_pipe.send(None)
    receiver.join()
    relay.join()
    return results[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-uvloop", action="store_true")
    arguments: Any = parser.parse_args()
    for name, sizes in DATAGRAM_SIZES.items():
        runs = [
            measure(arguments.size_mib << 20, sizes, not arguments.no_uvloop)
            for _ in range(arguments.runs)
        ]
        median = statistics.median
        ratio = median([run.by_udp / run.direct for run in runs])
        print(
            f"datagrams {name}: direct {median([run.direct for run in runs]):.0f} MB/s, relayed by"
            f" UDP {median([run.by_udp for run in runs]):.0f} MB/s = {ratio:.0%} of direct, relay"
            f" {median([run.relay_cores for run in runs]):.0%} of a core,"
            f" {median([run.relay_s_gb for run in runs]):.2f} s a GB; relayed by TCP"
            f" {median([run.by_tcp for run in runs]):.0f} MB/s; TLS link through the relay after"
            f" {median([run.meeting_s for run in runs]):.3f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
