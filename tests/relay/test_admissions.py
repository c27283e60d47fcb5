"""A token lets so many in for so long, and the door list outlives the relay."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from protocol.relay_messages import AdmissionOutcome
from protocol.relay_token import format_token, parse_token
from relay import admissions as module
from relay.admissions import DAY_S, Admissions, invitations, invite, withdraw
from relay.store import DATABASE_NAME, RelayStore

ADMITTED, REFUSED = AdmissionOutcome.ADMITTED, AdmissionOutcome.REFUSED
NOW = 1_000_000.0


def who(number: int) -> bytes:
    return number.to_bytes(32, "big")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    store = await RelayStore.open(tmp_path)
    yield store
    await store.close()


async def token_of(store: RelayStore, devices: int = 2, days: int = 1) -> bytes:
    text = await invite(store, devices, days, NOW, os.urandom)
    assert text is not None
    return parse_token(text)


async def test_an_open_relay_asks_for_nothing(store: RelayStore) -> None:
    for admissions in (Admissions(store, True, lambda: NOW), Admissions(None, True, lambda: NOW)):
        assert await admissions.is_admitted(who(1))
        assert await admissions.admit(who(1), bytes(16)) is ADMITTED
        assert await admissions.expelled([who(1)]) == set()


async def test_a_token_lets_so_many_in(store: RelayStore) -> None:
    admissions, token = Admissions(store, False, lambda: NOW), await token_of(store)
    assert not await admissions.is_admitted(who(1))
    assert await admissions.admit(who(1), bytes(16)) is REFUSED
    assert [await admissions.admit(who(n), token) for n in (1, 2, 1, 3)] == [
        ADMITTED,
        ADMITTED,
        ADMITTED,  # it was in, which uses nothing up
        REFUSED,
    ]
    assert await admissions.is_admitted(who(2))
    assert not await admissions.is_admitted(who(3))


async def test_two_at_once_do_not_share_the_last_place(store: RelayStore) -> None:
    admissions, token = Admissions(store, False, lambda: NOW), await token_of(store, devices=1)
    outcomes = await asyncio.gather(*(admissions.admit(who(n), token) for n in range(5)))
    assert outcomes.count(ADMITTED) == 1
    same = await asyncio.gather(*(admissions.admit(who(0), token) for _ in range(3)))
    assert set(same) == {outcomes[0]}


async def test_a_token_is_good_for_so_long_and_who_is_in_stays(store: RelayStore) -> None:
    token, now = await token_of(store), [NOW]
    admissions = Admissions(store, False, lambda: now[0])
    now[0] = NOW + DAY_S - 1
    assert await admissions.admit(who(1), token) is ADMITTED
    now[0] = NOW + DAY_S
    assert await admissions.admit(who(2), token) is REFUSED
    assert await admissions.is_admitted(who(1))


async def test_the_list_outlives_the_relay_and_holds_no_token(
    store: RelayStore, tmp_path: Path
) -> None:
    token = await token_of(store)
    assert await Admissions(store, False, lambda: NOW).admit(who(1), token) is ADMITTED
    again = await RelayStore.open(tmp_path)
    assert await Admissions(again, False, lambda: NOW).is_admitted(who(1))
    await again.close()
    for name in os.listdir(tmp_path):
        data = (tmp_path / name).read_bytes()
        assert token not in data
        assert format_token(token).encode() not in data
    assert DATABASE_NAME in os.listdir(tmp_path)


async def test_an_invitation_is_taken_back(store: RelayStore) -> None:
    admissions, token = Admissions(store, False, lambda: NOW), await token_of(store)
    other = await token_of(store, devices=5)
    await admissions.admit(who(1), token)
    await admissions.admit(who(2), other)
    rows = {row.devices_max: row for row in await invitations(store)}
    assert [(row.devices, row.expires_s) for row in rows.values()] == [(1, NOW + DAY_S)] * 2
    for wrong in ("", "%", "_" * 12, "zz", rows[2].name + "%"):
        assert await withdraw(store, wrong) is None
    assert await withdraw(store, rows[2].name.upper()) == 1
    assert await admissions.expelled([who(1), who(2)]) == {who(1)}
    assert await admissions.admit(who(1), token) is REFUSED
    assert [row.name for row in await invitations(store)] == [rows[5].name]


async def test_invitations_that_let_nobody_in_go_when_they_are_over(
    store: RelayStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "INVITATIONS_MAX", 2)
    await token_of(store)
    await token_of(store)
    assert await invite(store, 1, 1, NOW, os.urandom) is None
    assert await invite(store, 1, 1, NOW + DAY_S, os.urandom) is not None
    assert len(await invitations(store)) == 1


async def test_a_database_that_fails_is_not_taken_for_an_open_door(store: RelayStore) -> None:
    admissions = Admissions(store, False, lambda: NOW)
    async with store.transaction() as db:
        await db.execute_fetchall("DROP TABLE admissions")
    with pytest.raises(sqlite3.Error):
        await admissions.is_admitted(who(1))
