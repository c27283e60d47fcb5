import errno
import itertools
import os
import stat as status
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from peer.core.disk_types import (
    Kind,
    MakeDirectory,
    Move,
    Operation,
    Problem,
    Publish,
    RangeRequest,
    ReadRequest,
    Refusal,
    RefusalKind,
    Remove,
    RemoveDirectory,
    SetExecutable,
    SetMtime,
    StageFile,
    Stat,
)
from peer.disk import renames, syscalls, writer
from peer.disk.directories import Directories
from peer.disk.disk import PosixDisk
from peer.folders.index_store import IndexStore
from peer.folders.performing import Performer
from tests.peer.real_disk import contents, is_refusal, open_disk, publish, stage, stat


@pytest.fixture(params=["renameat2", "links"])
def disk(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[PosixDisk]:
    if request.param == "links":
        monkeypatch.setattr(syscalls, "_renameat2", None)
    disk = open_disk(tmp_path / "root")
    yield disk
    disk.close()


@pytest.fixture
def root(disk: PosixDisk, tmp_path: Path) -> Path:
    return tmp_path / "root"


def do(disk: PosixDisk, operation: Operation) -> Stat:
    (result,) = disk.apply([operation])
    assert isinstance(result, Stat), result
    return result


def refuse(disk: PosixDisk, operation: Operation) -> Refusal:
    (result,) = disk.apply([operation])
    return is_refusal(result)


def seen(root: Path) -> dict[str, bytes]:
    """What a person sees, and under `trash` what was kept."""
    return {
        path.removeprefix(".holdfast/"): data
        for path, data in contents(root).items()
        if path != ".holdfast/folder-id"
    }


def test_a_new_file_takes_its_place(disk: PosixDisk, root: Path) -> None:
    result = publish(disk, b"new", ("a",))
    assert result == stat(disk, "a")
    assert seen(root) == {"a": b"new"}


def test_a_new_file_never_takes_anothers(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"theirs")
    refusal = is_refusal(publish(disk, b"new", ("a",)))
    assert refusal.kind is RefusalKind.EXISTS
    assert refusal.actual == stat(disk, "a")
    assert seen(root) == {"a": b"theirs", "incoming/temp": b"new"}


def test_a_known_file_is_replaced(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    result = publish(disk, b"new", ("a",), stat(disk, "a"))
    assert result == stat(disk, "a")
    assert seen(root) == {"a": b"new"}


def test_what_is_replaced_is_kept_if_asked(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    publish(disk, b"new", ("a",), stat(disk, "a"), keep="v1")
    assert seen(root) == {"a": b"new", "trash/v1": b"old"}
    refusal = is_refusal(publish(disk, b"newer", ("a",), stat(disk, "a"), keep="v1"))
    assert refusal.kind is RefusalKind.EXISTS
    assert seen(root) == {"a": b"new", "trash/v1": b"old", "incoming/temp": b"newer"}


def test_a_changed_file_is_not_replaced(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"old")
    expected = stat(disk, "a")
    (root / "a").write_bytes(b"mine")
    refusal = is_refusal(publish(disk, b"new", ("a",), expected))
    assert refusal == (RefusalKind.CHANGED, refusal.reason, stat(disk, "a"))
    (root / "a").unlink()
    assert is_refusal(publish(disk, b"new", ("a",), expected)).kind is RefusalKind.GONE
    (root / "a").mkdir()
    assert is_refusal(publish(disk, b"new", ("a",), expected)).kind is RefusalKind.CHANGED
    refusal = is_refusal(publish(disk, b"new", ("a",), stat(disk, "a")))
    assert refusal.kind is RefusalKind.CHANGED


def test_a_time_can_be_set_on_the_way(disk: PosixDisk) -> None:
    assert do(disk, Publish(stage(disk, b"new"), ("a",), None, mtime_ns=5 * 10**17)).mtime_ns == (
        5 * 10**17
    )


def test_nothing_staged_nothing_published(disk: PosixDisk) -> None:
    assert refuse(disk, Publish("none", ("a",), None)).kind is RefusalKind.UNSTAGED


def after(
    monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], object], *, times: int = 1
) -> None:
    """Lets somebody act right after a look of the writer's at the disk: the worst moment."""
    real = getattr(writer.Writer, name)
    left = [times]

    def with_race(self: writer.Writer, *args: object, **kwargs: object) -> object:
        result = real(self, *args, **kwargs)
        if left[0]:
            left[0] -= 1
            act()
        return result

    monkeypatch.setattr(writer.Writer, name, with_race)


@pytest.mark.row("F20")
def test_a_save_at_the_last_moment_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS F20. Only where names can be swapped: links leave a window here, as `renames` says."""
    root = tmp_path / "root"
    disk = open_disk(root)
    for save in (
        lambda: (root / "a").write_bytes(b"mine"),
        lambda: ((root / "b").write_bytes(b"mine"), (root / "b").rename(root / "a")),
    ):
        (root / "a").write_bytes(b"old")
        expected = stat(disk, "a")
        with monkeypatch.context() as patch:
            after(patch, "_require", save)
            refusal = is_refusal(publish(disk, b"new", ("a",), expected))
        assert refusal.kind is RefusalKind.CHANGED
        assert seen(root) == {"a": b"mine", "incoming/temp": b"new"}


def test_a_save_in_place_at_the_last_moment_is_not_overwritten_with_links(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    expected = stat(disk, "a")
    after(monkeypatch, "_require", lambda: (root / "a").write_bytes(b"mine"))
    assert is_refusal(publish(disk, b"new", ("a",), expected)).kind is RefusalKind.CHANGED
    assert seen(root) == {"a": b"mine", "incoming/temp": b"new"}


@pytest.mark.row("F20")
def test_a_save_at_the_last_moment_is_not_removed(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    after(monkeypatch, "_require", lambda: (root / "a").write_bytes(b"mine"))
    assert refuse(disk, Remove(("a",), stat(disk, "a"))).kind is RefusalKind.CHANGED
    assert seen(root) == {"a": b"mine"}


def test_two_saves_at_the_last_moment_are_both_there(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    expected = stat(disk, "a")
    after(monkeypatch, "_require", lambda: (root / "a").write_bytes(b"mine"))
    real_move = renames.move_noreplace

    def move(source_fd: int, source: str, target_fd: int, target: str) -> None:
        real_move(source_fd, source, target_fd, target)
        if source == "a":
            (root / "a").write_bytes(b"second")

    monkeypatch.setattr(writer, "move_noreplace", move)
    refusal = refuse(disk, Remove(("a",), expected, keep="kept"))
    assert refusal.kind is RefusalKind.CHANGED
    (trashed,) = set(seen(root)) - {"a"}
    assert trashed.startswith("trash/going-")
    assert trashed.removeprefix("trash/") in refusal.reason
    assert seen(root) == {"a": b"second", trashed: b"mine"}


@pytest.mark.row("F20")
@pytest.mark.parametrize("is_in_place", [True, False])
async def test_a_save_over_what_was_put_there_for_a_moment_is_no_staged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_in_place: bool
) -> None:
    """A first save came before the swap, so it is swapped back, and a second one before that."""
    root = tmp_path / "root"
    disk = open_disk(root)
    (root / "a").write_bytes(b"old")
    expected = stat(disk, "a")
    after(monkeypatch, "_require", lambda: (root / "a").write_bytes(b"first save"))
    real, swaps = renames.can_exchange, 0

    def exchange(source_fd: int, source: str, target_fd: int, target: str) -> bool:
        nonlocal swaps
        swaps += 1
        if swaps == 2:
            assert (root / "a").read_bytes() == b"new"
            (root / ("a" if is_in_place else "b")).write_bytes(b"second save")
            if not is_in_place:
                (root / "b").rename(root / "a")
        return real(source_fd, source, target_fd, target)

    monkeypatch.setattr(writer, "can_exchange", exchange)
    refusal = is_refusal(publish(disk, b"new", ("a",), expected))
    assert refusal.kind is RefusalKind.CHANGED
    (trashed,) = set(seen(root)) - {"a"}
    assert trashed.removeprefix("trash/") in refusal.reason
    assert seen(root) == {"a": b"first save", trashed: b"second save"}
    performer = Performer(cast(IndexStore, None), disk, None)
    await performer.empty_trash()
    performer.executor.shutdown()
    assert sorted(seen(root).values()) == [b"first save", b"second save"]
    assert not any("trash" in name for name in seen(root))


def test_a_save_at_the_last_moment_is_not_moved(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    after(monkeypatch, "_require", lambda: (root / "a").write_bytes(b"mine"))
    assert refuse(disk, Move(("a",), ("b",), stat(disk, "a"))).kind is RefusalKind.CHANGED
    assert seen(root) == {"a": b"mine"}


def test_removal(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    (root / "b").symlink_to("a")
    (root / "c").write_bytes(b"3")
    for path in ("a", "b"):
        before = stat(disk, path)
        assert do(disk, Remove((path,), before)) == before
        assert refuse(disk, Remove((path,), before)).kind is RefusalKind.GONE
    do(disk, Remove(("c",), stat(disk, "c"), keep="c1"))
    assert seen(root) == {"trash/c1": b"3"}
    (root / "d").mkdir()
    assert refuse(disk, Remove(("d",), stat(disk, "d"))).kind is RefusalKind.CHANGED


def test_the_trash_is_emptied_and_restored_from(disk: PosixDisk, root: Path) -> None:
    for name in "ab":
        (root / name).write_bytes(name.encode())
        do(disk, Remove((name,), stat(disk, name), keep=name))
    (listing,) = disk.list_directories([(".holdfast", "trash")])
    kept = dict(listing.entries or ())
    do(disk, Remove((".holdfast", "trash", "a"), kept["a"]))
    do(disk, Move((".holdfast", "trash", "b"), ("b",), kept["b"]))
    assert seen(root) == {"b": b"b"}


def test_moves(disk: PosixDisk, root: Path) -> None:
    (root / "d" / "sub").mkdir(parents=True)
    (root / "d" / "sub" / "f").write_bytes(b"1")
    (root / "f").write_bytes(b"2")
    operations: list[Operation] = [
        Move(("d",), ("e",), stat(disk, "d")),
        Move(("f",), ("e", "sub", "g"), stat(disk, "f")),
        MakeDirectory(("d",)),
        Move(("e", "sub"), ("d", "sub"), stat(disk, "d", "sub")),
    ]
    results = disk.apply(operations)
    assert [type(result) for result in results] == [Stat] * 4
    assert seen(root) == {"d/sub/f": b"1", "d/sub/g": b"2"}


def test_a_path_is_what_it_is_now_within_a_batch(disk: PosixDisk, root: Path) -> None:
    """An open directory follows its inode; the path may be another one's by the next operation."""
    (root / "d").mkdir()
    moved = stat(disk, "d")
    operations: list[Operation] = [
        MakeDirectory(("d", "first")),
        Move(("d",), ("e",), moved),
        MakeDirectory(("d",)),
        MakeDirectory(("d", "second")),
        MakeDirectory(("f",)),
        MakeDirectory(("f", "third")),
        RemoveDirectory(("f", "third")),
        RemoveDirectory(("f",)),
        MakeDirectory(("f",)),
        MakeDirectory(("f", "fourth")),
    ]
    assert [type(result) for result in disk.apply(operations)] == [Stat] * len(operations)
    found = [os.listdir(root / name) for name in "def"]
    assert found == [["second"], ["first"], ["fourth"]]


def test_two_change_places_by_way_of_the_parking(disk: PosixDisk, root: Path) -> None:
    """Planned in one go: no stat in it knows what the operations before make of its file."""
    (root / "d").mkdir()
    for path in ("a", "b", "d/f"):
        (root / path).write_bytes(path.encode())
    a, b, d, f = (stat(disk, *path) for path in (("a",), ("b",), ("d",), ("d", "f")))
    park_a, park_d = (".holdfast", "parked", "a"), (".holdfast", "parked", "d")
    operations: list[Operation] = [
        Move(("a",), park_a, a),
        Move(("b",), ("a",), b),
        Move(park_a, ("b",), a),
        SetExecutable(("b",), True, a),
        SetMtime(("b",), 10**18, a),
        Move(("d",), park_d, d),
        Move((*park_d, "f"), ("d",), f),
        RemoveDirectory(park_d),
        Remove(("d",), f),
    ]
    results = disk.apply(operations)
    assert [type(result) for result in results] == [Stat] * len(operations), results
    assert seen(root) == {"a": b"b", "b": b"a"}
    assert stat(disk, "b")._replace(ctime_ns=0) == results[4]
    assert stat(disk, "b").executable


def test_what_a_crash_left_parked_comes_back(disk: PosixDisk, root: Path) -> None:
    (root / "a").write_bytes(b"1")
    before = stat(disk, "a")
    do(disk, Move(("a",), (".holdfast", "parked", "x"), before))
    (listing,) = disk.list_directories([(".holdfast", "parked")])
    assert [name for name, _ in listing.entries or ()] == ["x"]
    do(disk, Move((".holdfast", "parked", "x"), ("a",), before))
    assert seen(root) == {"a": b"1"}


def test_what_others_change_between_two_operations_is_seen(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a").write_bytes(b"old")
    before = stat(disk, "a")
    after(monkeypatch, "_result", lambda: (root / "b").write_bytes(b"mine"))
    moved, refused = disk.apply([Move(("a",), ("b",), before), Remove(("b",), before)])
    assert isinstance(moved, Stat)
    assert is_refusal(refused).kind is RefusalKind.CHANGED
    assert seen(root) == {"b": b"mine"}


def test_moves_that_cannot_be(disk: PosixDisk, root: Path) -> None:
    (root / "d").mkdir()
    (root / "empty").mkdir()
    (root / "f").write_bytes(b"1")
    (root / "g").write_bytes(b"2")
    for source, target, kind in (
        ("f", ("g",), RefusalKind.EXISTS),
        ("f", ("d",), RefusalKind.EXISTS),
        ("d", ("empty",), RefusalKind.EXISTS),
        ("d", ("d", "inside"), RefusalKind.ERROR),
        ("f", ("none", "f"), RefusalKind.GONE),
        ("f", ("g", "f"), RefusalKind.CHANGED),
        ("f", ("x" * 300,), RefusalKind.ERROR),
        ("f", (".holdfast", "f"), RefusalKind.ERROR),
        ("f", ("..", "f"), RefusalKind.ERROR),
    ):
        refusal = refuse(disk, Move((source,), target, stat(disk, source)))
        assert refusal.kind is kind, (source, target, refusal)
        assert refusal.reason.endswith(".")
    wrong = stat(disk, "f")._replace(size=9)
    assert refuse(disk, Move(("f",), ("h",), wrong)).kind is RefusalKind.CHANGED
    assert seen(root) == {"f": b"1", "g": b"2"}
    assert (root / "empty").is_dir()


def test_directories_are_made_and_removed(disk: PosixDisk, root: Path) -> None:
    made = do(disk, MakeDirectory(("d",)))
    assert made.kind is Kind.DIRECTORY
    again = refuse(disk, MakeDirectory(("d",)))
    assert again.kind is RefusalKind.EXISTS
    assert again.actual is not None
    assert again.actual[:3] == made[:3]
    assert do(disk, RemoveDirectory(("d",)))[:3] == made[:3]
    assert refuse(disk, RemoveDirectory(("d",))).kind is RefusalKind.GONE


def test_only_litter_goes_with_a_directory(disk: PosixDisk, root: Path) -> None:
    (root / "d").mkdir()
    (root / "d" / ".DS_Store").write_bytes(b"litter")
    (root / "d" / "mine").write_bytes(b"mine")
    refusal = refuse(disk, RemoveDirectory(("d",)))
    assert refusal.kind is RefusalKind.NOT_EMPTY
    assert "mine" in refusal.reason
    assert seen(root) == {"d/.DS_Store": b"litter", "d/mine": b"mine"}
    (root / "d" / "mine").unlink()
    do(disk, RemoveDirectory(("d",)))
    assert not (root / "d").exists()
    (root / "d" / "Thumbs.db" / "x").mkdir(parents=True)
    assert refuse(disk, RemoveDirectory(("d",))).kind is RefusalKind.NOT_EMPTY


def test_attributes(disk: PosixDisk, root: Path) -> None:
    (root / "f").write_bytes(b"1")
    (root / "f").chmod(0o4640)
    (root / "s").symlink_to("f")
    assert do(disk, SetExecutable(("f",), True, stat(disk, "f"))).executable
    assert status.S_IMODE((root / "f").stat().st_mode) == 0o750
    assert not do(disk, SetExecutable(("f",), False, stat(disk, "f"))).executable
    assert status.S_IMODE((root / "f").stat().st_mode) == 0o640
    assert do(disk, SetMtime(("f",), 10**18, stat(disk, "f"))).mtime_ns == 10**18
    assert do(disk, SetMtime(("s",), 10**17, stat(disk, "s"))).mtime_ns == 10**17
    assert stat(disk, "f").mtime_ns == 10**18
    wrong = stat(disk, "f")._replace(mtime_ns=1)
    assert refuse(disk, SetExecutable(("f",), True, wrong)).kind is RefusalKind.CHANGED
    assert refuse(disk, SetMtime(("f",), 0, wrong)).kind is RefusalKind.CHANGED
    link = refuse(disk, SetExecutable(("s",), True, stat(disk, "s")))
    assert link.kind is RefusalKind.CHANGED


def test_our_own_directory_is_out_of_reach(disk: PosixDisk, root: Path) -> None:
    before = contents(root)
    marker = stat(disk, ".holdfast", "folder-id")
    for operation in (
        Remove((".holdfast", "folder-id"), marker),
        Move((".holdfast", "folder-id"), ("f",), marker),
        RemoveDirectory((".holdfast",)),
        MakeDirectory((".holdfast", "x")),
        SetMtime((".holdfast", "folder-id"), 0, marker),
    ):
        assert refuse(disk, operation).kind is RefusalKind.ERROR
    assert contents(root) == before


@pytest.mark.row("A35")
def test_symlinks_out_of_the_folder_are_not_made(disk: PosixDisk, root: Path) -> None:
    for target in ("/etc/passwd", "../x"):
        disk.stage([StageFile("temp", None, target, 0, False)])
        disk.sync_staged()
        assert refuse(disk, Publish("temp", ("s",), None)).kind is RefusalKind.ERROR
    disk.stage([StageFile("temp", None, "f", 0, False)])
    disk.sync_staged()
    assert do(disk, Publish("temp", ("s",), None)).kind is Kind.SYMLINK
    assert os.readlink(root / "s") == "f"


@pytest.mark.row("A35")
def test_no_way_through_a_symlink(disk: PosixDisk, root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_bytes(b"theirs")
    (root / "link").symlink_to(outside)
    there = stat(disk, "link")
    stage(disk, b"new")
    for operation in (
        Publish("temp", ("link", "x"), None),
        MakeDirectory(("link", "x")),
        Remove(("link", "f"), there),
        SetMtime(("link", "f"), 0, there),
        Move(("link", "f"), ("f",), there),
        RemoveDirectory(("link",)),
    ):
        assert refuse(disk, operation).kind is RefusalKind.CHANGED
    assert contents(outside) == {"f": b"theirs"}


@pytest.mark.row("A35")
@pytest.mark.parametrize("has_openat2", [True, False])
def test_no_escape_in_a_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_openat2: bool
) -> None:
    """ATTACKS A35: what is published, while `d` is a directory and a symlink out in turn."""
    monkeypatch.setattr(syscalls, "HAS_OPENAT2", has_openat2 and syscalls.HAS_OPENAT2)
    root, outside = tmp_path / "root", tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    disk = open_disk(root)
    (root / "real" / "sub").mkdir(parents=True)
    (root / "link").symlink_to(outside)
    outcomes = set()
    with flipping(root):
        for number in range(15_000):
            target = ("d", f"f{number}") if number % 2 else ("d", "sub", f"f{number}")
            if number % 100 == 0:
                disk.stage(
                    [StageFile(f"t{n}", b"x", None, 0, False) for n in range(number, number + 100)]
                )
                disk.sync_staged()
            (result,) = disk.apply([Publish(f"t{number}", target, None)])
            outcomes.add(type(result))
    assert contents(outside) == {}
    assert outcomes == {Stat, Refusal}


@pytest.mark.row("A35")
@pytest.mark.parametrize("has_openat2", [True, False])
def test_no_read_no_removal_and_no_directory_escapes_in_a_race(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_openat2: bool
) -> None:
    """The file outside is a hard link of the one inside: no look at the file tells them apart."""
    monkeypatch.setattr(syscalls, "HAS_OPENAT2", has_openat2 and syscalls.HAS_OPENAT2)
    root, outside = tmp_path / "root", tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    (outside / "f").write_bytes(b"both")
    (outside / "secret").write_bytes(b"theirs")
    disk = open_disk(root)
    (root / "real" / "sub").mkdir(parents=True)
    (root / "real" / "secret").write_bytes(b"inside")
    (root / "link").symlink_to(outside)
    before = {path.name for path in outside.iterdir()}
    real = os.open(root / "real", os.O_RDONLY)
    outcomes: Counter[tuple[str, bool]] = Counter()
    with flipping(root):
        for number in range(5_000):
            with suppress(FileExistsError):
                os.link(outside / "f", "f", dst_dir_fd=real)
            with suppress(FileExistsError):
                os.mkdir("sub", dir_fd=real)
            (known,) = disk.stat([("d", "f")])
            operations: list[Operation] = [RemoveDirectory(("d", "sub"))]
            operations.append(MakeDirectory(("d", f"n{number}")))
            if known is not None:
                way_out = Move(("d", "f"), (f"g{number}",), known)
                operations.append(way_out if number % 2 else Remove(("d", "f"), known))
            for operation, result in zip(operations, disk.apply(operations), strict=True):
                outcomes[type(operation).__name__, isinstance(result, Stat)] += 1
            with suppress(FileNotFoundError):
                os.rmdir(f"n{number}", dir_fd=real)
            (root / f"g{number}").unlink(missing_ok=True)
            (read,) = disk.read_files([ReadRequest(("d", "secret"))])
            (part,) = disk.read_ranges([RangeRequest(("d", "secret"), 0, 6)])
            assert part in (None, b"inside")
            assert isinstance(read, Problem) or read.data == b"inside"
            outcomes["read", part is not None] += 1
    os.close(real)
    assert {path.name for path in outside.iterdir()} == before
    assert (outside / "f").read_bytes() == b"both"
    kinds = ("RemoveDirectory", "MakeDirectory", "Move", "Remove", "read")
    assert all(outcomes[kind, True] for kind in kinds), outcomes
    # Which of them meets the symlink is up to the scheduler; that some do is what makes it a race.
    assert outcomes["RemoveDirectory", False], outcomes
    assert outcomes["read", False], outcomes


@contextmanager
def flipping(root: Path) -> Iterator[None]:
    """Meanwhile `real` and `link` take turns under the name `d`."""
    names = [root / "real", root / "link", root / "d"]
    is_over = threading.Event()

    def flip() -> None:
        while not is_over.is_set():
            for source in names[:2]:
                source.rename(names[2])
                names[2].rename(source)

    thread = threading.Thread(target=flip)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class _Crash(BaseException):
    """The process ends here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Kills the process instead of the n-th call that changes a directory."""
    left = [number]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            left[0] -= 1
            if left[0] < 0:
                raise _Crash
            return real(*args, **kwargs)

        return call

    for name in ("rename", "unlink", "link", "utime"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    for name in ("rename_exchange", "rename_noreplace"):
        monkeypatch.setattr(syscalls, name, counted(getattr(syscalls, name)))


@pytest.mark.row("F01")
@pytest.mark.parametrize("keep", [None, "kept"])
@pytest.mark.parametrize("is_saved_meanwhile", [False, True])
def test_no_crash_loses_a_byte(
    disk: PosixDisk, root: Path, keep: str | None, is_saved_meanwhile: bool
) -> None:
    """FAULTS F01: ended at each step in turn, the file is the old or the new one, and no other's
    bytes are lost.
    """
    for number in range(20):
        for operation_is_remove in (False, True):
            (root / "a").write_bytes(b"old")
            expected = stat(disk, "a")
            with pytest.MonkeyPatch.context() as patch:
                operation: Operation = Remove(("a",), expected, keep)
                if not operation_is_remove:
                    operation = Publish(stage(disk, b"new"), ("a",), expected, None, keep)
                if is_saved_meanwhile:
                    after(patch, "_require", lambda: (root / "a").write_bytes(b"mine"))
                crash_at(patch, number)
                try:
                    disk.apply([operation])
                except _Crash:
                    pass
            now = seen(root)
            wanted = b"mine" if is_saved_meanwhile else b"old"
            is_done = not is_saved_meanwhile and now.get("a") in (None, b"new")
            assert wanted in now.values() or (is_done and keep is None), (number, now)
            assert now.get("trash/kept") in (None, b"old"), "what is kept is what its name says"
            assert operation_is_remove or now["a"] in (b"old", b"new", b"mine")
            assert b"old" not in (now.get("incoming/temp"),)
            # What is kept is what was there, and not what was to come.
            assert now.get("trash/kept") in (None, b"old", b"mine"), (number, now)
            for path in list(root.rglob("*")):
                if path.is_file() and path.name != "folder-id":
                    path.unlink()


@pytest.mark.row("F06")
def test_a_disk_that_takes_no_more_renames_in_the_middle_of_one(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the swap nor the way back can be done: later it can, under the same name."""
    (root / "a").write_bytes(b"old")
    expected = stat(disk, "a")
    move, moves = syscalls.rename_noreplace, itertools.count()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def full_from_the_second_on(*arguments: Any) -> None:
        if next(moves):
            full()
        move(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(syscalls, "rename_exchange", full)
        patch.setattr(syscalls, "rename_noreplace", full_from_the_second_on)
        refusal = is_refusal(publish(disk, b"new", ("a",), expected, keep="kept"))
        assert refusal.kind is RefusalKind.NO_SPACE
    assert seen(root)["a"] == b"old"
    publish(disk, b"new", ("a",), expected, keep="kept")
    assert seen(root)["a"] == b"new"
    assert seen(root)["trash/kept"] == b"old"


def test_a_second_name_that_a_crash_left_is_in_nobody_s_way(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names cannot be swapped, what is kept has two for a moment."""
    (root / "a").write_bytes(b"old")
    os.link(root / "a", root / ".holdfast" / "trash" / "kept")
    monkeypatch.setattr("peer.disk.writer.can_exchange", lambda *_: False)
    publish(disk, b"new", ("a",), stat(disk, "a"), keep="kept")
    assert seen(root) == {"a": b"new", "trash/kept": b"old"}


@pytest.mark.parametrize("expected_is_there", [False, True])
def test_what_somebody_writes_into_a_file_as_it_appears_is_not_taken_for_ours(
    disk: PosixDisk, root: Path, monkeypatch: pytest.MonkeyPatch, expected_is_there: bool
) -> None:
    """Size and inode are those that were staged; with the ctime it had, no scan would read it."""
    expected = None
    if expected_is_there:
        (root / "a").write_bytes(b"old")
        expected = stat(disk, "a")
    disk.stage([StageFile("t", b"new", None, 10**18, False)])
    disk.sync_staged()
    real = Directories.look

    def look(self: Directories, directory_fd: int, name: str) -> Stat | None:
        if name == "a" and (root / "a").exists() and (root / "a").read_bytes() == b"new":
            (root / "a").write_bytes(b"own")
        return real(self, directory_fd, name)

    monkeypatch.setattr(Directories, "look", look)
    (result,) = disk.apply([Publish("t", ("a",), expected)])
    assert isinstance(result, Stat)
    assert result.ctime_ns == 0
    assert stat(disk, "a").ctime_ns > 0
    assert (root / "a").read_bytes() == b"own"
