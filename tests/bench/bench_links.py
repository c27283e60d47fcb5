"""How fast links are: two processes on loopback, raw frames both kinds; medians of some runs.

    python -m tests.bench.bench_links [--size-mib 256] [--runs 5] [--no-uvloop]

Numbers depend on what else the machine does, so the processor time of each end stands beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from typing import Any

from protocol import quic_engine
from protocol.link import Link, LinkKind
from protocol.links import Listener, dial
from protocol.wire import FRAME_LENGTH_MAX


@dataclass(frozen=True)
class Case:
    name: str
    kind: LinkKind
    frame_bytes: int
    datagram_sizes: tuple[int, ...] = quic_engine.DATAGRAM_SIZES


CASES = [
    Case("TLS, frames of 128 KiB", LinkKind.TLS, 128 << 10),
    Case("TLS, frames of 512 KiB", LinkKind.TLS, 512 << 10),
    Case("QUIC, datagrams of 1,450 B", LinkKind.QUIC, 128 << 10, (1_450,)),
    Case("QUIC, as the path allows", LinkKind.QUIC, 128 << 10),
]


def run_loop(main: Callable[[], Awaitable[None]], is_fast: bool) -> None:
    async def whole() -> None:
        await main()

    if is_fast:
        import uvloop

        uvloop.run(whole())
    else:
        asyncio.run(whole())


def serve(pipe: Pipe, case: Case, total: int, is_fast: bool) -> None:
    """Receives `total` bytes, answers with one frame, tells its processor time."""
    quic_engine.DATAGRAM_SIZES = case.datagram_sizes
    done = asyncio.Event()

    async def take(link: Link) -> None:
        link.admit()
        link.set_frame_limit(FRAME_LENGTH_MAX)
        received = 0
        begin = time.process_time()
        while received < total and (frame := await link.receive()) is not None:
            received += len(frame[1])
        link.send(0, [b"done"])
        pipe.send(time.process_time() - begin)
        await link.receive()
        done.set()

    async def main() -> None:
        async with asyncio.TaskGroup() as tasks:
            listener = Listener(tasks)
            pipe.send(await listener.start("127.0.0.1", 0, [case.kind], take))
            await done.wait()
            await listener.stop()

    run_loop(main, is_fast)


def measure(case: Case, total: int, is_fast: bool) -> tuple[float, float, float]:
    """(MB/s, processor seconds of the sender a GB, of the receiver a GB)."""
    quic_engine.DATAGRAM_SIZES = case.datagram_sizes
    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(there, case, total, is_fast))
    process.start()
    port = here.recv()
    result: list[float] = []

    async def main() -> None:
        link = await dial(case.kind, "127.0.0.1", port)
        link.admit()
        link.set_frame_limit(FRAME_LENGTH_MAX)
        payload = os.urandom(case.frame_bytes)
        link.send(1, [b""])
        begin, begin_cpu = time.perf_counter(), time.process_time()
        for _ in range(-(-total // case.frame_bytes)):
            link.send(2, [b"header", payload], bulk=True)
            await link.drain()
        await link.receive()
        result.append(total / (time.perf_counter() - begin) / 1e6)
        result.append((time.process_time() - begin_cpu) / total * 1e9)
        await link.close()

    run_loop(main, is_fast)
    result.append(here.recv() / total * 1e9)
    process.join()
    speed, sender, receiver = result
    return speed, sender, receiver


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-uvloop", action="store_true")
    arguments: Any = parser.parse_args()
    total = arguments.size_mib << 20
    for case in CASES:
        runs = [measure(case, total, not arguments.no_uvloop) for _ in range(arguments.runs)]
        speed, sender, receiver = (statistics.median(column) for column in zip(*runs, strict=True))
        print(
            f"{case.name:<30} {speed:7.0f} MB/s   CPU s/GB: sender {sender:5.2f}, receiver"
            f" {receiver:5.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
