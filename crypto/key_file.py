"""The key file: a device's secrets at rest, under a passphrase, another key or nothing (CRYPTO 2).

    "HFKF" || u8 1 || u8 mode || u32 m_KiB || u32 t || u8 p || salt16 || commit32
        || X(k1, "keyfile", all before; four secrets of 32 bytes)

Floors and ceilings are compiled in and checked before a passphrase is touched: a file that was
edited to be cheap to guess, or to eat the machine's memory, is refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from enum import IntEnum
from struct import Struct
from typing import Final

from nacl.pwhash import argon2id

from crypto.errors import KeyFileError, OpenError
from crypto.keys import DeviceKeys
from crypto.primitives import (
    KEY_SIZE,
    SEAL_OVERHEAD,
    SEAL_RANDOM_SIZE,
    derive,
    is_equal,
    open_sealed,
    seal,
)

MAGIC: Final = b"HFKF"
VERSION: Final = 1
SALT_SIZE: Final = 16
COMMIT_SIZE: Final = 32
PASSPHRASE_SIZE_MAX: Final = 1024

MEMORY_KIB: Final = 262144
"""256 MiB and 3 passes: 0.43 s a guess where it was measured, and as much memory for each guess."""
PASSES: Final = 3
MEMORY_KIB_MIN: Final = 65536
MEMORY_KIB_MAX: Final = 1048576
PASSES_MIN: Final = 3
PASSES_MAX: Final = 16
LANES: Final = 1
"""libsodium knows one lane only."""

_HEADER: Final = Struct(">4sBBIIB16s")
_PAYLOAD_SIZE: Final = 4 * KEY_SIZE
KEY_FILE_SIZE: Final = _HEADER.size + COMMIT_SIZE + SEAL_OVERHEAD + _PAYLOAD_SIZE


class KeyFileMode(IntEnum):
    """What opens a key file."""

    OPEN = 0
    """Nothing: a daemon starts unattended; who copies the file is this device until revoked."""
    PASSPHRASE = 1
    EXTERNAL = 2
    """32 bytes that the system keeps: a keyring or a systemd credential."""


def encode_key_file(
    keys: DeviceKeys,
    random: Callable[[int], bytes],
    *,
    passphrase: str | None = None,
    external_key: bytes | None = None,
    memory_kib: int = MEMORY_KIB,
) -> bytes:
    """The file's bytes, locked by the passphrase or the external key, or by neither."""
    assert passphrase is None or external_key is None, "one lock at a time"
    assert MEMORY_KIB_MIN <= memory_kib <= MEMORY_KIB_MAX
    salt = random(SALT_SIZE)
    cost: tuple[int, int, int]
    if passphrase is not None:
        mode, cost = KeyFileMode.PASSPHRASE, (memory_kib, PASSES, LANES)
    else:
        mode = KeyFileMode.OPEN if external_key is None else KeyFileMode.EXTERNAL
        cost = (0, 0, 0)
    header = _HEADER.pack(MAGIC, VERSION, mode, *cost, salt)
    seal_key, commit_key = _lock_keys(mode, cost, salt, passphrase, external_key)
    before = header + derive(commit_key, "keyfile commit", header)
    payload = keys.sign_seed + keys.dh_secret + keys.database_key + keys.device_secret
    return before + seal(
        seal_key, "keyfile", before, plaintext=payload, random32=random(SEAL_RANDOM_SIZE)
    )


def key_file_mode(data: bytes) -> KeyFileMode:
    """What this file needs to be opened; raises KeyFileError if it is not a key file of ours."""
    mode, _, _ = _read_header(data)
    return mode


def decode_key_file(
    data: bytes, *, passphrase: str | None = None, external_key: bytes | None = None
) -> DeviceKeys:
    """The keys in the file; KeyFileError if it is damaged, out of bounds or locked otherwise."""
    mode, cost, salt = _read_header(data)
    seal_key, commit_key = _lock_keys(mode, cost, salt, passphrase, external_key)
    header, before = data[: _HEADER.size], data[: _HEADER.size + COMMIT_SIZE]
    # The commitment first: a sealed payload alone could be made to open under two passphrases.
    if not is_equal(before[_HEADER.size :], derive(commit_key, "keyfile commit", header)):
        raise KeyFileError("the passphrase is wrong, or the key file is damaged")
    try:
        payload = open_sealed(seal_key, "keyfile", before, sealed=data[len(before) :])
    except OpenError:
        raise KeyFileError("the key file is damaged") from None
    return DeviceKeys(*(payload[at : at + KEY_SIZE] for at in range(0, _PAYLOAD_SIZE, KEY_SIZE)))


def _read_header(data: bytes) -> tuple[KeyFileMode, tuple[int, int, int], bytes]:
    if len(data) != KEY_FILE_SIZE:
        raise KeyFileError("this is not a key file, or it is cut short")
    magic, version, mode, memory_kib, passes, lanes, salt = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION or mode not in list(KeyFileMode):
        raise KeyFileError("this is not a key file of this version")
    cost = (memory_kib, passes, lanes)
    if mode != KeyFileMode.PASSPHRASE:
        is_allowed = cost == (0, 0, 0)
    else:
        is_allowed = (
            MEMORY_KIB_MIN <= memory_kib <= MEMORY_KIB_MAX
            and PASSES_MIN <= passes <= PASSES_MAX
            and lanes == LANES
        )
    if not is_allowed:
        raise KeyFileError("the key file asks for a cost that no version of ours writes")
    return KeyFileMode(mode), cost, salt


def _lock_keys(
    mode: KeyFileMode,
    cost: tuple[int, int, int],
    salt: bytes,
    passphrase: str | None,
    external_key: bytes | None,
) -> tuple[bytes, bytes]:
    """k1, which seals the payload, and k2, which commits to k1's origin."""
    if mode is KeyFileMode.PASSPHRASE:
        if passphrase is None:
            raise KeyFileError("the key file is locked with a passphrase")
        memory_kib, passes, _ = cost
        text = unicodedata.normalize("NFKC", passphrase).encode()
        if not text or len(text) > PASSPHRASE_SIZE_MAX:
            raise KeyFileError(f"a passphrase has 1 to {PASSPHRASE_SIZE_MAX} bytes")
        both: bytes = argon2id.kdf(
            2 * KEY_SIZE, text, salt, opslimit=passes, memlimit=memory_kib << 10
        )
    elif mode is KeyFileMode.EXTERNAL:
        if external_key is None or len(external_key) != KEY_SIZE:
            raise KeyFileError("the key file is locked with a 32-byte key that the system keeps")
        both = derive(external_key, "keyfile", salt, size=2 * KEY_SIZE)
    else:
        # The key is in the file: the salt gives it. One shape for all modes, and damage is noticed.
        both = derive(bytes(KEY_SIZE), "keyfile", salt, size=2 * KEY_SIZE)
    return both[:KEY_SIZE], both[KEY_SIZE:]
