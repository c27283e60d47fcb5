"""The demo played against devices that sync by copying, honest and dishonest; and once for real."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peer.command_line import demo
from peer.command_line.demo_device import wait_until
from peer.command_line.demo_tree import list_tree
from peer.errors import DemoFailed, PeerError

STEPS = ["pair", "first sync", "edit", "rename", "delete", "conflict"]


class CopyingPair:
    """What two devices share: whenever somebody looks, both folders become the same."""

    def __init__(self) -> None:
        self.devices: dict[str, CopyingDevice] = {}
        self.is_offered = self.is_attached = self.is_paused = False
        self.sabotage: Callable[[Path], None] = lambda folder: None

    def sync(self) -> None:
        if not self.is_attached or self.is_paused:
            return
        alpha, beta = (self.devices[name].folder for name in ("alpha", "beta"))
        conflicts = self._conflicts(alpha, beta)
        shutil.rmtree(beta)
        shutil.copytree(alpha, beta, symlinks=True)
        for path, content in conflicts:
            name = f"{path.stem} (conflict beta 2026-01-01 1200){path.suffix}"
            for side in (alpha, beta):
                (side / path.parent / name).write_bytes(content)
        self.sabotage(beta)

    def _conflicts(self, alpha: Path, beta: Path) -> list[tuple[Path, bytes]]:
        """What only beta wrote; known by its words, as this pair keeps no versions."""
        found = []
        for path in list_tree(beta):
            file = beta / path
            if file.is_file() and file.read_bytes().startswith(b"Beta") and "(conf" not in path:
                found.append((Path(path), file.read_bytes()))
        return found


class CopyingDevice:
    """Has the face of a DemoDevice, and no daemon."""

    pair: CopyingPair

    def __init__(self, directory: Path, name: str) -> None:
        self.name, self.folder, self.address = name, directory / name, "127.0.0.1:1"
        self.client = self
        self.pair.devices[name] = self

    def command(self, *words: str) -> dict[str, Any]:
        return {"code": "7-a-b"} if words[0] == "invite" else {}

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def is_linked(self) -> bool:
        return True

    def status(self) -> Any:
        self.pair.sync()
        return {"totals": {"sent_bytes": 100}}

    def folder_status(self) -> Any:
        self.pair.sync()
        if not self.pair.is_offered:
            return None
        tree = list_tree(self.pair.devices["alpha"].folder)
        files = sum(entry.kind != "directory" for entry in tree.values())
        size_bytes = sum(entry.size_bytes for entry in tree.values())
        needed = {
            "name": demo.FOLDER_NAME,
            "need_files": 0,
            "need_bytes": 0,
            "state": "in sync",
            "errors": [],
        }
        return {"files": files, "bytes": size_bytes} | needed

    def add_folder(self, path: Path, name: str) -> None:
        self.pair.is_offered = True

    def attach_folder(self, name: str, path: Path) -> None:
        self.pair.is_attached = True

    def pause(self, name: str) -> None:
        self.pair.is_paused = True

    def resume(self, name: str) -> None:
        self.pair.is_paused = False


@pytest.fixture
def pair(monkeypatch: pytest.MonkeyPatch) -> CopyingPair:
    pair = CopyingPair()
    monkeypatch.setattr(demo, "DemoDevice", type("Device", (CopyingDevice,), {"pair": pair}))

    def look(is_so: Callable[[], bool], what: str, timeout_s: float) -> None:
        def is_so_now() -> bool:
            pair.sync()
            return is_so()

        wait_until(is_so_now, what, timeout_s)

    monkeypatch.setattr(demo, "wait_until", look)
    monkeypatch.setattr(demo, "STEP_TIMEOUT_S", 0.2)
    monkeypatch.setattr(demo, "STALL_S", 0.2)
    return pair


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, files in (("big", 8), ("small", 2)):
        (tmp_path / "source" / name).mkdir(parents=True)
        for number in range(files):
            (tmp_path / "source" / name / f"{number}.txt").write_text(f"{name} {number}\n" * 99)
    (tmp_path / "source" / "page.txt").write_text("a page\n")
    return tmp_path / "source"


def test_every_step_is_played_and_cleaned_up(
    pair: CopyingPair, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list_tree(source)
    report = demo.run_demo(source, is_quiet=False)
    assert report.failure is None
    assert [step["name"] for step in report.as_data()["steps"]] == STEPS
    assert not pair.devices["alpha"].folder.parent.exists()
    assert list_tree(source) == before
    report.show()
    shown = capsys.readouterr().out
    assert "scraps/, 5 names beneath it" in shown
    assert "big/, 8 names beneath it" in shown
    assert "Everything is the same" in shown


def test_quiet_says_nothing(
    pair: CopyingPair, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.run_demo(source, is_quiet=True).as_data()["is_verified"]
    assert capsys.readouterr() == ("", "")


def turn_a_byte(folder: Path) -> None:
    page = folder / "big" / "7.txt"
    if page.exists():
        page.write_text(page.read_text().replace("7", "8"))


def lose_conflict_copies(folder: Path) -> None:
    for path in folder.rglob("* (conflict *"):
        path.unlink()


@pytest.mark.parametrize(
    ("sabotage", "step"),
    [
        (turn_a_byte, "first sync"),
        (lambda folder: shutil.rmtree(folder / "small", ignore_errors=True), "first sync"),
        (lambda folder: (folder / "big (renamed)").exists() and (folder / "big").mkdir(), "rename"),
        (lambda folder: (folder / "scraps").mkdir(exist_ok=True), "delete"),
        (lose_conflict_copies, "conflict"),
    ],
)
def test_what_is_not_the_same_fails_its_step(
    pair: CopyingPair, source: Path, sabotage: Callable[[Path], None], step: str
) -> None:
    pair.sabotage = sabotage
    report = demo.run_demo(source, is_quiet=True)
    assert isinstance(report.failure, DemoFailed)
    assert str(report.failure).startswith(f"{step}: ")
    assert [one.name for one in report.steps] == STEPS[: STEPS.index(step)]


def test_a_sync_that_stands_still_fails(pair: CopyingPair, source: Path) -> None:
    pair.sync = lambda: None  # type: ignore[method-assign]
    report = demo.run_demo(source, is_quiet=True)
    assert isinstance(report.failure, DemoFailed)


def test_what_a_device_refuses_is_told(
    pair: CopyingPair, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(device: CopyingDevice, *words: str) -> dict[str, Any]:
        raise PeerError("There is no more.")

    monkeypatch.setattr(CopyingDevice, "command", refuse)
    report = demo.run_demo(source, is_quiet=True)
    assert str(report.failure) == "There is no more."
    assert report.as_data() == {"steps": [], "is_verified": False}


def test_for_real_with_two_daemons(source: Path) -> None:
    report = demo.run_demo(source, is_quiet=True)
    assert report.failure is None, str(report.failure)
    assert [step.name for step in report.steps] == STEPS
