"""Device and kit keys: what follows from what, and that nothing secret is ever shown."""

from __future__ import annotations

import dataclasses

import pytest

from crypto.errors import OpenError
from crypto.keys import DeviceKeys, KitKeys, device_id_of
from crypto.primitives import derive, dh_public, digest, sign_public, verify, wrap
from tests.crypto.seeded import Seeded


def test_a_device_has_four_independent_secrets() -> None:
    keys = DeviceKeys.generate(Seeded(1))
    secrets = {keys.sign_seed, keys.dh_secret, keys.database_key, keys.device_secret}
    assert len(secrets) == 4
    assert keys.device_id == digest("device", keys.sign_public, keys.dh_public)
    assert keys.device_id == device_id_of(keys.sign_public, keys.dh_public)
    assert keys.sign_public == sign_public(keys.sign_seed)
    assert keys.dh_public == dh_public(keys.dh_secret)


@pytest.mark.row("A01")
def test_either_key_makes_it_another_device() -> None:
    ids = {device_id_of(bytes([a]) * 32, bytes([b]) * 32) for a in range(3) for b in range(3)}
    assert len(ids) == 9


def test_keys_sign_and_unwrap() -> None:
    keys = DeviceKeys.generate(Seeded(1))
    verify(keys.sign_public, keys.sign("entry", b"a", b"b"), "entry", b"a", b"b")
    wrapped = wrap(keys.dh_public, "wrap", b"slot", plaintext=b"secret")
    assert keys.unwrap("wrap", b"slot", wrapped=wrapped) == b"secret"
    with pytest.raises(OpenError):
        DeviceKeys.generate(Seeded(2)).unwrap("wrap", b"slot", wrapped=wrapped)


def test_a_pseudonym_is_another_at_each_relay_and_not_the_device() -> None:
    keys = DeviceKeys.generate(Seeded(1))
    there, elsewhere = keys.relay_pseudonym(b"\1" * 32), keys.relay_pseudonym(b"\2" * 32)
    assert len({*there, *elsewhere, keys.sign_seed, keys.dh_secret}) == 6
    assert there == keys.relay_pseudonym(b"\1" * 32)


def test_a_kit_gives_what_the_construction_says() -> None:
    secret = Seeded("kit")(32)
    kit = KitKeys.from_secret(secret)
    assert kit.identity_seed == derive(secret, "identity")
    assert kit.recovery_secret == derive(secret, "recovery dh")
    assert kit.emergency_seed == derive(secret, "emergency")
    assert kit.vault_secret == derive(secret, "vault secret")
    assert kit.identity_public == sign_public(kit.identity_seed)
    assert kit.recovery_public == dh_public(kit.recovery_secret)
    assert kit.emergency_public == sign_public(kit.emergency_seed)
    verify(kit.identity_public, kit.sign("entry", b"genesis"), "entry", b"genesis")


@pytest.mark.row("A37")
@pytest.mark.parametrize("keys", [DeviceKeys.generate(Seeded(1)), KitKeys.from_secret(b"k" * 32)])
def test_nothing_secret_is_shown(keys: DeviceKeys | KitKeys) -> None:
    shown = repr(keys) + str(keys) + f"{keys}"
    for field in dataclasses.fields(keys):
        if "public" not in field.name and field.name != "device_id":
            secret = getattr(keys, field.name)
            assert secret.hex()[:8] not in shown
            assert repr(secret) not in shown


def test_keys_of_another_length_are_our_bug() -> None:
    with pytest.raises(AssertionError):
        DeviceKeys(b"short", bytes(32), bytes(32), bytes(32))
    with pytest.raises(AssertionError):
        KitKeys.from_secret(bytes(31))
