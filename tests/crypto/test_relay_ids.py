"""Names at a relay: fixed by keys, told apart by relay, pair, day and direction."""

from __future__ import annotations

import os

from crypto.ids import RelayId
from crypto.keys import DeviceKeys, device_id_of
from crypto.pair_secret import pair_secret
from crypto.relay_ids import pseudonym_keys, relay_ask, relay_id_of, rendezvous_id

HERE, ELSEWHERE = RelayId(b"\1" * 32), RelayId(b"\2" * 32)


def new_keys() -> DeviceKeys:
    return DeviceKeys.generate(os.urandom)


def test_a_relay_s_id_fixes_both_of_its_keys() -> None:
    one, other = b"\1" * 32, b"\2" * 32
    assert len({relay_id_of(one, other), relay_id_of(other, one), relay_id_of(one, one)}) == 3
    assert bytes(relay_id_of(one, other)) != bytes(device_id_of(one, other))


def test_a_pseudonym_is_the_same_at_one_relay_and_tells_nothing_of_the_device() -> None:
    keys = new_keys()
    here, again, there = (pseudonym_keys(keys, r) for r in (HERE, HERE, ELSEWHERE))
    assert here.device_id == again.device_id
    assert len({here.device_id, there.device_id, keys.device_id}) == 3
    assert here.database_key != keys.database_key
    assert here.device_secret != keys.device_secret


def test_an_ask_is_for_one_relay_on_one_link() -> None:
    asks = {relay_ask(r, b) for r in (HERE, ELSEWHERE) for b in (b"a" * 32, b"b" * 32)}
    assert len(asks) == 4


def test_both_find_where_the_other_waits_and_nobody_else_does() -> None:
    one, other, third = new_keys(), new_keys(), new_keys()
    mine = pair_secret(one, other.device_id, other.dh_public)
    theirs = pair_secret(other, one.device_id, one.dh_public)
    waits = rendezvous_id(mine, HERE, 20_000, one.device_id)
    assert waits == rendezvous_id(theirs, HERE, 20_000, one.device_id)
    assert len(waits) == 16
    strange = pair_secret(third, one.device_id, one.dh_public)
    different = {
        waits,
        rendezvous_id(mine, HERE, 20_000, other.device_id),
        rendezvous_id(mine, HERE, 20_001, one.device_id),
        rendezvous_id(mine, ELSEWHERE, 20_000, one.device_id),
        rendezvous_id(strange, HERE, 20_000, one.device_id),
    }
    assert len(different) == 5
