"""Databases that are damaged, lost, old or doubled (FAULTS F09, F31): nothing saved is lost, and
what is old does not win over what is new.
"""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.device import (
    Device,
    Refused,
    end,
    explain,
    found,
    wait_for_same,
    wait_for_tree,
    wait_until,
)

Pair = tuple[Device, Device]
Everybody = tuple[Device, ...]
BESIDE = ("-wal", "-shm")


def fill_with_rubbish(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def make_a_hole(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DAMAGES = [fill_with_rubbish, make_a_hole, cut_off, empty, Path.unlink]


def damage_database(database: Path, damage: Callable[[Path], None]) -> None:
    for suffix in BESIDE:
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    damage(database)


def damage_under_its_reader(database: Path) -> None:
    """What SQLite holds in memory it does not read again until somebody else has written."""
    with contextlib.closing(sqlite3.connect(database)) as db:
        [(version,)] = db.execute("PRAGMA user_version")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with database.open("r+b") as file:
            file.seek(4096)
            file.write(os.urandom(database.stat().st_size - 4096))
        db.execute(f"PRAGMA user_version = {version}")


def index_of(device: Device) -> Path:
    [index] = (device.home / "folders").glob("*.db")
    return index


def incarnation_of(device: Device) -> bytes:
    """What tells this device's logs of the folder from those that it wrote before."""
    with contextlib.closing(sqlite3.connect(f"file:{device.home}/home.db?mode=ro", uri=True)) as db:
        [(incarnation,)] = db.execute("SELECT incarnation FROM folders")
    assert isinstance(incarnation, bytes)
    return incarnation


def conflicts(device: Device) -> list[str]:
    return [name for name in device.names() if "(conflict " in name]


def save(device: Device, name: str, text: str) -> None:
    path = device.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def wait_for_text(device: Device, name: str, text: str, everybody: Everybody) -> None:
    path = device.folder / name
    wait_until(lambda: path.exists() and path.read_text() == text, lambda: explain(everybody))


def is_alive(pair: Pair, name: str) -> None:
    """Both go on: what each saves, the other shows."""
    for maker, other in (pair, pair[::-1]):
        save(maker, f"{name} of {maker.name}", maker.name)
        wait_for_text(other, f"{name} of {maker.name}", maker.name, pair)
    wait_for_same(*pair)


# ---------------------------------------------------------------- damaged and lost


@pytest.mark.row("F09")
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_home_database(shared_pair: Pair, damage: Callable[[Path], None]) -> None:
    """Put back from its copy; from then on the device writes in new logs."""
    one, other = shared_pair
    name = damage.__name__
    save(one, f"{name}/shared", "at first")
    wait_for_text(other, f"{name}/shared", "at first", shared_pair)
    wait_for_same(*shared_pair)
    other.stop()
    save(other, f"{name}/made while stopped", "of beta")
    save(one, f"{name}/shared", "edited by alpha")
    damage_database(other.home / "home.db", damage)
    other.start()
    wait_for_text(one, f"{name}/made while stopped", "of beta", shared_pair)
    wait_for_text(other, f"{name}/shared", "edited by alpha", shared_pair)
    is_alive(shared_pair, name)
    assert conflicts(one) == []
    assert "put back from its copy" in other.log_tail(200)


def test_a_home_without_database_and_copy(tmp_path: Path) -> None:
    """Nothing is guessed: the device says that it is lost, and what to do."""
    device = Device(tmp_path, "alone")
    try:
        found(device)
        device.command("folder", "add", str(device.folder), "--name", "notes")
        save(device, "mine", "mine")
        device.stop()
        for path in device.home.glob("home.db*"):
            path.unlink()
        with pytest.raises(Refused) as refused:
            device.command("run", "--listen", device.address, "--no-discovery")
        assert "join again as a new device" in refused.value.sentence
        assert (device.folder / "mine").read_text() == "mine"
    finally:
        end([device])


@pytest.mark.row("F09")
def test_an_index_that_is_damaged_while_it_is_used(shared_pair: Pair) -> None:
    """It is put aside, and what is on the disk is told under another incarnation."""
    one, other = shared_pair
    before = incarnation_of(other)
    for number in range(30):
        save(one, f"d/{number}", f"{number}")
    wait_for_tree((other.folder / "d/29").exists, *shared_pair)
    damage_under_its_reader(index_of(other))
    for number in range(30, 60):
        save(one, f"d/{number}", f"{number}")
        save(other, f"e/{number}", f"{number}")
    wait_until((one.folder / "e/59").exists, lambda: explain(shared_pair))
    wait_until((other.folder / "d/59").exists, lambda: explain(shared_pair))
    tree = wait_for_same(*shared_pair)
    assert {n for n in tree if n.startswith(("d/", "e/"))} == (
        {f"d/{n}" for n in range(60)} | {f"e/{n}" for n in range(30, 60)}
    )
    assert list((other.home / "folders").glob("*.damaged-*")) != []
    assert incarnation_of(other) != before


# ---------------------------------------------------------------- old


def copy_of(path: Path, to: Path) -> None:
    shutil.copytree(path, to, symlinks=True, ignore=shutil.ignore_patterns("*.sock"))


def restore(backup: Path, path: Path) -> None:
    shutil.rmtree(path)
    copy_of(backup, path)


@pytest.mark.row("F09", "F31")
@pytest.mark.parametrize("what", ["index", "home database", "whole home"])
def test_an_old_state_is_put_back(new_pair: Pair, tmp_path: Path, what: str) -> None:
    """As after a restored backup: the other devices know more than this one remembers."""
    one, other = new_pair
    for name in ("edited by alpha", "edited by beta", "removed by alpha", "removed by beta"):
        save(one, f"{what}/{name}", "old")
    wait_for_text(other, f"{what}/removed by beta", "old", new_pair)
    wait_for_same(*new_pair)
    other.stop()
    copy_of(other.home, tmp_path / "backup")
    other.start()
    save(one, f"{what}/edited by alpha", "new of alpha")
    save(other, f"{what}/edited by beta", "new of beta")
    (one.folder / what / "removed by alpha").unlink()
    (other.folder / what / "removed by beta").unlink()
    save(other, f"{what}/made by beta", "after the backup")
    wait_for_text(one, f"{what}/made by beta", "after the backup", new_pair)
    gone = one.folder / what / "removed by beta"
    wait_until(lambda: not gone.exists(), lambda: explain(new_pair))
    wait_for_text(other, f"{what}/edited by alpha", "new of alpha", new_pair)
    expected = wait_for_same(*new_pair)
    other.stop()
    if what == "whole home":
        restore(tmp_path / "backup", other.home)
    else:
        database = index_of(other) if what == "index" else other.home / "home.db"
        damage_database(database, Path.unlink)
        shutil.copy2(tmp_path / "backup" / database.relative_to(other.home), database)
    other.start()
    after = f"{what}/after the restore"
    save(other, after, "written in a new log")
    wait_for_text(one, after, "written in a new log", new_pair)
    tree = wait_for_same(*new_pair)
    assert {n: c for n, c in tree.items() if n != after} == expected
    is_alive(new_pair, f"{what}/later")


# ---------------------------------------------------------------- doubled


@pytest.mark.row("F31")
def test_a_cloned_device(shared_pair: Pair, tmp_path: Path) -> None:
    """A copy of home and folder runs beside the original, under the same device id: neither's files
    are lost, and no log forks.
    """
    one, other = shared_pair
    save(one, "before the clone", "at first")
    wait_for_text(other, "before the clone", "at first", shared_pair)
    wait_for_same(*shared_pair)
    other.stop()
    clone = Device(tmp_path / "cloned", "beta")
    clone.folder.rmdir()
    copy_of(other.home, clone.home)
    copy_of(other.folder, clone.folder)
    # On another machine the same path is another directory; here it has to be told apart.
    with contextlib.closing(sqlite3.connect(clone.home / "home.db")) as database, database:
        database.execute("UPDATE folders SET path = ?", (os.fsencode(clone.folder),))
    try:
        clone.start()
        other.start()
        save(other, "of the original", "original")
        save(clone, "of the clone", "clone")
        everybody = (one, other, clone)
        for device in everybody:
            wait_for_text(device, "of the original", "original", everybody)
            wait_for_text(device, "of the clone", "clone", everybody)
        wait_for_same(*everybody)
        assert "may be a copy" in clone.log_tail(200)
        assert all("forked" not in device.log_tail(500) for device in everybody)
    finally:
        end([clone])
