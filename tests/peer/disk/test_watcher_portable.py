import select
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peer.disk import watcher_portable
from peer.disk.watcher_portable import PortableWatcher


@dataclass
class Event:
    """The fields of watchdog's events that are looked at."""

    event_type: str
    src_path: str | bytes
    is_directory: bool = False
    dest_path: str | bytes = ""


class Observer:
    """Watchdog's observer, without its thread."""

    def __init__(self) -> None:
        self.handler: object = None
        self.is_running = False

    def schedule(self, handler: object, path: str, *, recursive: bool) -> None:
        assert recursive
        self.handler = handler

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def join(self, timeout: float) -> None:
        assert timeout > 0


@pytest.fixture
def watching(tmp_path: Path) -> Iterator[PortableWatcher]:
    observer = Observer()
    opened = PortableWatcher(str(tmp_path), observer)
    assert observer.handler is opened
    assert observer.is_running
    yield opened
    opened.close()
    assert not observer.is_running


def test_events_become_hints(watching: PortableWatcher, tmp_path: Path) -> None:
    root = str(tmp_path)
    assert watching.watch([()]) == []
    watching.dispatch(Event("modified", f"{root}/a/f"))
    watching.dispatch(Event("moved", f"{root}/a/g", dest_path=f"{root}/h".encode()))
    watching.dispatch(Event("created", f"{root}/n", is_directory=True))
    watching.dispatch(Event("created", f"{root}/n/f"))
    watching.dispatch(Event("opened", f"{root}/read"))
    watching.dispatch(Event("modified", f"{root}/.holdfast/incoming/t"))
    watching.dispatch(Event("modified", "/elsewhere/f"))
    watching.dispatch(Event("modified", f"{root}", is_directory=True))
    assert select.select([watching], [], [], 0)[0] == [watching]
    hints = watching.read()
    assert hints.changed == {("a",): {"f", "g"}, (): {"h", "n"}, ("n",): set()}
    assert not hints.has_overflowed
    assert not hints.is_root_gone
    assert select.select([watching], [], [], 0) == ([], [], [])
    assert watching.read().changed == {}


def test_the_loss_of_the_root_is_said(watching: PortableWatcher, tmp_path: Path) -> None:
    watching.dispatch(Event("deleted", str(tmp_path), is_directory=True))
    assert watching.read().is_root_gone


def test_too_many_hints_are_an_overflow(
    watching: PortableWatcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watcher_portable, "_PENDING_MAX", 1_000)
    for number in range(2_000):
        watching.dispatch(Event("created", f"{tmp_path}/f{number}"))
    hints = watching.read()
    assert hints.has_overflowed
    assert len(hints.changed) == 0
    watching.dispatch(Event("created", f"{tmp_path}/f"))
    assert watching.read().changed == {(): {"f"}}


def test_an_event_after_the_end_is_no_trouble(tmp_path: Path) -> None:
    opened = PortableWatcher(str(tmp_path), Observer())
    opened.close()
    opened.dispatch(Event("created", f"{tmp_path}/f"))
