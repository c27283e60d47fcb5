"""What is on its way, and how much of it is here."""

from __future__ import annotations

from pathlib import Path

from crypto.ids import ChunkId, LogId
from peer.control.transfer_requests import LISTED_MAX
from peer.folders.fetcher import Job
from protocol.nodes import Content, Kind, new_node_id
from tests.peer.device_stage import devices, folder_of


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
