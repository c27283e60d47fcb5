import errno
import os
import select
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.core.disk_types import Trouble
from peer.disk import syscalls, watcher
from peer.disk.watcher import InotifyWatcher, open_watcher


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for path in ("a/b/c", "d", ".holdfast/incoming"):
        (root / path).mkdir(parents=True)
    return root


@pytest.fixture
def watching(root: Path) -> Iterator[InotifyWatcher]:
    opened = open_watcher(str(root))
    assert isinstance(opened, InotifyWatcher)
    assert opened.watch([(), ("a",), ("a", "b"), ("a", "b", "c"), ("d",), (".holdfast",)]) == []
    yield opened
    opened.close()


def changed(watching: InotifyWatcher) -> dict[str, set[str]]:
    return {"/".join(path): names for path, names in watching.read().changed.items()}


def test_every_kind_of_change_is_hinted_by_name(watching: InotifyWatcher, root: Path) -> None:
    file = root / "a" / "f"
    file.write_text("new")
    assert changed(watching) == {"a": {"f"}}
    with file.open("a") as opened:
        opened.write("more")
        opened.flush()
        assert changed(watching) == {"a": {"f"}}
    assert changed(watching) == {"a": {"f"}}
    file.chmod(0o700)
    assert changed(watching) == {"a": {"f"}}
    file.rename(root / "d" / "g")
    assert changed(watching) == {"a": {"f"}, "d": {"g"}}
    (root / "d" / "g").unlink()
    assert changed(watching) == {"d": {"g"}}
    file.read_text() if file.exists() else os.listdir(root)
    assert changed(watching) == {}


def test_it_is_readable_when_there_is_something(watching: InotifyWatcher, root: Path) -> None:
    assert select.select([watching], [], [], 0) == ([], [], [])
    (root / "f").touch()
    assert select.select([watching], [], [], 0)[0] == [watching]
    watching.read()
    assert select.select([watching], [], [], 0) == ([], [], [])


def test_who_closes_what_they_wrote_is_noticed(watching: InotifyWatcher, root: Path) -> None:
    with (root / "f").open("w") as file:
        file.write("x")
        file.flush()
        assert watching.read().closed == set()
    assert watching.read().closed == {()}


def test_our_own_directory_is_silent(watching: InotifyWatcher, root: Path) -> None:
    (root / ".holdfast" / "incoming" / "t").write_text("x")
    (root / ".holdfast" / "t").write_text("x")
    (root / ".holdfast").chmod(0o700)
    assert changed(watching) == {}
    (root / ".holdfast" / "t").rename(root / "t")
    assert changed(watching) == {"": {"t"}}


def test_a_renamed_directory_keeps_its_watches(watching: InotifyWatcher, root: Path) -> None:
    (root / "a").rename(root / "d" / "z")
    assert changed(watching) == {"": {"a"}, "d": {"z"}}
    (root / "d" / "z" / "b" / "c" / "f").touch()
    assert changed(watching) == {"d/z/b/c": {"f"}}
    (root / "a").mkdir()
    (root / "a" / "new").touch()
    assert changed(watching) == {"": {"a"}, "a": set()}
    (root / "d" / "z" / "f").touch()
    (root / "a" / "f").touch()
    assert changed(watching) == {"d/z": {"f"}, "a": {"f"}}


def test_a_rename_whose_halves_are_read_apart(
    watching: InotifyWatcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").rename(root / "z")
    monkeypatch.setattr(watcher, "_READ_BYTES", 40)
    monkeypatch.setattr(watcher, "_READS_MAX", 1)
    assert changed(watching) == {"": {"a"}}
    assert changed(watching) == {"": {"z"}}
    monkeypatch.undo()
    (root / "z" / "b" / "f").touch()
    assert changed(watching) == {"z/b": {"f"}}


def test_what_left_the_folder_is_watched_no_more(
    watching: InotifyWatcher, root: Path, tmp_path: Path
) -> None:
    (root / "a").rename(tmp_path / "out")
    assert changed(watching) == {"": {"a"}}
    (tmp_path / "out" / "b" / "f").touch()
    assert changed(watching) == {}
    (tmp_path / "out" / "b" / "g").touch()
    assert select.select([watching], [], [], 0)[0] == [watching]  # the ends of the watches
    assert changed(watching) == {}
    (tmp_path / "out" / "b" / "h").touch()
    assert select.select([watching], [], [], 0) == ([], [], [])
    assert len(watching._place) == 2
    (tmp_path / "out").rename(root / "back")
    assert changed(watching) == {"": {"back"}, "back": set(), "back/b": set(), "back/b/c": set()}
    (root / "back" / "b" / "f").touch()
    assert changed(watching) == {"back/b": {"f"}}


def test_a_tree_that_comes_at_once_is_found_whole(
    watching: InotifyWatcher, root: Path, tmp_path: Path
) -> None:
    """mkdir -p, tar and git make what is inside before anybody can watch it."""
    (root / "n" / "m" / "o").mkdir(parents=True)
    (root / "n" / "m" / "f").touch()
    (root / "n" / "link").symlink_to(tmp_path)
    assert changed(watching) == {"": {"n"}, "n": set(), "n/m": set(), "n/m/o": set()}
    (root / "n" / "m" / "o" / "f").touch()
    assert changed(watching) == {"n/m/o": {"f"}}
    (tmp_path / "f").touch()
    assert changed(watching) == {}


def test_removed_trees_leave_nothing_behind(watching: InotifyWatcher, root: Path) -> None:
    shutil.rmtree(root / "a")
    assert changed(watching)[""] == {"a"}
    assert changed(watching) == {}
    assert len(watching._place) == 2
    assert watching._children == {watching._root_watch: {"d": watching._find(("d",))}}


def test_the_loss_of_the_root_is_said(watching: InotifyWatcher, root: Path) -> None:
    shutil.rmtree(root)
    assert watching.read().is_root_gone


def test_an_overflow_is_said(watching: InotifyWatcher, root: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    (root / "e").touch()
    (root / "f").touch()
    for _ in range(limit // 2 + 10):
        # Two files in turn, for the kernel merges an event with an equal one before it.
        os.chmod(root / "e", 0o600)
        os.chmod(root / "f", 0o600)
    has_overflowed = False
    while select.select([watching], [], [], 0)[0]:
        has_overflowed |= watching.read().has_overflowed
    assert has_overflowed


@pytest.mark.row("F37")
def test_watching_again_puts_right_what_an_overflow_hid(
    watching: InotifyWatcher, root: Path
) -> None:
    (root / "a").rename(root / "z")
    while select.select([watching], [], [], 0)[0]:
        os.read(watching.fileno(), 65_536)
    (root / "d").rename(root / "a")
    while select.select([watching], [], [], 0)[0]:
        os.read(watching.fileno(), 65_536)
    assert watching.watch([(), ("a",)]) == []
    (root / "z" / "f").touch()
    assert changed(watching) == {}
    assert watching.watch([("z",), ("z", "b"), ("z", "b", "c")]) == []
    (root / "a" / "f").touch()
    (root / "z" / "b" / "f").touch()
    assert changed(watching) == {"a": {"f"}, "z/b": {"f"}}


def test_the_limit_is_a_problem_with_a_cure(
    watching: InotifyWatcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(queue_fd: int, path: str, mask: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(syscalls, "inotify_add_watch", fail)
    (root / "n" / "m").mkdir(parents=True)
    hints = watching.read()
    assert [problem.path for problem in hints.unwatched] == [("n",)]
    assert hints.unwatched[0].trouble is Trouble.UNWATCHED
    assert "max_user_watches" in hints.unwatched[0].reason
    assert hints.changed == {(): {"n"}, ("n",): set()}
    monkeypatch.undo()
    (problem,) = watching.watch([("n", "m")])
    assert "parent" in problem.reason
    assert watching.watch([("n",), ("n", "m")]) == []


def test_what_is_gone_or_a_symlink_is_not_watched(
    watching: InotifyWatcher, root: Path, tmp_path: Path
) -> None:
    (root / "link").symlink_to(tmp_path)
    watching.read()
    assert watching.watch([("none",), ("link",)]) == []
    (tmp_path / "f").touch()
    assert changed(watching) == {}


def test_no_descriptor_is_left(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    opened = InotifyWatcher(str(root))
    opened.watch([(), ("a",)])
    opened.close()
    opened.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_rename_while_it_begins_to_watch_is_followed(
    watching: InotifyWatcher, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk's thread watches, and the event loop reads: the new name is noted last."""
    (root / "d" / "new").mkdir()
    watching.read()
    add = syscalls.inotify_add_watch
    reading = threading.Thread(target=watching.read)

    def rename_meanwhile(queue: int, path: str, mask: int) -> int:
        monkeypatch.setattr(syscalls, "inotify_add_watch", add)
        watch = add(queue, path, mask)
        (root / "d" / "new").rename(root / "d" / "renamed")
        reading.start()
        reading.join(0.2)  # it waits for us; where it does not, that is long enough for it
        return watch

    monkeypatch.setattr(syscalls, "inotify_add_watch", rename_meanwhile)
    watching.watch([("d", "new")])
    reading.join()
    watching.read()
    (root / "d" / "renamed" / "f").touch()
    assert changed(watching) == {"d/renamed": {"f"}}
