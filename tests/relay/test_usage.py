"""A day's quota is one for all links of a device and for all devices of an address."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from relay import usage as module
from relay.limits import MIB, Limits
from relay.registry import Client
from relay.store import RelayStore
from relay.usage import DAY_S, Usage

LIMITS = Limits(mib_per_day_per_device=2, mib_per_day_per_address=3)
NOW = 10.0 * DAY_S


def client(number: int, host: str = "h") -> Client:
    return Client(number.to_bytes(32, "big"), host)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[RelayStore]:
    store = await RelayStore.open(tmp_path)
    yield store
    await store.close()


def test_no_limit_is_no_limit() -> None:
    usage = Usage(Limits())
    assert usage.carry((client(1), client(2)), 1 << 50, NOW)
    assert usage.may_carry(client(1), NOW)
    assert usage.bytes == 1 << 50


def test_a_device_has_so_much_a_day() -> None:
    usage = Usage(LIMITS)
    assert usage.carry((client(1, "a"), client(2, "b")), 2 * MIB - 1, NOW)
    assert not usage.carry((client(1, "a"), client(3, "c")), 1, NOW)
    assert not usage.may_carry(client(1, "elsewhere"), NOW), "another link is the same device"
    assert usage.may_carry(client(2, "b"), NOW)
    assert usage.may_carry(client(1, "a"), NOW + DAY_S)


@pytest.mark.row("A29")
def test_an_address_has_so_much_whoever_comes_from_it() -> None:
    usage = Usage(LIMITS)
    for number in range(2):
        assert usage.carry((client(number), client(9, "far")), MIB // 2, NOW)
        assert usage.carry((client(number), client(8, "far")), MIB // 2, NOW + 1)
    assert not usage.carry((client(5), client(7, "farther")), MIB, NOW)
    assert not usage.may_carry(client(6), NOW)


def test_two_devices_of_one_address_count_once_for_it() -> None:
    usage = Usage(LIMITS)
    assert usage.carry((client(1), client(2)), 2 * MIB - 1, NOW)


@pytest.mark.row("A29")
def test_many_pseudonyms_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYS_MAX", 10)
    usage = Usage(LIMITS)
    for number in range(1000):
        usage.carry((client(number, str(number)),), MIB // 100, NOW)
    assert len(usage._devices) == len(usage._addresses) == 11
    assert not usage.may_carry(client(5000, "new"), NOW), "those beyond share what one has"
    assert usage.may_carry(client(3, "3"), NOW)


async def test_a_restart_gives_nobody_the_day_anew(store: RelayStore) -> None:
    usage = Usage(LIMITS, store)
    await usage.load(NOW)
    usage.carry((client(1), client(2, "far")), MIB, NOW)
    await usage.save(NOW)
    usage.carry((client(1), client(2, "far")), MIB, NOW)
    await usage.save(NOW)
    await usage.save(NOW)
    again = Usage(LIMITS, store)
    await again.load(NOW + 5)
    assert not again.may_carry(client(1, "other"), NOW + 5)
    await again.load(NOW + DAY_S)
    assert again.may_carry(client(1, "other"), NOW + DAY_S)


async def test_days_that_are_over_leave_the_disk(store: RelayStore) -> None:
    usage = Usage(LIMITS, store)
    for day in range(3):
        usage.carry((client(1),), 5, NOW + day * DAY_S)
        await usage.save(NOW + day * DAY_S)
    assert await store.rows("SELECT day, bytes FROM usage") == [(12, 5)]


async def test_what_could_not_be_stored_is_stored_later(store: RelayStore) -> None:
    usage = Usage(LIMITS, store)
    usage.carry((client(1),), 5, NOW)
    async with store.transaction() as db:
        await db.execute_fetchall("ALTER TABLE usage RENAME TO away")
    with pytest.raises(sqlite3.Error):
        await usage.save(NOW)
    async with store.transaction() as db:
        await db.execute_fetchall("ALTER TABLE away RENAME TO usage")
    usage.carry((client(1),), 6, NOW)
    await usage.save(NOW)
    assert await store.rows("SELECT bytes FROM usage") == [(11,)]
