"""A user's ledger: which devices are that user's, as a function of the set of entries (CRYPTO 3).

The identity's key is on paper; live devices add devices and revoke each other. Evaluation has three
passes without cycles: device against device can only lose members, never win one, and the kit
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar, Final, NamedTuple

from crypto.errors import SignatureError
from crypto.ids import DeviceId, EntryId, UserId
from crypto.keys import DeviceKeys, KitKeys, device_id_of
from crypto.primitives import HASH_SIZE, KEY_SIZE, verify
from protocol import wire
from protocol.errors import BadLedger, Malformed
from protocol.ledger import (
    Entry,
    Ledger,
    LedgerKind,
    check_bytes,
    encode_genesis,
    is_in,
)
from protocol.newer import refuse_newer

CERTIFICATE_LENGTH_MAX: Final = 128
_CERTIFICATE_VERSION: Final = 1
_NONCE_SIZE: Final = 16
_STATES_MAX: Final = 256
"""Past states kept: folder ledgers cite old heads again and again."""


class UserAct(IntEnum):
    """The first item of an action in a user ledger."""

    GENESIS = 0
    ADD = 1
    REVOKE = 2
    REIDENTIFY = 3


class RevokeReason(IntEnum):
    """Why a device was revoked, for people to read; all have the same effect."""

    RETIRED = 0
    LOST = 1
    STOLEN = 2


@dataclass(frozen=True, slots=True)
class Certificate:
    """A device's two public keys, 32 bytes each, and the user whose device it says it is."""

    user_id: UserId
    sign_pk: bytes
    dh_pk: bytes

    @property
    def device_id(self) -> DeviceId:
        """The id that these keys fix."""
        return device_id_of(self.sign_pk, self.dh_pk)

    def encode(self) -> bytes:
        """The bytes that the device signs to show that it holds the keys."""
        return wire.encode([_CERTIFICATE_VERSION, self.user_id, self.sign_pk, self.dh_pk])


class IdentityKeys(NamedTuple):
    """What a user's kit is known by: 32-byte public keys."""

    identity_pk: bytes
    recovery_pk: bytes
    emergency_pk: bytes


@dataclass(frozen=True, slots=True)
class UserState:
    """What a user ledger says at some heads."""

    live: Mapping[DeviceId, Certificate]
    revocations: Mapping[DeviceId, Sequence[EntryId]]
    """The standing revocations of each device that has any."""
    identity: IdentityKeys


def make_certificate(keys: DeviceKeys, user_id: UserId) -> tuple[bytes, bytes]:
    """The encoded certificate of a device for this user, and the device's signature of it."""
    encoded = Certificate(user_id, keys.sign_public, keys.dh_public).encode()
    return encoded, keys.sign("device certificate", encoded)


def check_certificate(encoded: bytes, signature: bytes, user_id: UserId) -> Certificate:
    """The certificate, if it is this user's and signed by the device it names; else BadLedger."""
    try:
        value = wire.decode(encoded, CERTIFICATE_LENGTH_MAX)
    except Malformed as error:
        raise BadLedger("not a device certificate") from error
    if type(value) is list and value:
        refuse_newer(value[0], _CERTIFICATE_VERSION)
    match value:
        case [int(version), bytes(owner), bytes(sign_pk), bytes(dh_pk)] if (
            type(version) is int and version == _CERTIFICATE_VERSION  # True is equal to 1
        ):
            pass
        case _:
            raise BadLedger("not a device certificate")
    if owner != user_id or len(sign_pk) != KEY_SIZE or len(dh_pk) != KEY_SIZE:
        raise BadLedger("a device certificate for another user")
    try:
        verify(sign_pk, signature, "device certificate", encoded)
    except SignatureError:
        raise BadLedger("a device certificate that its device did not sign") from None
    return Certificate(user_id, sign_pk, dh_pk)


class _Addition(NamedTuple):
    entry: int
    author_id: bytes
    device_id: DeviceId


class _Revocation(NamedTuple):
    entry: int
    author_id: bytes
    device_id: DeviceId
    was_author_live: bool
    """Whether the author was a live device in the state of this entry's past."""


class _Reign(NamedTuple):
    """The entries for which one identity key speaks: after `since`, up to `until`."""

    keys: IdentityKeys
    since: int
    until: int | None


class UserLedger(Ledger):
    """One user's devices and identity."""

    kind: ClassVar[LedgerKind] = LedgerKind.USER

    def __init__(self, genesis: bytes) -> None:
        """Starts from a genesis' wire bytes; raises BadLedger or BadSignature."""
        self._additions: list[_Addition] = []
        self._revocations: list[_Revocation] = []
        self._identities: list[tuple[int, bytes, IdentityKeys]] = []
        """(entry, the identity that spoke, the new keys); the genesis first."""
        self._certificates: dict[DeviceId, Certificate] = {}
        self._states: dict[int, UserState] = {}
        super().__init__(genesis)

    @classmethod
    def create(
        cls, kit: KitKeys, device: DeviceKeys, now: float, random: Callable[[int], bytes]
    ) -> UserLedger:
        """A new user: the identity's genesis, and an entry by which it adds the first device."""
        keys = _identity_keys(kit)
        action = [int(UserAct.GENESIS), *keys, random(_NONCE_SIZE)]
        ledger = cls(encode_genesis(cls.kind, kit, [action], now))
        ledger.add_device(kit, *make_certificate(device, ledger.user_id), now)
        return ledger

    @classmethod
    def restore(cls, entries: Iterable[bytes]) -> UserLedger:
        """A ledger from its exported entries, the genesis first; errors as in `add`."""
        iterator = iter(entries)
        ledger = cls(next(iterator, b""))
        ledger.extend(iterator)
        return ledger

    @property
    def user_id(self) -> UserId:
        """The user's id, which is the ledger's."""
        return UserId(self._id)

    # ------------------------------------------------------------ authoring

    def add_device(
        self, author: DeviceKeys | KitKeys, certificate: bytes, signature: bytes, now: float
    ) -> Entry:
        """Adds the device of a certificate; the identity may, and so may any live device."""
        return self.author(author, [[int(UserAct.ADD), certificate, signature]], now)

    def revoke(
        self,
        author: DeviceKeys | KitKeys,
        device_id: DeviceId,
        now: float,
        reason: RevokeReason = RevokeReason.RETIRED,
    ) -> Entry:
        """Revokes a device; it never comes back under the same keys."""
        return self.author(author, [[int(UserAct.REVOKE), device_id, int(reason)]], now)

    def reidentify(self, old: KitKeys, new: KitKeys, now: float) -> Entry:
        """Replaces the identity after its kit was seen by others; the user id stays."""
        keys = _identity_keys(new)
        signature = new.sign("identity", self._id, *keys)
        return self.author(old, [[int(UserAct.REIDENTIFY), *keys, signature]], now)

    # ------------------------------------------------------------ reading

    def live_devices(
        self, heads: Iterable[EntryId] | None = None
    ) -> Mapping[DeviceId, Certificate]:
        """The user's devices at these heads, or by all that is known; KeyError for unknown ones."""
        return self.state(heads).live

    def state(self, heads: Iterable[EntryId] | None = None) -> UserState:
        """What the ledger says at these heads, or by all that is known; KeyError as above."""
        past = (1 << len(self._order)) - 1 if heads is None else self.past_of(heads)
        return self._state(past)

    def certificate(self, device_id: DeviceId) -> Certificate | None:
        """The certificate of a device that was ever added, live or not."""
        return self._certificates.get(device_id)

    def has_revocation(self, entry_id: EntryId, device_id: DeviceId) -> bool:
        """Whether this entry is here and revokes this device, standing or not."""
        index = self._index.get(entry_id)
        return any(r.entry == index and r.device_id == device_id for r in self._revocations)

    # ------------------------------------------------------------ checking

    def _signer(self, entry: Entry, past: int) -> bytes:
        if not self._order:  # the genesis names the key that signs it
            return _check_genesis(entry).identity_pk
        author_id = entry.author_id
        for index, _, keys in self._identities:
            if keys.identity_pk == author_id and is_in(past, index):
                return author_id
        for addition in self._additions:
            if addition.device_id == author_id and is_in(past, addition.entry):
                return self._certificates[addition.device_id].sign_pk
        raise BadLedger("an entry by somebody who is not in its past")

    def _index_actions(self, entry: Entry, past: int) -> None:
        index, author_id = len(self._order), entry.author_id
        if index == 0:
            self._identities.append((0, author_id, _check_genesis(entry)))
            return
        additions: list[_Addition] = []
        revocations: list[_Revocation] = []
        identities: list[tuple[int, bytes, IdentityKeys]] = []
        certificates: dict[DeviceId, Certificate] = {}
        was_live: bool | None = None
        for action in entry.actions:
            refuse_newer(action[0], max(UserAct))
            match action:
                case [UserAct.ADD, bytes(encoded), bytes(signature)]:
                    certificate = check_certificate(encoded, signature, self.user_id)
                    certificates[certificate.device_id] = certificate
                    additions.append(_Addition(index, author_id, certificate.device_id))
                case [UserAct.REVOKE, bytes(device_id), reason] if (
                    type(reason) is int and 0 <= reason <= 255
                ):
                    if was_live is None:
                        was_live = author_id in self._state(past).live
                    target = DeviceId(check_bytes(device_id, HASH_SIZE))
                    revocations.append(_Revocation(index, author_id, target, was_live))
                case [UserAct.REIDENTIFY, *_] if not identities:
                    identities.append((index, author_id, self._check_reidentify(action, past)))
                case _:
                    raise BadLedger("not an action of a user ledger")
        self._additions += additions
        self._revocations += revocations
        self._identities += identities
        self._certificates |= certificates

    def _check_reidentify(self, action: list[Any], past: int) -> IdentityKeys:
        match action:
            case [_, bytes(identity_pk), bytes(recovery_pk), bytes(emergency_pk), bytes(signature)]:
                keys = IdentityKeys(identity_pk, recovery_pk, emergency_pk)
            case _:
                raise BadLedger("not a new identity")
        for key in keys:
            check_bytes(key, KEY_SIZE)
        used = {known.identity_pk for index, _, known in self._identities if is_in(past, index)}
        if keys.identity_pk in used:
            raise BadLedger("an identity that was replaced does not come back")
        try:
            verify(keys.identity_pk, signature, "identity", self._id, *keys)
        except SignatureError:
            raise BadLedger("a new identity that did not sign") from None
        return keys

    # ------------------------------------------------------------ evaluation

    def _state(self, past: int) -> UserState:
        state = self._states.get(past)
        if state is None:
            state = self._evaluate(past)
            if len(self._states) >= _STATES_MAX:
                self._states.clear()
            self._states[past] = state
        return state

    def _evaluate(self, past: int) -> UserState:
        reigns = self._reigns(past)
        additions = [a for a in self._additions if is_in(past, a.entry)]
        revocations = [r for r in self._revocations if is_in(past, r.entry)]
        # 1: what the identity revoked, and the additions that this leaves.
        by_identity = [r for r in revocations if self._speaks(reigns, r.author_id, r.entry)]
        counted = self._counted(additions, reigns, _by_device(by_identity))
        # 2: revocations by devices. They stand whatever else happened at the same time.
        cut = _by_device(by_identity)
        by_device = [
            r
            for r in revocations
            if r.was_author_live and self._is_backed(r.author_id, r.entry, counted, cut)
        ]
        # 3: the additions again, cut by both.
        standing = by_identity + by_device
        cut = _by_device(standing)
        counted = self._counted(additions, reigns, cut)
        live = {
            device_id: self._certificates[device_id]
            for device_id, added in counted.items()
            if any(all(is_in(self._past[g], r) for r in cut.get(device_id, ())) for g in added)
        }
        revoked: dict[DeviceId, list[EntryId]] = {}
        for revocation in standing:
            revoked.setdefault(revocation.device_id, []).append(self._order[revocation.entry].id)
        return UserState(live, revoked, reigns[-1].keys)

    def _reigns(self, past: int) -> list[_Reign]:
        """The identities one after the other; of two replacements at once neither counts."""
        _, _, keys = self._identities[0]
        reigns: list[_Reign] = []
        since = 0
        while True:
            successors = [
                (index, new)
                for index, author_id, new in self._identities[1:]
                if author_id == keys.identity_pk
                and is_in(past, index)
                and (since == 0 or is_in(self._past[index], since))
            ]
            first = next(
                (
                    (index, new)
                    for index, new in successors
                    if all(index == i or is_in(self._past[i], index) for i, _ in successors)
                ),
                None,
            )
            reigns.append(_Reign(keys, since, first[0] if first else None))
            if first is None:
                return reigns
            since, keys = first

    def _speaks(self, reigns: list[_Reign], author_id: bytes, index: int) -> bool:
        """Whether entry `index` is by an identity that was in force for it."""
        return any(
            keys.identity_pk == author_id
            and (since == 0 or is_in(self._past[index], since))
            and (until is None or index == until or is_in(self._past[until], index))
            for keys, since, until in reigns
        )

    def _counted(
        self,
        additions: list[_Addition],
        reigns: list[_Reign],
        cut: Mapping[bytes, Sequence[int]],
    ) -> dict[DeviceId, list[int]]:
        """The entries that count as additions of each device; authors come before what they add."""
        counted: dict[DeviceId, list[int]] = {}
        for index, author_id, device_id in additions:
            if self._speaks(reigns, author_id, index) or self._is_backed(
                author_id, index, counted, cut
            ):
                counted.setdefault(device_id, []).append(index)
        return counted

    def _is_backed(
        self,
        author_id: bytes,
        index: int,
        counted: Mapping[DeviceId, Sequence[int]],
        cut: Mapping[bytes, Sequence[int]],
    ) -> bool:
        """Whether the author's addition counts, is in the entry's past and was not cut off."""
        past = self._past[index]
        return any(
            is_in(past, added)
            and all(
                is_in(self._past[added], revoked) or is_in(self._past[revoked], index)
                for revoked in cut.get(author_id, ())
            )
            for added in counted.get(DeviceId(author_id), ())
        )


def _by_device(revocations: Iterable[_Revocation]) -> dict[bytes, list[int]]:
    cut: dict[bytes, list[int]] = {}
    for revocation in revocations:
        cut.setdefault(revocation.device_id, []).append(revocation.entry)
    return cut


def _identity_keys(kit: KitKeys) -> IdentityKeys:
    return IdentityKeys(kit.identity_public, kit.recovery_public, kit.emergency_public)


def _check_genesis(entry: Entry) -> IdentityKeys:
    match entry.actions:
        case (
            [
                UserAct.GENESIS,
                bytes(identity_pk),
                bytes(recovery_pk),
                bytes(emergency_pk),
                bytes(nonce),
            ],
        ):
            keys = IdentityKeys(identity_pk, recovery_pk, emergency_pk)
        case _:
            raise BadLedger("not the genesis of a user")
    for key in keys:
        check_bytes(key, KEY_SIZE)
    check_bytes(nonce, _NONCE_SIZE)
    if entry.author_id != keys.identity_pk:
        raise BadLedger("a genesis is signed by the identity it names")
    return keys
