"""Key files: three locks, the floors under them, and files that were made to deceive."""

from __future__ import annotations

import os
import time
from struct import pack

import pytest

from crypto.errors import KeyFileError
from crypto.key_file import (
    KEY_FILE_SIZE,
    MEMORY_KIB,
    MEMORY_KIB_MAX,
    MEMORY_KIB_MIN,
    PASSES,
    KeyFileMode,
    decode_key_file,
    encode_key_file,
    key_file_mode,
)
from crypto.keys import DeviceKeys
from crypto.primitives import derive, digest, open_sealed, seal
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips
from tests.crypto.two_keys import two_key_ciphertext

KEYS = DeviceKeys.generate(Seeded("device"))
OUTSIDE = b"\x0a" * 32


def is_same(left: DeviceKeys, right: DeviceKeys) -> bool:
    names = ("sign_seed", "dh_secret", "database_key", "device_secret")
    return all(getattr(left, name) == getattr(right, name) for name in names)


@pytest.fixture(scope="module")
def locked() -> bytes:
    """Under a passphrase, at the lowest cost that is accepted."""
    return encode_key_file(KEYS, os.urandom, passphrase="Ångström", memory_kib=MEMORY_KIB_MIN)


def test_an_open_file_opens() -> None:
    data = encode_key_file(KEYS, os.urandom)
    assert len(data) == KEY_FILE_SIZE == 231
    assert key_file_mode(data) is KeyFileMode.OPEN
    assert is_same(decode_key_file(data), KEYS)


def test_an_outside_key_opens_its_file_only() -> None:
    data = encode_key_file(KEYS, os.urandom, external_key=OUTSIDE)
    assert key_file_mode(data) is KeyFileMode.EXTERNAL
    assert is_same(decode_key_file(data, external_key=OUTSIDE), KEYS)
    for wrong in (None, b"\x0b" * 32, OUTSIDE[:-1], b""):
        with pytest.raises(KeyFileError):
            decode_key_file(data, external_key=wrong)


def test_a_passphrase_opens_however_it_was_typed(locked: bytes) -> None:
    assert key_file_mode(locked) is KeyFileMode.PASSPHRASE
    decomposed = "A\N{COMBINING RING ABOVE}ngstro\N{COMBINING DIAERESIS}m"
    assert is_same(decode_key_file(locked, passphrase=decomposed), KEYS)


@pytest.mark.parametrize("wrong", [None, "", "angstrom", "x" * 1025])
def test_another_passphrase_opens_nothing(locked: bytes, wrong: str | None) -> None:
    with pytest.raises(KeyFileError):
        decode_key_file(locked, passphrase=wrong)


@pytest.mark.row("A23")
def test_a_new_file_costs_a_guesser_256_mebibytes_and_three_passes() -> None:
    start = time.perf_counter()
    data = encode_key_file(KEYS, os.urandom, passphrase="correct horse")
    assert time.perf_counter() - start > 0.05
    assert (MEMORY_KIB, PASSES) == (262144, 3)
    assert data[6:15] == pack(">IIB", 262144, 3, 1)


def with_cost(data: bytes, memory_kib: int, passes: int, lanes: int) -> bytes:
    return data[:6] + pack(">IIB", memory_kib, passes, lanes) + data[15:]


@pytest.mark.row("A05", "A23")
@pytest.mark.parametrize(
    ("memory_kib", "passes", "lanes"),
    [
        (0, 0, 0),
        (8, 1, 1),
        (MEMORY_KIB_MIN - 1, 3, 1),
        (MEMORY_KIB_MIN, 2, 1),
        (MEMORY_KIB_MIN, 0, 1),
        (MEMORY_KIB_MIN, 3, 0),
        (MEMORY_KIB_MIN, 3, 4),
        (MEMORY_KIB_MAX + 1, 3, 1),
        (2**32 - 1, 3, 1),
        (MEMORY_KIB_MIN, 17, 1),
        (MEMORY_KIB_MIN, 2**32 - 1, 1),
    ],
)
def test_costs_out_of_bounds_are_refused_before_the_passphrase_is_touched(
    locked: bytes, monkeypatch: pytest.MonkeyPatch, memory_kib: int, passes: int, lanes: int
) -> None:
    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("Argon2id ran")

    monkeypatch.setattr("crypto.key_file.argon2id.kdf", never)
    for opens in (key_file_mode, lambda data: decode_key_file(data, passphrase="Ångström")):
        with pytest.raises(KeyFileError):
            opens(with_cost(locked, memory_kib, passes, lanes))


@pytest.mark.row("A05")
def test_a_locked_file_does_not_become_an_open_one(locked: bytes) -> None:
    for mode in (0, 2):
        relabeled = with_cost(locked[:5] + bytes([mode]) + locked[6:], 0, 0, 0)
        with pytest.raises(KeyFileError):
            decode_key_file(relabeled, external_key=OUTSIDE)


@pytest.mark.row("A03")
@pytest.mark.parametrize("external_key", [None, OUTSIDE], ids=["open", "outside"])
def test_every_changed_byte_is_refused(external_key: bytes | None) -> None:
    data = encode_key_file(KEYS, os.urandom, external_key=external_key)
    for bad in flips(data):
        with pytest.raises(KeyFileError):
            decode_key_file(bad, external_key=external_key)


@pytest.mark.row("A03")
def test_a_changed_byte_behind_the_commitment_is_refused_under_the_right_passphrase(
    locked: bytes,
) -> None:
    with pytest.raises(KeyFileError):
        decode_key_file(locked[:-1] + bytes([locked[-1] ^ 1]), passphrase="Ångström")


@pytest.mark.row("A22")
def test_a_payload_that_two_keys_open_is_refused_for_the_second() -> None:
    # Who can write the file could make one that opens under either of two guesses and learn, from
    # whether it did, more than one guess a try. The seal alone lets it pass.
    random = Seeded("two keys")
    mine, guessed = OUTSIDE, b"\x0b" * 32
    before = encode_key_file(KEYS, random, external_key=mine)[: 31 + 32]
    header, salt = before[:31], before[15:31]
    both = [derive(key, "keyfile", salt, size=64) for key in (mine, guessed)]
    assert before[31:] == derive(both[0][32:], "keyfile commit", header)
    aad = digest("keyfile", before)
    payload = two_key_ciphertext((both[0][:32], both[1][:32]), aad, 128, random)
    texts = {open_sealed(keys[:32], "keyfile", before, sealed=payload) for keys in both}
    assert len(texts) == 2
    decode_key_file(before + payload, external_key=mine)
    with pytest.raises(KeyFileError):
        decode_key_file(before + payload, external_key=guessed)


@pytest.mark.row("A23")
def test_an_open_file_has_no_cost_whoever_wrote_it() -> None:
    data = encode_key_file(KEYS, os.urandom)
    salt = data[15:31]
    keys = derive(bytes(32), "keyfile", salt, size=64)
    for cost in ((0, 0, 0), (MEMORY_KIB, PASSES, 1)):
        header = data[:6] + pack(">IIB", *cost) + salt
        before = header + derive(keys[32:], "keyfile commit", header)
        made = before + seal(
            keys[:32], "keyfile", before, plaintext=bytes(range(128)), random32=os.urandom(32)
        )
        if cost == (0, 0, 0):
            assert decode_key_file(made).sign_seed == bytes(range(32))
        else:
            with pytest.raises(KeyFileError):
                decode_key_file(made)


def test_errors_and_files_do_not_show_secrets(locked: bytes) -> None:
    with pytest.raises(KeyFileError) as caught:
        decode_key_file(locked, passphrase="hunter2 hunter2")
    assert "hunter2" not in str(caught.value)
    assert KEYS.sign_seed not in locked
    assert KEYS.sign_seed not in encode_key_file(KEYS, os.urandom)


def test_two_locks_at_once_are_our_bug() -> None:
    with pytest.raises(AssertionError):
        encode_key_file(KEYS, os.urandom, passphrase="x", external_key=OUTSIDE)
    with pytest.raises(AssertionError):
        encode_key_file(KEYS, os.urandom, passphrase="x", memory_kib=1024)
