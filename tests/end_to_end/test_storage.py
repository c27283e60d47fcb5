"""Nodes that are real processes: what one loses, killed or rotten, comes back."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from protocol.errors import LinkError
from protocol.storage_client import storing
from protocol.storage_messages import (
    Holder,
    ShareState,
    StoreStat,
    StoreStats,
    StoreUsage,
    StoreUsed,
)
from relay.errors import PathUnusable
from tests.relay.relay_program import Program, program, words
from tests.relay.relay_stage import LOOPBACK, new_keys
from tests.relay.storage_stage import FAR_S, Owner, Packed

PACKED = Packed.of(40, 1, 2, "of two nodes")


def config(tmp_path: Path, name: str) -> str:
    return f'[storage]\npath = "{tmp_path}/{name}"\nmeet_every_s = 1\nowner = "{name}"\n'


def shares(tmp_path: Path, name: str) -> list[Path]:
    return [path for path in (tmp_path / name / "shares").rglob("*") if path.is_file()]


@pytest.mark.row("F08", "F24")
async def test_what_rots_at_one_node_is_healed_from_the_other(tmp_path: Path) -> None:
    device, owner = new_keys(), Owner()
    async with (
        program(tmp_path / "a", config(tmp_path, "shares-a")) as one,
        program(tmp_path / "b", config(tmp_path, "shares-b")) as two,
    ):
        holders = [Holder(0, one.text), Holder(1, two.text)]
        for number, node in enumerate((one, two)):
            async with storing(node.address, device) as client:
                namespace = await owner.found_and_open(client)
                share = PACKED.shares[number]
                await client.put(namespace, PACKED.descriptor, number, share, FAR_S, holders)
        (path,) = shares(tmp_path, "shares-a")
        data = bytearray(path.read_bytes())
        data[5_000_000 % len(data)] ^= 1
        path.write_bytes(data)
        async with asyncio.timeout(120), storing(one.address, device) as client:
            namespace = await owner.open(client)
            assert (
                not await client.challenge(
                    namespace, PACKED.descriptor, 0, range(PACKED.descriptor.leaves)[-16:]
                )
                or path.read_bytes() == PACKED.shares[0]
            )
            used = StoreUsage(client.number(), namespace)
            while (await client.ask(used, StoreUsed)).healed == 0:
                for first in range(PACKED.descriptor.leaves):
                    await client.challenge(namespace, PACKED.descriptor, 0, [first])
                await asyncio.sleep(0.1)
            assert await client.fetch(namespace, PACKED.descriptor, 0) == PACKED.shares[0]
        assert path.read_bytes() == PACKED.shares[0]
        assert "a share was rebuilt" in await one.stop()
        assert await _is_quiet(two)


async def _is_quiet(node: Program) -> bool:
    return "Traceback" not in await node.stop()


def _has_begun(tmp_path: Path) -> bool:
    return any(path.stat().st_size for path in (tmp_path / "shares-a" / "incoming").iterdir())


@pytest.mark.row("F03")
async def test_a_node_that_is_killed_in_the_middle_of_a_put_is_gone_on_with(
    tmp_path: Path,
) -> None:
    device, owner = new_keys(), Owner()
    async with program(tmp_path / "a", config(tmp_path, "shares-a")) as node:
        port = node.address.port
        async with storing(node.address, device) as client:
            namespace = await owner.found_and_open(client)
            await client.put(namespace, PACKED.descriptor, 0, PACKED.shares[0], FAR_S, [])

            async def put() -> None:
                with suppress(LinkError):
                    share = PACKED.shares[1]
                    await client.put(namespace, PACKED.descriptor, 1, share, FAR_S, [])

            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                putting = tasks.create_task(put())
                while not _has_begun(tmp_path) and not putting.done():
                    await asyncio.sleep(0)
                await node.stop(signal.SIGKILL)
    async with program(tmp_path / "a", config(tmp_path, "shares-a"), port) as node:
        async with storing(node.address, device) as client:
            await owner.open(client)
            stat = StoreStat(client.number(), namespace, (PACKED.descriptor.id(),))
            stats = (await client.ask(stat, StoreStats)).stats
            assert stats[0].number == 0
            assert stats[0].state == ShareState.WHOLE
            await client.put(namespace, PACKED.descriptor, 1, PACKED.shares[1], FAR_S, [])
            for number in (0, 1):
                found = await client.fetch(namespace, PACKED.descriptor, number)
                assert found == PACKED.shares[number]
        assert await _is_quiet(node)
    assert len(shares(tmp_path, "shares-a")) == 2


async def test_a_disk_that_is_not_mounted_is_said_at_the_start(tmp_path: Path) -> None:
    device, owner = new_keys(), Owner()
    async with program(tmp_path / "a", config(tmp_path, "shares-a")) as node:
        async with storing(node.address, device) as client:
            namespace = await owner.found_and_open(client)
            await client.put(namespace, PACKED.descriptor, 0, PACKED.shares[0], FAR_S, [])
        await node.stop()
    (tmp_path / "shares-a").rename(tmp_path / "elsewhere")
    process = await asyncio.create_subprocess_exec(
        *words("run", tmp_path / "a", "--host", LOOPBACK, "--port", "0"),
        *("--config", str(tmp_path / "a.toml")),
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == PathUnusable.exit_code
    assert b"Is its disk mounted?" in said
    assert not (tmp_path / "shares-a").exists()
