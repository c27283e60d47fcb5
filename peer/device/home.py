"""The directory of one device: its key, its database, and the lock that lets one daemon in.

A home exists from the moment its key file does: everything before is the making of it, and a crash
there leaves a directory that can be made into a home again. `Home` holds the lock while it is open.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from crypto.errors import KeyFileError
from crypto.key_file import (
    KEY_FILE_SIZE,
    KeyFileMode,
    decode_key_file,
    encode_key_file,
    key_file_mode,
)
from crypto.keys import DeviceKeys
from peer.command_line.passphrase import ask_passphrase
from peer.device.generation import read_generation, write_generation
from peer.device.home_store import HomeStore, copy_of, is_damage
from peer.device.machine import machine_id
from peer.device.small_file import sync_directory, write_durably
from peer.errors import (
    DeviceExists,
    HomeDamaged,
    HomeExposed,
    HomeInUse,
    KeyFileUnusable,
    NoDevice,
    PathUnusable,
)
from peer.journal.trail_file import TRAIL_NAME

KEY_NAME: Final = "key"
DATABASE_NAME: Final = "home.db"
LOCK_NAME: Final = "lock"
GENERATION_NAME: Final = "generation"
CONFIG_NAME: Final = "config.toml"
FOLDERS_NAME: Final = "folders"
RELAY_KEY_NAME: Final = "relay.key"
"""What `holdfast relay run` keeps there, when it is given the home of a device."""
LINKS_NAME: Final = "links.db"
UPLOADS_NAME: Final = "uploads.db"
INCARNATION_SIZE: Final = 8

_OURS: Final = (
    KEY_NAME,
    DATABASE_NAME,
    LOCK_NAME,
    GENERATION_NAME,
    CONFIG_NAME,
    FOLDERS_NAME,
    RELAY_KEY_NAME,
    TRAIL_NAME,
    LINKS_NAME,
    UPLOADS_NAME,
)
_BESIDE_DATABASE: Final = ("", "-wal", "-shm")

log = logging.getLogger(__name__)


class Home:
    """One device's open home; `create` or `open` make it, `close` gives the lock back."""

    def __init__(
        self, path: Path, lock: int, keys: DeviceKeys, random: Callable[[int], bytes]
    ) -> None:
        self.path = path
        self.keys = keys
        self.store: HomeStore
        self.notices: list[str] = []
        """Sentences for the person: what was found wrong while opening, and what was done about it.
        """
        self.generation = 0
        """How often this home's databases have moved on; see `generation`."""
        self._lock = lock
        self._random = random
        self._suspicion: str | None = None

    @property
    def config_path(self) -> Path:
        """Where the configuration is, or would be."""
        return self.path / CONFIG_NAME

    @property
    def folders_path(self) -> Path:
        """The directory of the folders' databases; made with the home."""
        return self.path / FOLDERS_NAME

    @staticmethod
    def check_free(path: Path) -> None:
        """Raises DeviceExists where a device is, as `create` does, for who asks sooner."""
        if (path / KEY_NAME).exists():
            raise DeviceExists

    @classmethod
    async def create(
        cls, path: Path, keys: DeviceKeys, random: Callable[[int], bytes] = os.urandom
    ) -> Self:
        """Begins a new home in an empty or new directory; `write_key` finishes it.

        Raises DeviceExists, HomeInUse, or PathUnusable if the directory holds something else.
        """
        _make_directory(path)
        home = cls(path, _take_lock(path), keys, random)
        try:
            cls.check_free(path)
            # Left by an attempt that did not come to an end, or by somebody who removed the key.
            _move_aside(path, "unfinished")
            home.store = await HomeStore.open(path / DATABASE_NAME, is_new=True)
            await home._settle()
        except BaseException:
            await home._release()
            raise
        return home

    async def write_key(self, passphrase: str | None = None) -> None:
        """Writes the key file, locked by the passphrase if there is one. From now on the home
        exists.
        """
        data = await asyncio.to_thread(
            encode_key_file, self.keys, self._random, passphrase=passphrase
        )
        write_durably(self.path / KEY_NAME, data)

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        ask: Callable[[], str] = ask_passphrase,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Opens a home; `ask` is called only if the key file has a passphrase.

        Raises NoDevice, HomeExposed, HomeInUse, KeyFileUnusable or HomeDamaged. A damaged database
        is moved aside and put back from its copy; `notices` then says so.
        """
        if not (path / KEY_NAME).exists():
            raise NoDevice
        _check_privacy(path)
        lock = _take_lock(path)
        try:
            keys = await asyncio.to_thread(_read_key, path / KEY_NAME, ask)
        except BaseException:
            os.close(lock)
            raise
        home = cls(path, lock, keys, random)
        try:
            await home._open_store()
            home._suspicion = home._suspicion or await home._find_suspicion()
            if home._suspicion is None:
                await home.advance_generation()
        except BaseException:
            await home._release()
            raise
        return home

    async def close(self) -> None:
        """Closes the database and gives the lock back."""
        try:
            if self._suspicion is None:
                # A copy of the database taken while it was in use must not pass for its last state.
                await self.advance_generation()
        finally:
            await self._release()

    async def _release(self) -> None:
        try:
            if hasattr(self, "store"):
                await self.store.close()
        finally:
            os.close(self._lock)

    def incarnation_is_suspect(self) -> str | None:
        """Why this home may be a copy or an older state of itself; None if nothing says so.

        Then nothing may be written to any log before `renew_incarnations` (CRYPTO 3).
        """
        return self._suspicion

    async def renew_incarnations(self) -> None:
        """Gives this device a new incarnation in every folder, and takes this home as it is for
        genuine.
        """
        folders = await self.store.folders()
        async with self.store.transaction() as write:
            for folder in folders:
                await write.put_incarnation(folder.folder_id, self._random(INCARNATION_SIZE))
        await self._settle()

    async def advance_generation(self) -> None:
        """Moves the generation on in the file and in the database; the daemon does it hourly."""
        file = self.path / GENERATION_NAME
        try:
            await asyncio.to_thread(write_generation, file, self.generation + 1)
        except OSError as error:
            error.filename = error.filename or str(file)  # the command line says what failed
            raise
        async with self.store.transaction() as write:
            await write.put_counter("generation", self.generation + 1)
        self.generation += 1

    async def _settle(self) -> None:
        """Writes down where and on what machine this home is."""
        async with self.store.transaction() as write:
            await write.put_setting("machine", machine_id())
            await write.put_counter("inode", self.path.stat().st_ino)
        # Above both numbers, so that no older state of either can ever agree with the other's
        # future.
        self.generation = max(
            await self.store.counter("generation"),
            read_generation(self.path / GENERATION_NAME) or 0,
        )
        await self.advance_generation()
        self._suspicion = None

    async def _find_suspicion(self) -> str | None:
        self.generation = await self.store.counter("generation")
        beside = read_generation(self.path / GENERATION_NAME)
        if beside is None:
            return "The file `generation` is missing from the home."
        if beside != self.generation:
            age = "older" if self.generation < beside else "newer"
            return f"The home's database is {age} than the file `generation` beside it."
        if await self.store.counter("inode") != self.path.stat().st_ino:
            return "The home was copied or restored: its directory is not the one it was."
        machine = await self.store.setting("machine")
        here = machine_id()
        if machine and here and machine != here:
            return "The home was moved or copied to another machine."
        return None

    async def _open_store(self) -> None:
        path = self.path / DATABASE_NAME
        try:
            if path.exists():
                self.store = await HomeStore.open(path, is_new=False)
                return
            finding = "was missing"
            # A journal without its database would be played into the copy.
            _move_aside(self.path, "missing")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise HomeDamaged(f"{DATABASE_NAME} cannot be opened: {error}.") from error
            log.error("%s is damaged: %s", DATABASE_NAME, error)
            aside = _move_aside(self.path, "damaged")
            finding = f"was damaged and is kept as {aside}"
        await self._restore_copy(finding)

    async def _restore_copy(self, finding: str) -> None:
        """Puts the copy in the database's place; the copy itself is not touched."""
        path = self.path / DATABASE_NAME
        try:
            write_durably(path, copy_of(path).read_bytes())
            self.store = await HomeStore.open(path, is_new=False)
        except (FileNotFoundError, sqlite3.DatabaseError) as error:
            path.unlink(missing_ok=True)
            raise HomeDamaged(
                f"{DATABASE_NAME} {finding}, and there is no sound copy of it. Move the home away"
                " and join again as a new device; the files in your folders are safe."
            ) from error
        except OSError as error:
            raise HomeDamaged(
                f"{DATABASE_NAME} {finding}, and cannot be put back: {error.strerror}."
            ) from error
        self._suspicion = f"The home's database {finding}, and was put back from its copy."
        self.notices.append(self._suspicion)


def _make_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        Home.check_free(path)
        foreign = sorted({entry.name for entry in path.iterdir() if not _is_ours(entry.name)})
        if foreign:
            raise PathUnusable(
                f"{path} is not empty: there is {foreign[0]}. Choose a new directory for the home."
            )
        path.chmod(0o700)
        (path / FOLDERS_NAME).mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise PathUnusable(f"{path} cannot be made a home: {error.strerror}.") from error


def _is_ours(name: str) -> bool:
    return any(name == own or name.startswith((f"{own}.", f"{own}-")) for own in _OURS)


def _check_privacy(path: Path) -> None:
    for checked in (path, path / KEY_NAME):
        status = checked.stat()
        if status.st_uid != os.geteuid():
            raise HomeExposed(f"{checked} belongs to another user. A home belongs to who uses it.")
        if status.st_mode & 0o077:
            wanted = "700" if checked is path else "600"
            raise HomeExposed(
                f"Other users of this machine can reach {checked}."
                f" Close it: chmod {wanted} {checked}"
            )


def _take_lock(path: Path) -> int:
    """A descriptor that holds the home's lock until it is closed, also by a crash."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    lock = os.open(path / LOCK_NAME, flags, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(lock, 20).strip().decode("ascii", "replace")
        os.close(lock)
        raise HomeInUse(
            f"Another daemon (process {holder or 'unknown'}) runs on {path} already. Stop it with"
            " `holdfast stop`, or use another home with `--home DIR`."
        ) from None
    os.truncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return lock


def _read_key(path: Path, ask: Callable[[], str]) -> DeviceKeys:
    with path.open("rb") as file:
        data = file.read(KEY_FILE_SIZE + 1)
    try:
        passphrase = ask() if key_file_mode(data) is KeyFileMode.PASSPHRASE else None
        return decode_key_file(data, passphrase=passphrase)
    except KeyFileError as error:
        raise KeyFileUnusable(f"The key file {path} does not open: {error}.") from error


def _move_aside(path: Path, why: str) -> str:
    """Renames the database's files so that nothing is lost; the name of the first of them."""
    number = 1
    while (path / f"{DATABASE_NAME}.{why}-{number}").exists():
        number += 1
    for suffix in _BESIDE_DATABASE:
        source = path / f"{DATABASE_NAME}{suffix}"
        if source.exists():
            source.rename(path / f"{DATABASE_NAME}.{why}-{number}{suffix}")
    sync_directory(path)
    return f"{DATABASE_NAME}.{why}-{number}"
