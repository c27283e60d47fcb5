"""The relay's long-lived keys, in `relay.key` of its home: who loses them has another relay."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from crypto.errors import KeyFileError
from crypto.key_file import KEY_FILE_SIZE, decode_key_file, encode_key_file
from crypto.keys import DeviceKeys
from relay.errors import HomeExposed, KeyFileUnusable, PathUnusable

KEY_NAME: Final = "relay.key"


def load_keys(home: Path, random: Callable[[int], bytes] = os.urandom) -> DeviceKeys:
    """The keys in this home, made at the first time.

    Raises PathUnusable, HomeExposed or KeyFileUnusable.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = home / KEY_NAME
        if not path.exists():
            _write(path, encode_key_file(DeviceKeys.generate(random), random))
        return _read(path)
    except OSError as error:
        raise PathUnusable(
            f"{error.filename or home} cannot be used: {error.strerror}. Choose another directory"
            " with `--home DIR`."
        ) from error


def _read(path: Path) -> DeviceKeys:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:
        if os.fstat(descriptor).st_mode & 0o077:
            raise HomeExposed(
                f"Other users of this machine can reach {path}. Close it: chmod 600 {path}"
            )
        data = file.read(KEY_FILE_SIZE + 1)
    try:
        return decode_key_file(data)
    except KeyFileError as error:
        raise KeyFileUnusable(
            f"The key file {path} does not open: {error}. Without it this is another relay: put it"
            " back from a copy, or move it away to begin with a new fingerprint."
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Whole and on disk before it has its name, and never over a key that is there."""
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        os.link(unfinished, path)
    except FileExistsError:
        return  # another process was first: its key is read
    finally:
        unfinished.unlink()
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
