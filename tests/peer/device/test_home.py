"""A home lets one daemon in, survives damage, and notices that it was copied or put back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from crypto.ids import DeviceId, FolderId, UserId
from crypto.key_file import MEMORY_KIB_MIN, encode_key_file
from crypto.keys import DeviceKeys
from peer.device import home as home_module
from peer.device.home import Home
from peer.device.home_store import Device, Folder, FolderState, copy_of
from peer.errors import (
    DeviceExists,
    HomeDamaged,
    HomeExposed,
    HomeInUse,
    KeyFileUnusable,
    NoDevice,
    PathUnusable,
)

KEYS = DeviceKeys(*(bytes([place]) * 32 for place in range(1, 5)))
USER_ID = UserId(b"u" * 32)
FOLDER = Folder(FolderId(b"f" * 32), "photos", None, FolderState.OFFERED, b"i" * 8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home"


def nobody() -> str:
    raise AssertionError("asked for a passphrase that is not needed")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


async def opened(path: Path) -> Home:
    return await Home.open(path, ask=nobody)


async def made(path: Path) -> None:
    home = await Home.create(path, KEYS)
    async with home.store.transaction() as write:
        await write.put_user(USER_ID, "alpha")
        await write.put_folder(FOLDER)
    await home.write_key()
    await home.close()


async def suspicion(path: Path) -> str | None:
    home = await opened(path)
    reason = home.incarnation_is_suspect()
    await home.close()
    return reason


async def test_a_home_is_made_and_opened(path: Path) -> None:
    await made(path)
    for _ in range(3):
        home = await opened(path)
        assert home.keys.device_id == KEYS.device_id
        assert await home.store.user_id() == USER_ID
        assert home.incarnation_is_suspect() is None
        assert home.notices == []
        await home.close()
    assert mode(path) == 0o700
    assert [name for name in names(path) if mode(path / name) & 0o077] == []


async def test_there_is_no_home_before_its_key(path: Path) -> None:
    with pytest.raises(NoDevice):
        await opened(path)
    home = await Home.create(path, KEYS)
    async with home.store.transaction() as write:
        await write.put_user(USER_ID, "never finished")
    await home.close()
    with pytest.raises(NoDevice):
        await opened(path)
    # The next attempt starts afresh, and what the first one left is kept.
    home = await Home.create(path, KEYS)
    assert await home.store.user_id() is None
    await home.close()
    assert "home.db.unfinished-1" in names(path)


async def test_a_home_is_not_made_twice(path: Path) -> None:
    await made(path)
    with pytest.raises(DeviceExists):
        await Home.create(path, KEYS)
    assert await suspicion(path) is None


async def test_a_directory_with_something_else_is_left_alone(path: Path) -> None:
    os.mkdir(path, mode=0o755)
    (path / "thesis.txt").write_text("")
    with pytest.raises(PathUnusable, match=r"thesis\.txt"):
        await Home.create(path, KEYS)
    assert mode(path) == 0o755
    assert names(path) == ["thesis.txt"]


async def test_a_prepared_configuration_is_no_obstacle(path: Path) -> None:
    os.mkdir(path, mode=0o755)
    (path / "config.toml").write_text("")
    await made(path)
    assert mode(path) == 0o700


async def test_a_file_is_no_home(path: Path) -> None:
    path.with_name("home").touch()
    with pytest.raises(PathUnusable):
        await Home.create(path, KEYS)


@pytest.mark.row("F32")
async def test_the_second_daemon_is_refused(path: Path) -> None:
    await made(path)
    home = await opened(path)
    with pytest.raises(HomeInUse, match=str(os.getpid())):
        await opened(path)
    await home.close()
    assert await suspicion(path) is None


def start_holder(path: Path) -> subprocess.Popen[bytes]:
    """Another process that takes the lock, says so, and keeps it until it is killed."""
    program = (
        "import sys; from peer.device.home import _take_lock; from pathlib import Path\n"
        "_take_lock(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(home_module.__file__).parents[2],
    )


@pytest.mark.row("F32")
async def test_a_killed_daemon_leaves_no_lock(path: Path) -> None:
    await made(path)
    holder = start_holder(path)
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(HomeInUse, match=str(holder.pid)):
            await opened(path)
        holder.kill()
    assert await suspicion(path) is None


async def test_other_users_are_kept_out(path: Path) -> None:
    await made(path)
    os.chmod(path, 0o750)
    with pytest.raises(HomeExposed, match="chmod 700"):
        await opened(path)
    os.chmod(path, 0o700)
    (path / "key").chmod(0o644)
    with pytest.raises(HomeExposed, match="chmod 600"):
        await opened(path)


async def test_a_passphrase_is_asked_for_when_there_is_one(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cheap = partial(encode_key_file, memory_kib=MEMORY_KIB_MIN)
    monkeypatch.setattr(home_module, "encode_key_file", cheap)
    home = await Home.create(path, KEYS)
    await home.write_key("correct horse")
    await home.close()
    home = await Home.open(path, ask=lambda: "correct horse")
    assert home.keys.device_id == KEYS.device_id
    await home.close()
    with pytest.raises(KeyFileUnusable, match="passphrase is wrong"):
        await Home.open(path, ask=lambda: "battery staple")


async def test_a_damaged_key_file_is_named_and_the_lock_given_back(path: Path) -> None:
    await made(path)
    key = (path / "key").read_bytes()
    (path / "key").write_bytes(key[:-1] + bytes([key[-1] ^ 1]))
    for _ in range(2):
        with pytest.raises(KeyFileUnusable, match="does not open"):
            await opened(path)
    (path / "key").write_bytes(key)
    assert await suspicion(path) is None


def damage(path: Path) -> None:
    data = bytearray((path / "home.db").read_bytes())
    data[4096:4160] = b"\xa5" * 64
    (path / "home.db").write_bytes(data)


def empty(path: Path) -> None:
    (path / "home.db").write_bytes(b"")


def remove(path: Path) -> None:
    (path / "home.db").unlink()


def replace_by_text(path: Path) -> None:
    (path / "home.db").write_bytes(b"not a database " * 1000)


@pytest.mark.parametrize("harm", [damage, remove, replace_by_text, empty])
async def test_a_damaged_database_is_put_back_and_moved_aside(
    path: Path, harm: Callable[[Path], None]
) -> None:
    await made(path)
    harm(path)
    home = await opened(path)
    assert await home.store.user_id() == USER_ID
    assert [folder.folder_id for folder in await home.store.folders()] == [FOLDER.folder_id]
    assert home.incarnation_is_suspect() == home.notices[0]
    await home.renew_incarnations()
    assert (await home.store.folders())[0].incarnation != FOLDER.incarnation
    await home.close()
    # It was harmed once, and is mended once.
    home = await opened(path)
    assert home.notices == []
    assert home.incarnation_is_suspect() is None
    await home.close()


async def test_a_journal_is_not_played_into_the_copy(path: Path, tmp_path: Path) -> None:
    await made(path)
    home = await opened(path)
    async with home.store.transaction() as write:
        for number in range(100):
            await write.put_device(Device(DeviceId(bytes([number]) * 32), "x" * 200, None))
    journal = (path / "home.db-wal").read_bytes()
    await home.close()
    remove(path)
    (path / "home.db-wal").write_bytes(journal)
    home = await opened(path)
    assert await home.store.devices() == []
    assert [folder.name for folder in await home.store.folders()] == [FOLDER.name]
    await home.close()
    assert (path / "home.db.missing-1-wal").read_bytes() == journal


async def test_damage_is_kept_for_whoever_wants_to_look(path: Path) -> None:
    await made(path)
    for number in (1, 2):
        damage(path)
        harmed = (path / "home.db").read_bytes()
        home = await opened(path)
        assert f"home.db.damaged-{number}" in home.notices[0]
        await home.renew_incarnations()
        await home.close()
        assert (path / f"home.db.damaged-{number}").read_bytes() == harmed


@pytest.mark.parametrize("copy", [None, b"no database either " * 1000])
async def test_without_a_sound_copy_it_says_so_and_changes_nothing_more(
    path: Path, copy: bytes | None
) -> None:
    await made(path)
    damage(path)
    copy_path = copy_of(path / "home.db")
    copy_path.unlink()
    if copy is not None:
        copy_path.write_bytes(copy)
    for _ in range(3):
        with pytest.raises(HomeDamaged, match="join again"):
            await opened(path)
        assert "home.db.damaged-1" in names(path)
        assert "home.db.damaged-2" not in names(path)


@pytest.mark.row("F31")
async def test_a_copied_home_is_noticed(path: Path, tmp_path: Path) -> None:
    await made(path)
    shutil.copytree(path, tmp_path / "clone")
    assert "copied or restored" in (await suspicion(tmp_path / "clone") or "")
    assert await suspicion(path) is None


@pytest.mark.row("F31")
async def test_a_restored_database_is_noticed(path: Path) -> None:
    await made(path)
    backup = (path / "home.db").read_bytes()
    assert await suspicion(path) is None
    (path / "home.db").write_bytes(backup)
    assert "older" in (await suspicion(path) or "")


@pytest.mark.row("F31")
async def test_a_database_saved_while_in_use_and_put_back_is_noticed(
    path: Path, tmp_path: Path
) -> None:
    await made(path)
    home = await opened(path)
    for name in ("home.db", "home.db-wal"):
        shutil.copy(path / name, tmp_path / name)
    await home.close()
    for name in ("home.db", "home.db-wal"):
        shutil.copy(tmp_path / name, path / name)
    assert "older" in (await suspicion(path) or "")


@pytest.mark.parametrize("text", [None, b"", b"1\n", b"999999\n"])
async def test_a_generation_that_disagrees_is_noticed(path: Path, text: bytes | None) -> None:
    await made(path)
    if text is None:
        (path / "generation").unlink()
    else:
        (path / "generation").write_bytes(text)
    assert await suspicion(path) is not None


async def test_another_machine_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home_module, "machine_id", lambda: b"here")
    await made(path)
    monkeypatch.setattr(home_module, "machine_id", lambda: b"")
    assert await suspicion(path) is None
    monkeypatch.setattr(home_module, "machine_id", lambda: b"there")
    assert "machine" in (await suspicion(path) or "")


async def test_suspicion_lasts_until_it_is_answered(path: Path, tmp_path: Path) -> None:
    await made(path)
    clone = tmp_path / "clone"
    shutil.copytree(path, clone)
    for _ in range(3):
        assert await suspicion(clone) is not None
    home = await opened(clone)
    before = await home.store.folders()
    await home.renew_incarnations()
    after = await home.store.folders()
    assert home.incarnation_is_suspect() is None
    assert before[0].incarnation != after[0].incarnation
    assert len(after[0].incarnation) == 8
    await home.close()
    assert await suspicion(clone) is None


async def test_a_crash_at_any_point_of_advancing_is_sound_or_suspect(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither order of the two writes may let an older database pass; a false alarm is allowed."""
    await made(path)
    home = await opened(path)
    with monkeypatch.context() as patch:

        def crash(*arguments: object) -> None:
            raise OSError(5, "power cut")

        patch.setattr(home_module, "write_generation", crash)
        with pytest.raises(OSError, match="power cut"):
            await home.advance_generation()
        with pytest.raises(OSError, match="power cut"):
            await home.close()
    # The lock and the database were given back all the same.
    assert await suspicion(path) is None


async def test_the_generation_only_grows(path: Path) -> None:
    await made(path)
    seen = []
    for _ in range(3):
        home = await opened(path)
        await home.advance_generation()
        seen.append(home.generation)
        await home.close()
    assert seen == sorted(set(seen))


async def test_devices_are_no_reason_to_copy(path: Path) -> None:
    await made(path)
    home = await opened(path)
    copy = copy_of(path / "home.db")
    before = copy.stat().st_mtime_ns
    async with home.store.transaction() as write:
        await write.put_device(Device(DeviceId(b"d" * 32), "beta", 1.0))
    assert copy.stat().st_mtime_ns == before
    await home.close()
