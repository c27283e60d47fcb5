"""Shares to and from one node in a process of its own, on loopback.

python -m tests.bench.bench_shares [--shares N] [--at-once N]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from crypto.packs import LEAF_SIZE
from protocol.storage_client import StorageClient, storing
from tests.relay.relay_program import program
from tests.relay.relay_stage import new_keys
from tests.relay.storage_stage import FAR_S, MIB, Owner, Packed

LEAVES = 8 * MIB // LEAF_SIZE


async def main(count: int, at_once: int) -> None:
    packs = [Packed.of(LEAVES, 4, 4, number) for number in range(count)]
    size = packs[0].descriptor.share_size * count / 1e6
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        home = Path(directory) / "home"
        config = f'[storage]\npath = "{directory}/shares"\n'
        async with (
            program(home, config) as relay,
            storing(relay.address, new_keys()) as client,
        ):
            namespace = await Owner().found_and_open(client)
            for what, act in (("put", put), ("get", get)):
                began = time.perf_counter()
                cpu, node_cpu = time.process_time(), _cpu_s(relay.process.pid)
                await each(packs, at_once, lambda packed, act=act: act(client, namespace, packed))  # type: ignore[misc]
                took = time.perf_counter() - began
                cpu, node_cpu = time.process_time() - cpu, _cpu_s(relay.process.pid) - node_cpu
                print(
                    f"{what}: {size:.0f} MB in {took:.2f} s, {size / took:.0f} MB/s;"
                    f" processor: {cpu:.2f} s here, {node_cpu:.2f} s the node"
                )


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def put(client: StorageClient, namespace: bytes, packed: Packed) -> None:
    await client.put(namespace, packed.descriptor, 1, packed.shares[1], FAR_S, [])


async def get(client: StorageClient, namespace: bytes, packed: Packed) -> None:
    await client.fetch(namespace, packed.descriptor, 1)


async def each(packs: list[Packed], at_once: int, act: Callable[[Packed], Awaitable[None]]) -> None:
    turn = asyncio.Semaphore(at_once)

    async def one(packed: Packed) -> None:
        async with turn:
            await act(packed)

    async with asyncio.TaskGroup() as tasks:
        for packed in packs:
            tasks.create_task(one(packed))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shares", type=int, default=100)
    parser.add_argument("--at-once", type=int, default=8)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.shares, arguments.at_once))
