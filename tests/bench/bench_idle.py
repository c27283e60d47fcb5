"""What idle devices cost a relay: real links from one process to a relay that is another.

    python -m tests.bench.bench_idle [--devices 2000] [--others 3] [--seconds 60]

Each device waits for so many others on three days, and pings as a device does. Memory is the
relay's own (resident, without what it shares), processor time its own over so many seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from crypto.keys import DeviceKeys
from peer.connectivity.relay_session import RelaySession
from protocol import tls
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay
from tests.bench.machine import cpu_s

AT_ONCE = 16
"""Handshakes under way; what they cost is not what is measured."""
PER_ADDRESS = 200
"""A relay takes so many devices from one address, and a few more."""


def private_bytes(pid: int) -> int:
    """What a process has of its own in memory."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return 1024 * sum(
        int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Private_")
    )


def resident_bytes(pid: int) -> int:
    """All that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * next(int(row.split()[1]) for row in status.splitlines() if "VmRSS" in row)


def sources() -> Iterator[str]:
    """An address of this machine for each next device."""
    for number in itertools.count():
        yield f"127.{1 + number // PER_ADDRESS // 250}.1.{1 + number // PER_ADDRESS % 250}"


async def hold(address: RelayAddress, others: int, places: Iterator[str], ready: Any) -> None:
    """One device: a link, its registration, and pings until cancelled."""
    source = next(places)
    connect = partial(
        tls._connect, "the relay", host=address.host, port=address.port, local_addr=(source, 0)
    )
    async with ready:
        tls.dial = lambda host, port: connect()
        link = await dial_relay(address, DeviceKeys.generate(os.urandom))
        session = RelaySession(link, lambda *_: None)
        running = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(session.run())
            await session.register([os.urandom(16) for _ in range(3 * others)], [])
            ready.release()
            try:
                await running.create_future()
            finally:
                await ready.acquire()


async def measure(address: RelayAddress, pid: int, arguments: argparse.Namespace) -> None:
    empty = private_bytes(pid)
    places, ready = sources(), asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()
    before = cpu_s([pid])
    async with asyncio.TaskGroup() as tasks:
        holding = [
            tasks.create_task(hold(address, arguments.others, places, ready))
            for _ in range(arguments.devices)
        ]
        for _ in range(arguments.devices):
            await asyncio.sleep(0)
        while ready.locked():
            await asyncio.sleep(0.2)
        print(
            f"{arguments.devices} devices came in {time.monotonic() - began:.1f} s,"
            f" {(cpu_s([pid]) - before) / arguments.devices * 1e3:.2f} ms of the relay's processor"
            " each",
            flush=True,
        )
        await asyncio.sleep(3)
        began, before = time.monotonic(), cpu_s([pid])
        await asyncio.sleep(arguments.seconds)
        share = (cpu_s([pid]) - before) / (time.monotonic() - began)
        own = private_bytes(pid)
        print(
            f"idle: {resident_bytes(pid) / 1e6:.0f} MB resident, {own / 1e6:.0f} MB its own"
            f" ({empty / 1e6:.0f} MB with nobody), {(own - empty) / arguments.devices / 1024:.1f}"
            f" KiB a device, {share:.2%} of a core",
            flush=True,
        )
        for each in holding:
            each.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=2000)
    parser.add_argument("--others", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "relay", "run", "--home", home]
        command += ["--host", "127.0.0.1", "--port", "0"]
        relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert relay.stdout is not None
            address = RelayAddress.parse(relay.stdout.readline())
            asyncio.run(measure(address, relay.pid, arguments))
        finally:
            relay.terminate()
            relay.wait()


if __name__ == "__main__":
    main()
