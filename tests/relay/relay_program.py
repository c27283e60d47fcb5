"""A relay that is a process of its own, as its operator starts it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from protocol.relay_address import RelayAddress
from tests.relay.relay_stage import LOOPBACK


class Program:
    """`holdfast relay ...` as a process of its own."""

    def __init__(self, home: Path, process: asyncio.subprocess.Process, address: str) -> None:
        self.home, self.process, self.text = home, process, address

    @property
    def address(self) -> RelayAddress:
        return RelayAddress.parse(self.text)

    async def stop(self, number: int = signal.SIGTERM) -> str:
        """What it logged, once it has ended."""
        self.process.send_signal(number)
        _, log = await asyncio.wait_for(self.process.communicate(), 60)
        return log.decode()


def words(command: str, home: Path, *more: str) -> list[str]:
    return [sys.executable, "-P", "-m", "relay", command, "--home", str(home), *more]


@asynccontextmanager
async def program(home: Path, config: str = "", port: int = 0) -> AsyncIterator[Program]:
    path = home.with_suffix(".toml")
    path.write_text(config)
    process = await asyncio.create_subprocess_exec(
        *words("run", home, "--host", LOOPBACK, "--port", str(port), "--json"),
        *("--config", str(path)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 60)
        if not line:
            _, errors = await process.communicate()
            raise AssertionError(errors.decode())
        yield Program(home, process, json.loads(line)["address"])
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
