"""What the disk refuses is looked at and tried again at once, not an hour later.

Nothing watches these disks and the next full scan is far away, so what is found is found for being
in the way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.peer.device_stage import until
from tests.peer.test_folder import Scene, in_sync, open_scene, running


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as scene:
        yield scene


async def test_what_is_in_the_way_is_found_and_makes_room(scene: Scene) -> None:
    one, two = scene.one, scene.two
    async with running(scene) as folder:
        await in_sync(folder)
        (one.root / "name").write_bytes(b"a person saved this")
        (two.root / "name").mkdir()
        await two.scan()
        folder.changesets_received(tuple(two.authored), "two", 1)
        await until(lambda: (one.root / "name").is_dir())
        await in_sync(folder)
        tree = one.tree()
    assert tree.pop("name") is None
    ((name, data),) = tree.items()
    assert name.startswith("name (conflict one ")
    assert data == b"a person saved this"


async def test_a_directory_that_was_taken_away_above_is_made_again(scene: Scene) -> None:
    """Only the listing of the directory above shows that one is gone."""
    one, two = scene.one, scene.two
    (one.root / "above" / "gone").mkdir(parents=True)
    async with running(scene) as folder:
        await in_sync(folder)
        wires = await folder.changesets(scene.own_log, 0, 1 << 20)
        await two.ingest(wires)
        await two.bring(one)
        (two.root / "above" / "gone" / "new").mkdir()
        await two.scan()
        (one.root / "above" / "gone").rmdir()
        folder.changesets_received(tuple(two.authored), "two", 1)
        await until(lambda: (one.root / "above" / "gone" / "new").is_dir())
        await in_sync(folder)
