"""A device, and nodes that keep its folder, in one process; a node can be lost, and can lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from peer.daemon import Daemon
from peer.status import BackupEntry
from protocol.relay_address import RelayAddress
from tests.peer.device_stage import DEADLINE_S, Stage
from tests.relay.relay_stage import RelayStage, relaying
from tests.relay.storage_stage import ROOMY


class Nodes:
    """Some relays that store, each with a home of its own."""

    def __init__(self, base: Path, stages: Sequence[RelayStage]) -> None:
        self.base, self.stages = base, list(stages)

    @property
    def addresses(self) -> list[RelayAddress]:
        return [stage.address for stage in self.stages]

    def files(self, number: int) -> list[Path]:
        """The shares that lie whole at a node."""
        root = self.base / f"node-{number}" / "shares" / "shares"
        return sorted(path for path in root.rglob("*") if path.is_file())


@asynccontextmanager
async def nodes(base: Path, count: int) -> AsyncIterator[Nodes]:
    """So many nodes."""
    async with AsyncExitStack() as stack:
        stages = []
        for number in range(count):
            home = base / f"node-{number}"
            home.mkdir(exist_ok=True)
            stages.append(await stack.enter_async_context(relaying(home=home, storage=ROOMY)))
        yield Nodes(base, stages)


async def until_kept(daemon: Daemon, health: str = "healthy", packs: int = 1) -> BackupEntry:
    """The first folder's copies, once all of it is stored with this health."""
    async with asyncio.timeout(2 * DEADLINE_S):
        while True:
            (entry,) = (await daemon.backups.every())["backups"]
            is_done = entry["state"] == "up to date" and entry["stored_until_s"]
            if is_done and entry["health"] == health and entry["packs"] >= packs:
                return entry
            await asyncio.sleep(0.05)


async def keep(stage: Stage, daemon: Daemon, some: Nodes, needed: int) -> BackupEntry:
    """Has the device keep its one folder, `f`, at all nodes."""
    await daemon.backups.add("f", some.addresses, needed, len(some.stages))
    return await until_kept(daemon)
