"""The two pictures of the screen that the README shows.

python -m tests.tui.readme_pictures
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

import tui.app
from peer.status import FolderState
from tests.peer.fake_daemon import FakeDaemon
from tests.tui.snapshots import FILE, PLAIN_COPY, shown, the_same_everywhere
from tests.tui.stage import screen

SOURCES: Final = Path(tui.app.__file__).parent


async def draw_for_the_readme() -> None:
    """Two folders in sync, and a conflict."""
    with the_same_everywhere(), tempfile.TemporaryDirectory() as home:
        async with screen(Path(home), (100, 28)) as stage:
            make_well(stage.daemon)
            await stage.until(lambda: "2 of 2 in sync" in shown(stage))
            await stage.until(lambda: "on its way" not in shown(stage))
            (SOURCES / "screen.svg").write_text(stage.app.export_screenshot())
            stage.daemon.files.put("/data/photos/list.txt", FILE)
            stage.daemon.files.put("/data/photos/a", PLAIN_COPY)
            entry = stage.daemon.files._entry
            stage.daemon.files._entry = lambda path: {  # type: ignore[method-assign]
                **entry(path), "device": "mara" if path.endswith("/a") else "alpha",
                "written_s": 1_772_374_320 - 600 * path.endswith("list.txt"),
            }  # fmt: skip
            await stage.press("4")
            await stage.until(lambda: "Compare" in shown(stage))
            await stage.press("enter")
            await stage.until(lambda: "e Edit" in shown(stage))
            (SOURCES / "conflict.svg").write_text(stage.app.export_screenshot())


def make_well(daemon: FakeDaemon) -> None:
    """A device on which all is well, but for one conflict."""
    daemon.names, daemon.errors, daemon.state = ["letters", "photos"], [], FolderState.IN_SYNC
    status = daemon.status
    daemon.copies = [
        {"folder": "photos", "path": "list (conflict mara 2026-03-01 1412).txt",
         "place": "/data/photos/a", "original": "list.txt", "device": "mara",
         "written_s": 1_772_374_320, "size": len(PLAIN_COPY)}
    ]  # fmt: skip

    async def well() -> Any:
        found: Any = await status()
        for folder, files in zip(found["folders"], (118, 20_417), strict=True):
            folder.update(path=f"/data/{folder['name']}", need_files=0, need_bytes=0)
            folder.update(files=files, bytes=files * 2_400_000)
        found["links"][0].update(name="mara", device="12" * 32)
        return found

    async def devices() -> Any:
        this = (await status())["device"]
        return {"devices": [this, {**this, "id": "12" * 32, "name": "mara", "this": False}]}

    async def notifications(**asked: Any) -> Any:
        return {"notifications": [], "unread": 0}

    daemon.status, daemon.devices = well, devices  # type: ignore[method-assign]
    daemon.notifications = notifications  # type: ignore[method-assign]


if __name__ == "__main__":
    asyncio.run(draw_for_the_readme())
