"""A login costs a guess and is counted; its token is as good as the home's, for a while."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.errors import KeyFileError
from crypto.key_file import encode_key_file
from crypto.keys import DeviceKeys
from peer.control.user_requests import TOKEN_LIFE_S, TOKENS_MAX, UserRequests
from peer.errors import (
    DeviceExists,
    KeyNotLocked,
    NotBuilt,
    PassphraseWrong,
    TooManyTries,
)
from peer.status import Profile

PASSPHRASE = "correct horse"


async def profile() -> Profile:
    device = {"id": "00", "name": "one", "this": True, "connected": False, "last_seen_s": None}
    return {"user": "11", "device": device, "devices": 1, "folders": 0}  # type: ignore[typeddict-item]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def users(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> UserRequests:
    users = UserRequests(tmp_path / "key", profile, clock)

    def opened(passphrase: str) -> None:  # Argon2id's half second a guess is another test's
        if passphrase != PASSPHRASE:
            raise KeyFileError("the passphrase is wrong")

    monkeypatch.setattr(users, "_open", opened)
    return users


async def test_the_passphrase_gives_a_token(users: UserRequests, clock: Clock) -> None:
    login = await users.login(PASSPHRASE)
    token = login["token"].encode()
    assert users.accepts(token)
    assert not users.accepts(token[:-1])
    assert not users.accepts(b"")
    clock.now += TOKEN_LIFE_S
    assert not users.accepts(token)


async def test_guessing_gets_slower(users: UserRequests, clock: Clock) -> None:
    for _ in range(3):
        with pytest.raises(PassphraseWrong):
            await users.login("wrong")
    waits = []
    for _ in range(15):
        with pytest.raises(TooManyTries):
            await users.login(PASSPHRASE)  # not even the right one is looked at
        waits.append(users._waits_until - clock.now)
        clock.now = users._waits_until
        with pytest.raises(PassphraseWrong):
            await users.login("wrong")
    assert waits[:4] == [2, 4, 8, 16]
    assert waits[-1] == 3600
    clock.now = users._waits_until
    await users.login(PASSPHRASE)
    with pytest.raises(PassphraseWrong):
        await users.login("wrong")
    await users.login(PASSPHRASE)


async def test_tokens_do_not_pile_up(users: UserRequests) -> None:
    tokens = [(await users.login(PASSPHRASE))["token"].encode() for _ in range(TOKENS_MAX + 1)]
    assert [users.accepts(token) for token in tokens] == [False] + [True] * TOKENS_MAX


async def test_the_key_file_itself_is_asked(tmp_path: Path) -> None:
    keys = DeviceKeys.generate(os.urandom)
    path = tmp_path / "key"
    users = UserRequests(path, profile)
    path.write_bytes(encode_key_file(keys, os.urandom))
    assert not (await users.profile())["locked"]
    with pytest.raises(KeyNotLocked):
        await users.login(PASSPHRASE)
    path.write_bytes(encode_key_file(keys, os.urandom, passphrase=PASSPHRASE))
    assert (await users.profile())["locked"]
    with pytest.raises(PassphraseWrong):
        await users.login("wrong")
    assert users.accepts((await users.login(PASSPHRASE))["token"].encode())


async def test_what_is_not_there_says_so(users: UserRequests) -> None:
    with pytest.raises(DeviceExists):
        await users.register()
    with pytest.raises(NotBuilt, match="link create"):
        await users.share()
