"""What is to be stored is what is on this disk: each chunk of each file, and each changeset."""

from __future__ import annotations

import os
from pathlib import Path

from peer.status import FolderState
from protocol.changesets import decode_changeset
from tests.peer.device_stage import devices, folder_of, until


async def test_chunks_come_file_by_file_and_changesets_log_by_log(tmp_path: Path) -> None:
    async with devices(tmp_path) as stage:
        one = await stage.found("one")
        root = stage.root("one")
        small, large = os.urandom(1000), os.urandom(3 << 20)
        (root / "small").write_bytes(small)
        (root / "large").write_bytes(large)
        (root / "empty").write_bytes(b"")
        (root / "link").symlink_to("small")
        await one.add_folder(root, "f")
        folder = folder_of(one)
        await until(lambda: folder.progress.state is FolderState.IN_SYNC)
        chunks = [chunk async for some in folder.store.wanted.chunks() for chunk in some]
        assert sum(length for _, length in chunks) == len(small) + len(large)
        assert len(chunks) > 5
        data: list[bytes] = []
        for id_, _ in chunks:
            (read,) = await folder.read_chunks([id_])
            data.append(read or b"")
        whole = b"".join(data)
        assert whole in (small + large, large + small)
        changesets = [each async for some in folder.store.wanted.changesets() for each in some]
        assert [decode_changeset(wire).hash for _, wire in changesets] == [h for h, _ in changesets]
        assert len(changesets) == sum(entry.seq for entry in folder.engine.frontier)
