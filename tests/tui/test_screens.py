"""Every screen, small and large, dark and light, in front of names that want to steer it: it is
what its picture is, and steers nothing.
"""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

import pytest

from peer.command_line.terminal import term_safe
from tests.peer.fake_daemon import BACKUP, LINK, NOTICE
from tests.tui.snapshots import SIZES, Scene, described, name_of, read, scenes_of, shown, write
from tests.tui.stage import screen


def difference(old: Scene, new: Scene) -> str:
    return "\n".join(unified_diff(described(old), described(new), "kept", "now", lineterm="", n=0))


@pytest.mark.row("A37")
@pytest.mark.parametrize("size", SIZES)
async def test_every_screen_is_what_its_picture_is_and_steers_nothing(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    kept = read(name_of(size))
    seen = set()
    async for name, scene in scenes_of(tmp_path, size, kept, None):
        seen.add(name)
        assert all(term_safe(line) == line for line in scene.text), name
        assert len(scene.text) == size[1]
        assert name in kept, f"{name} is new: python -m tests.tui.snapshots draws it"
        if scene != kept[name]:
            pytest.fail(
                f"{name} has changed; if it is as it should be, python -m tests.tui.snapshots"
                f" keeps it:\n{difference(kept[name], scene)}"
            )
    assert seen == kept.keys()


def test_what_is_kept_is_what_was_seen(tmp_path: Path) -> None:
    runs = ((3, "#000000 on #ffffff bold"), (2, "plain"))
    one = Scene(("abc", "", "|x"), ((runs, runs, ((5, "plain"),)), (runs[:1],) * 3))
    other = Scene(("abd", "", "|x"), one.styles)
    write(tmp_path / "kept", {"a screen": one, "b": other})
    assert read(tmp_path / "kept") == {"a screen": one, "b": other}
    assert difference(one, other).split("\n")[3:] == ["- 0 |abc", "+ 0 |abd"]


async def test_names_are_read_as_no_markup_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Brackets in names are no control characters, and end a screen that reads them as styles."""
    name = "[/x][red]"
    monkeypatch.setitem(NOTICE, "text", f"In {name}, two edits were kept.")
    monkeypatch.setitem(LINK, "name", name)
    monkeypatch.setitem(BACKUP, "folder", name)
    monkeypatch.setitem(BACKUP, "problem", name)
    async with screen(tmp_path, (120, 40)) as stage:
        daemon = stage.daemon
        daemon.names, daemon.errors = [name], [{"path": name, "reason": name}]
        daemon.copies[0].update({"path": name, "original": name, "device": name, "folder": name})
        daemon.transfers.entries[0].update({"path": name, "folder_id": name.encode().hex()})
        daemon.question = f"{name} are gone. Was it meant?"
        daemon.files.put("/data/photos/a", name.encode())
        await stage.until(lambda: name in stage.text("question"))
        for keys in (
            "1", "d", "n", "v", "escape", "3", "4", "enter", "escape", "6", "7", "enter", "escape",
            "d", "n", "8", "d", "n", "slash", "n", "escape", "l", "escape", "comma", "escape", "1",
        ):  # fmt: skip
            await stage.press(keys)
            if keys.isdigit():
                await stage.until(lambda: name in shown(stage))
