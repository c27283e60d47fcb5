"""What is on its way, and how much of it is here."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from crypto.ids import ChunkId, LogId
from peer.control.transfer_requests import LISTED_MAX
from peer.errors import NotInFolder, NotOnItsWay
from peer.folders.fetcher import Job
from peer.status import FolderState
from protocol.nodes import Content, Kind, new_node_id
from tests.peer.device_stage import devices, folder_of, shows, until, until_state


async def test_what_is_here_of_each_file_is_counted(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        daemon = await stage.found("one")
        await daemon.add_folder(stage.root("one"), "f")
        folder = folder_of(daemon)
        fetcher = folder.fetcher
        assert fetcher is not None
        assert await daemon.transfers.listed() == {"transfers": [], "more": 0, "under_way": []}

        def put(size: int, lacking: int, *, is_begun: bool = False) -> None:
            node = new_node_id(Kind.FILE, folder.engine.random)
            chunk_id = ChunkId(node + node)
            content = Content((), 0, LogId(node), node, size)
            job = Job((node, node), content, "t", {chunk_id: [(0, lacking)]}, is_begun=is_begun)
            fetcher.jobs[job.key] = job

        put(10, 10)
        put(100, 100)
        put(50, 20, is_begun=True)
        answer = await daemon.transfers.listed()
        told = [(one["size"], one["done_bytes"]) for one in answer["transfers"]]
        assert told == [(50, 30), (100, 0), (10, 0)]
        assert {one["folder"] for one in answer["transfers"]} == {"f"}
        for _ in range(LISTED_MAX):
            put(1, 1)
        answer = await daemon.transfers.listed()
        assert (len(answer["transfers"]), answer["more"]) == (LISTED_MAX, 3)
        fetcher.jobs.clear()


async def test_one_file_is_paused_stays_so_over_a_restart_and_goes_on(tmp_path: Path) -> None:
    """It is named by where it is to be, long before anything of it is on this disk."""
    large = b"x" * 700_000
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        two = await stage.join(one, "two")
        await stage.meet(one, two)
        await stage.share(one, two)
        await until_state(two, FolderState.IN_SYNC)
        (stage.root("one") / "d").mkdir()
        (stage.root("one") / "d" / "large").write_bytes(large)
        with pytest.MonkeyPatch.context() as patch:
            read, may_read = folder_of(one).read_chunks, asyncio.Event()

            async def later(ids: Sequence[ChunkId]) -> list[bytes | None]:
                await may_read.wait()
                return await read(ids)

            patch.setattr(folder_of(one), "read_chunks", later)
            fetcher = folder_of(two).fetcher
            assert fetcher is not None
            await until(lambda: fetcher.jobs)
            place = stage.root("two") / "d" / "large"
            (entry,) = (await two.transfers.listed())["transfers"]
            assert (entry["path"], entry["paused"]) == ("d/large", False)
            await two.transfers.pause(place)
            await until_state(two, FolderState.PARTLY_PAUSED)
            may_read.set()
        (entry,) = (await two.transfers.listed())["transfers"]
        assert (entry["path"], entry["paused"]) == ("d/large", True)
        (folder,) = (await two.status())["folders"]
        assert (folder["paused_files"], folder["paused_bytes"]) == (1, len(large))
        assert (folder["need_files"], folder["need_bytes"], folder["errors"]) == (1, 0, [])
        with pytest.raises(NotOnItsWay):
            await two.transfers.pause(stage.root("two") / "d" / "other")
        with pytest.raises(NotInFolder):
            await two.transfers.pause(tmp_path / "other")
    async with devices(tmp_path) as stage:
        one, two = await stage.start("one"), await stage.start("two")
        await stage.meet(one, two)
        (stage.root("one") / "small").write_bytes(b"1")
        await until(lambda: shows(stage.root("two"), "small", b"1"))
        await until_state(two, FolderState.PARTLY_PAUSED)
        assert not place.exists()
        await two.transfers.resume(place)
        await until(lambda: shows(stage.root("two"), "d/large", large))
        await until_state(two, FolderState.IN_SYNC)
        assert "paused_files" not in (await two.status())["folders"][0]
