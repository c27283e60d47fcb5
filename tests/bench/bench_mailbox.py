"""How many changesets a second go into a relay's mailbox and out of it, sealed, durable and opened.

    python -m tests.bench.bench_mailbox [--changesets 20000] [--devices 1]

The relay is a process of its own, `holdfast relay run` on loopback; the devices are in this one,
each with its own link. What they put is as long as the changeset of one small edit. Must: 2,000 a
second each way.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from crypto.ids import EntryId, RelayId
from crypto.keys import DeviceKeys
from crypto.mailbox import Area, MailboxKeys
from peer.connectivity.relay_session import RelaySession
from peer.mail.mailbox import Mailbox
from protocol.relay_address import RelayAddress
from protocol.relay_links import dial_relay

ROOT: Final = Path(__file__).parent.parent.parent
CHANGESET_BYTES: Final = 810
"""A changeset with one rename (SPEC 10)."""
TOGETHER: Final = 1_000
"""As a device puts them after a while without a relay."""


async def linked(
    address: RelayAddress, secret: bytes, work: Callable[[Mailbox], Coroutine[Any, Any, None]]
) -> float:
    """Seconds that the work takes on a link and a mailbox of its own."""
    link = await dial_relay(address, DeviceKeys.generate(os.urandom))
    session = RelaySession(link, lambda ticket, prefix: None)
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(session.run())
        keys = MailboxKeys.from_secrets(secret, b"w" * 32, RelayId(address.relay_id))
        box = Mailbox(session, keys, EntryId(bytes(32)), os.urandom)
        assert await box.open()
        began_at = time.perf_counter()
        await work(box)
        took_s = time.perf_counter() - began_at
        running.cancel()
        link.abort()
    return took_s


async def measure(address: RelayAddress, count: int, devices: int) -> tuple[float, float]:
    """Changesets a second in and out, all devices together, each with a mailbox of its own."""
    secrets = [os.urandom(32) for _ in range(devices)]
    each = count // devices
    wire = os.urandom(CHANGESET_BYTES)

    async def put(box: Mailbox) -> None:
        for first in range(0, each, TOGETHER):
            numbers = range(first, min(first + TOGETHER, each))
            await box.put(Area.CHANGESETS, [(n.to_bytes(32, "big"), wire) for n in numbers])

    async def take(box: Mailbox) -> None:
        await box.look()
        groups = list(box.groups(Area.CHANGESETS))
        assert len(groups) == each
        for first in range(0, each, TOGETHER):
            some = groups[first : first + TOGETHER]
            assert len(await box.take(Area.CHANGESETS, some)) == len(some)

    rates = []
    for work in (put, take):
        took_s = await asyncio.gather(*(linked(address, secret, work) for secret in secrets))
        rates.append(each * devices / max(took_s))
    return rates[0], rates[1]


def processor_s(process: subprocess.Popen[str]) -> float:
    """Seconds of processor time that the relay has used."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Runs a relay and prints the rates."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--changesets", type=int, default=20_000)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=None, help="where the relay's home goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.directory) as home:
        words = ["--home", home, "relay", "run", "--listen", "127.0.0.1:0", "--json"]
        relay = subprocess.Popen(
            [sys.executable, "-m", "peer", *words], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        try:
            assert relay.stdout is not None
            address = RelayAddress.parse(json.loads(relay.stdout.readline())["address"])
            before_s = processor_s(relay)
            into, out = asyncio.run(measure(address, arguments.changesets, arguments.devices))
            used_s = processor_s(relay) - before_s
        finally:
            relay.terminate()
            relay.wait()
    print(f"{arguments.changesets} changesets, {arguments.devices} devices")
    print(f"in   {into:8,.0f} a second")
    print(f"out  {out:8,.0f} a second")
    print(
        f"relay {used_s / arguments.changesets * 1e6:,.0f} us of its processor for each, both ways"
    )


if __name__ == "__main__":
    main()
