"""An index that somebody put back from a backup is older than what the home remembers, and is
noticed before anything is written by it (FAULTS F31).
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from peer.status import FolderState
from tests.peer.device_stage import copy_homes, devices, folder_of, make_homes, until
from tests.peer.folders.test_folder_setup import shows, start_both, synced


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two"))
    return base


@pytest.mark.parametrize("is_put_back", [True, False])
async def test_an_index_that_was_put_back_is_noticed_with_nobody_there(
    homes: Path, tmp_path: Path, is_put_back: bool
) -> None:
    copy_homes(homes, tmp_path)
    folder_id, before = await synced(tmp_path)
    index = tmp_path / "home-one" / "folders" / f"{folder_id.hex()}.db"
    backup = tmp_path / "backup"
    shutil.copy(index, backup)
    async with devices(tmp_path) as stage:
        one, _ = await start_both(stage)
        (stage.root("one") / "c").write_bytes(b"after the backup")
        await until(lambda: shows(stage.root("two"), "c", b"after the backup"))
        await until(lambda: folder_of(one).progress.state is FolderState.IN_SYNC)
    if is_put_back:
        # A log that the last reader left would be played back on top of it.
        index.with_name(f"{index.name}-wal").unlink(missing_ok=True)
        shutil.copy(backup, index)
    async with devices(tmp_path) as stage:
        one = await stage.start("one")
        aside = [path for path in index.parent.iterdir() if ".damaged-" in path.name]
        assert bool(aside) == is_put_back
        assert (folder_of(one).engine.incarnation != before) == is_put_back
        for name, data in (("a", b"of one"), ("b", b"of two"), ("c", b"after the backup")):
            assert shows(stage.root("one"), name, data)
