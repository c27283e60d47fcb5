"""Things that a disk refuses, whatever the error (FAULTS F07): each is listed with its reason, the
rest syncs, nothing is lost, and when the disk has come to its senses all goes on by itself.

strace makes the calls of a real daemon fail that name `victim`.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.status import FolderStatus
from tests.end_to_end.device import (
    Device,
    end,
    explain,
    make_pair,
    try_tree,
    wait_for_same,
    wait_until,
)
from tests.end_to_end.inject import Injected, Point

VICTIM = "victim"
OLD = b"old" * 1_000
KINDS = ("small", "large", "edit", "directory", "symlink", "delete")

CHANGES = "renameat2,renameat,rename,mkdirat"
LOOKS = "newfstatat,statx"
READS = "openat,openat2,readlinkat"

Pair = tuple[Device, Device]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pair = make_pair(tmp_path_factory.mktemp("errors"), "tls")
    yield pair
    end(list(pair))


@pytest.fixture
def place(pair: Pair) -> str:
    """The name of a new directory for each test's victims; afterwards they are gone."""
    one, other = pair
    name = f"place {len(list(one.folder.iterdir()))}"
    for kind in KINDS:
        (one.folder / name / kind).mkdir(parents=True)
    for kind in ("edit", "delete"):
        (one.folder / name / kind / VICTIM).write_bytes(OLD)
    wait_until((other.folder / name / "delete" / VICTIM).exists, lambda: explain(pair))
    wait_for_same(*pair)
    return name


def act(root: Path) -> set[str]:
    """Something of each kind happens to a victim, and to something beside it; the victims."""
    for name in (VICTIM, "other"):
        (root / "small" / name).write_bytes(os.urandom(1_000))
        (root / "large" / name).write_bytes(os.urandom(700_000))
        (root / "edit" / name).write_bytes(os.urandom(2_000))
        (root / "directory" / name).mkdir()
        (root / "directory" / name / "within").write_bytes(os.urandom(1_000))
        (root / "symlink" / name).symlink_to("elsewhere")
    (root / "delete" / VICTIM).unlink()
    return {f"{root.name}/{kind}/{VICTIM}" for kind in KINDS}


def told(device: Device) -> dict[str, str]:
    return {e["path"]: e["reason"] for e in device.folder_status()["errors"]}


def have_come(root: Path) -> bool:
    """Whether what is beside the victims is here."""
    return (
        all(os.path.lexists(root / kind / "other") for kind in KINDS if kind != "delete")
        and (root / "directory" / "other" / "within").exists()
    )


def settle(pair: Pair, injected: Injected) -> None:
    """The disk is well again: all is as on the other device, and nothing is told any more."""
    injected.lift()
    one, other = pair
    wait_until(lambda: try_tree(other) == try_tree(one), lambda: explain(pair), 60)
    wait_for_same(*pair)
    assert told(other) == {}
    assert other.temp_files() == []
    assert not any("conflict" in name for name in one.names())


@pytest.mark.row("F07")
@pytest.mark.parametrize(
    ("calls", "error"),
    [
        *((CHANGES, error) for error in ("EDQUOT", "EROFS", "EACCES", "ENAMETOOLONG", "EIO")),
        (LOOKS, "ESTALE"),
    ],
)
def test_what_cannot_be_written(pair: Pair, place: str, calls: str, error: str) -> None:
    one, other = pair
    other.stop()
    victims = act(one.folder / place)
    injected = Injected(other, Point(error, calls, path=VICTIM), f"error={error}", 0)
    try:
        wait_until(lambda: have_come(other.folder / place), lambda: explain(pair))
        wait_until(lambda: victims <= told(other).keys(), lambda: f"{victims} in {told(other)}")
        assert all(told(other).values())
        assert (other.folder / place / "edit" / VICTIM).read_bytes() == OLD
        assert (other.folder / place / "delete" / VICTIM).read_bytes() == OLD
    finally:
        settle(pair, injected)


@pytest.mark.row("F07")
@pytest.mark.parametrize(
    ("calls", "error"),
    [
        *((READS, error) for error in ("EACCES", "EMFILE")),
        (LOOKS, "EIO"),
    ],
)
def test_what_cannot_be_read(pair: Pair, place: str, calls: str, error: str) -> None:
    """Changes that the second device cannot read: none is taken for a deletion."""
    one, other = pair
    other.stop()
    unseen = {"delete", "directory"} if calls == READS else {"delete"}
    # Directories are opened by their whole path, which is not what strace waits for.
    victims = act(other.folder / place) - {f"{place}/{kind}/{VICTIM}" for kind in unseen}
    injected = Injected(other, Point(error, calls, path=VICTIM), f"error={error}", 0)
    try:
        wait_until(lambda: have_come(one.folder / place), lambda: explain(pair))
        wait_until(lambda: victims <= told(other).keys(), lambda: f"{victims} in {told(other)}")
        assert all(told(other).values())
        assert (one.folder / place / "edit" / VICTIM).read_bytes() == OLD
    finally:
        settle(pair, injected)


# ---------------------------------------------------------------- one index of two

SECOND = "photos"


def states(device: Device) -> dict[str, FolderStatus]:
    return {folder["name"]: folder for folder in device.status()["folders"]}


def trouble(device: Device) -> str:
    """Why the tests' folder is in trouble; nothing if it is not."""
    status = states(device)["notes"]
    return " ".join(e["reason"] for e in status["errors"] if status["state"] == "trouble")


@pytest.fixture
def two_folders(tmp_path: Path) -> Iterator[Pair]:
    """A pair with a second folder, `photos`, in a directory of that name below each home."""
    one, other = make_pair(tmp_path, "tls")
    for device in (one, other):
        second_of(device).mkdir()
    one.command("folder", "add", str(second_of(one)), "--name", SECOND)
    wait_until(lambda: SECOND in states(other), lambda: explain((one, other)))
    other.command("folder", "attach", SECOND, str(second_of(other)))
    yield one, other
    end([one, other])


def second_of(device: Device) -> Path:
    return device.folder.with_name(f"{device.name} {SECOND}")


def comes(device: Device, root: Path, name: str) -> None:
    wait_until(lambda: (root / name).exists(), lambda: f"{name} at {device.name}: {states(device)}")


@pytest.mark.row("F07")
@pytest.mark.parametrize("calls", ["openat", "pread64"])
def test_an_index_that_cannot_be_opened(two_folders: Pair, calls: str) -> None:
    """It is that folder's trouble, with a sentence that says what to do, and is tried again; the
    other folder goes on.
    """
    one, other = two_folders
    (one.folder / "first").write_bytes(b"1")
    comes(other, other.folder, "first")
    other.wait_for_state("in sync")
    [index] = (other.home / "folders").glob(f"{states(other)['notes']['id']}.db")
    other.stop()
    injected = Injected(other, Point(calls, calls, path=str(index)), "error=EIO", 0)
    try:
        other.wait_for_answer()
        sentence = "cannot be opened"
        wait_until(lambda: sentence in trouble(other), lambda: f"{states(other)}")
        assert "system's log" in trouble(other), "it stays while it is tried again"
        (one.folder / "second").write_bytes(b"2")
        for maker, device in ((one, other), (other, one)):
            (second_of(maker) / f"of {maker.name}").write_bytes(b"3")
            comes(device, second_of(device), f"of {maker.name}")
        assert not (other.folder / "second").exists()
    finally:
        injected.lift()
    comes(other, other.folder, "second")
    (other.folder / "third").write_bytes(b"3")
    comes(one, one.folder, "third")
    other.wait_for_state("in sync")
    assert told(other) == {}
