"""The epochs of a folder as one device sees them: what it can open, and how new ones are made.

An epoch's secrets come from a wrap made for this device or from the link of an epoch that follows
it (CRYPTO 4.4). Whatever comes out of either is compared with the commitment that the epoch's
author signed, so a wrong wrap or link is as if it had not come.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from crypto import epochs as secrets_of
from crypto.epochs import WRAP_SIZE, FolderKeys, Tier, TierSecrets, is_committed, open_tiers
from crypto.errors import BadKeyError, OpenError
from crypto.ids import EntryId, FolderId, UserId
from crypto.keys import DeviceKeys, KitKeys
from protocol.errors import NotEntitled
from protocol.folder_actions import (
    NO_FOLDER,
    NONCE_SIZE,
    Action,
    Admit,
    Epoch,
    EpochCore,
    Expel,
    FolderKind,
    Genesis,
    Remove,
    Role,
)
from protocol.folder_ledger import FolderLedger, Recipient
from protocol.ledger import Entry, LedgerKind, encode_genesis
from protocol.user_ledger import UserLedger

VARIANTS_MAX: Final = 4
"""Different wraps kept for one recipient: nobody but the recipient can tell the good one."""


class Wrap(NamedTuple):
    """176 bytes that give one recipient an epoch's secrets."""

    epoch_id: EntryId
    recipient_id: bytes
    wrapped: bytes


class OpeningKey(NamedTuple):
    """A recipient's id and X25519 secret: a device's, or a user id with a kit's recovery key."""

    recipient_id: bytes
    dh_secret: bytes

    @classmethod
    def of_device(cls, keys: DeviceKeys) -> OpeningKey:
        """What a device opens its wraps with."""
        return cls(keys.device_id, keys.dh_secret)

    @classmethod
    def of_kit(cls, kit: KitKeys, user_id: UserId) -> OpeningKey:
        """What a recovery kit opens its user's wraps with."""
        return cls(user_id, kit.recovery_secret)


class EpochChain:
    """The secrets of a folder's epochs that one recipient can open, and the wraps it passes on."""

    def __init__(self, ledger: FolderLedger, key: OpeningKey, wraps: Iterable[Wrap] = ()) -> None:
        """Starts with the wraps that are stored; those that open nothing are no error."""
        self._ledger = ledger
        self._key = key
        self._wraps: dict[tuple[EntryId, bytes], list[bytes]] = {}
        self._secrets: dict[EntryId, TierSecrets] = {}
        self._record_keys: dict[EntryId, bytes] = {}
        self._seen = 0
        """How much of the ledger the links were followed in."""
        self._opened_count = 0
        for wrap in wraps:
            self.offer(wrap)

    @property
    def version(self) -> int:
        """Changes when a wrap has opened more."""
        return self._opened_count

    # ------------------------------------------------------------ secrets

    def read_secret(self, epoch_id: EntryId) -> bytes | None:
        """The epoch's 32-byte read secret; None while neither a wrap nor a link gives it."""
        secrets = self._opened(epoch_id)
        return None if secrets is None else secrets.read

    def first_read_secret(self) -> bytes | None:
        """The read secret of the folder's first epoch; None while the chain does not reach it."""
        return self.read_secret(self._ledger.epoch_ids()[0])

    def folder_keys(self) -> FolderKeys | None:
        """What stays the same over all epochs; None while the chain does not reach the first."""
        secret = self.first_read_secret()
        return None if secret is None else FolderKeys.from_first_read_secret(secret)

    def record_key(self, epoch_id: EntryId) -> bytes | None:
        """The key of changeset bodies under this epoch; None while it cannot be opened."""
        key = self._record_keys.get(epoch_id)
        if key is None and (secret := self.read_secret(epoch_id)) is not None:
            key = self._record_keys[epoch_id] = secrets_of.record_key(secret)
        return key

    def tier_secret(self, epoch_id: EntryId, tier: Tier) -> bytes | None:
        """A tier's secret as of this epoch: its own, or if not renewed the first parent's."""
        core = self._ledger.core(epoch_id)
        while core.commits[tier] is None and core.parents:
            epoch_id = core.parents[0]
            core = self._ledger.core(epoch_id)
        secrets = self._opened(epoch_id)
        return None if secrets is None else secrets.in_order[tier]

    def sealing_epoch(self, heads: Iterable[EntryId] | None = None) -> EntryId | None:
        """The epoch to seal under; None if a rotation is owed first, or nothing opens yet.

        An epoch that its author gave to nobody is passed over: it must not stop the folder.
        """
        for epoch_id in self._ledger.covering_epochs(heads):
            if self._opened(epoch_id) is not None:
                return None if self._ledger.rotation_owed(epoch_id) else epoch_id
        return None

    # ------------------------------------------------------------ wraps

    def offer(self, wrap: Wrap) -> bool:
        """Takes a wrap from whoever sent it; True if it is new and worth storing and passing on."""
        known = self._wraps.get((wrap.epoch_id, wrap.recipient_id), [])
        is_mine = wrap.recipient_id == self._key.recipient_id
        if len(wrap.wrapped) != WRAP_SIZE or wrap.wrapped in known or len(known) >= VARIANTS_MAX:
            return False
        if not self._ledger.is_epoch(wrap.epoch_id) or (is_mine and not self._open(wrap)):
            return False
        self._wraps[wrap.epoch_id, wrap.recipient_id] = [*known, wrap.wrapped]
        return True

    def wraps(self, epoch_ids: Collection[EntryId] | None = None) -> list[Wrap]:
        """The wraps held, of these epochs or of all: for the store, and for other members."""
        return [
            Wrap(epoch_id, recipient_id, wrapped)
            for (epoch_id, recipient_id), variants in self._wraps.items()
            for wrapped in variants
            if epoch_ids is None or epoch_id in epoch_ids
        ]

    def wraps_owed(self) -> list[Wrap]:
        """New wraps for recipients that no wrap is known for: admitted later, or left out.

        One is enough for the newest epoch that opens here, since the links give the rest; members
        of a higher role also get the epochs that renewed the tiers they may hold.
        """
        made: list[Wrap] = []
        for recipient in self._ledger.recipients():
            for epoch_id in self._epochs_for(recipient.tiers):
                secrets = self._secrets.get(epoch_id)
                if secrets is None or (epoch_id, recipient.id) in self._wraps:
                    continue
                if (wrap := self._wrap(epoch_id, recipient, secrets)) is not None:
                    self._wraps[epoch_id, recipient.id] = [wrap.wrapped]
                    made.append(wrap)
        return made

    def _epochs_for(self, tiers: int) -> set[EntryId]:
        """Every epoch that nothing continues, and those their unchanged tiers come from."""
        wanted: set[EntryId] = set()
        for head in self._ledger.epoch_heads(lambda epoch_id: self._opened(epoch_id) is not None):
            for tier in range(tiers):
                epoch_id, core = head, self._ledger.core(head)
                while core.commits[tier] is None and core.parents:
                    epoch_id = core.parents[0]
                    core = self._ledger.core(epoch_id)
                wanted.add(epoch_id)
        for epoch_id in wanted:
            self._opened(epoch_id)
        return wanted

    def _wrap(self, epoch_id: EntryId, recipient: Recipient, secrets: TierSecrets) -> Wrap | None:
        core = self._ledger.core(epoch_id)
        given = secrets.limited(recipient.tiers)
        try:
            wrapped = secrets_of.wrap_tiers(
                recipient.dh_pk, core.folder_id, core.encoded, recipient.id, given
            )
        except BadKeyError:
            return (
                None  # a certificate with an unusable key shuts out its own device and nobody else
            )
        return Wrap(epoch_id, recipient.id, wrapped)

    # ------------------------------------------------------------ opening

    def _opened(self, epoch_id: EntryId) -> TierSecrets | None:
        if epoch_id not in self._secrets and self._seen != len(self._ledger):
            self._follow_links()
        return self._secrets.get(epoch_id)

    def _open(self, wrap: Wrap) -> bool:
        core = self._ledger.core(wrap.epoch_id)
        try:
            secrets = open_tiers(
                self._key.dh_secret, core.folder_id, core.encoded, wrap.recipient_id,
                wrap.wrapped, commits=core.commits, nonce=core.nonce,
            )  # fmt: skip
        except OpenError:
            return False
        known = self._secrets.get(wrap.epoch_id)
        self._secrets[wrap.epoch_id] = _joined(known, secrets)
        self._seen = 0
        self._opened_count += 1
        return True

    def _follow_links(self) -> None:
        """Opens parents through their children, the newest first, so that one pass is enough."""
        for epoch_id in reversed(self._ledger.epoch_ids()):
            secrets = self._secrets.get(epoch_id)
            if secrets is None:
                continue
            for parent, sealed in self._ledger.core(epoch_id).links:
                if parent not in self._secrets:
                    self._follow(secrets.read, parent, sealed)
        self._seen = len(self._ledger)

    def _follow(self, read_secret: bytes, parent: EntryId, sealed: bytes) -> None:
        try:
            secret = secrets_of.link_open(read_secret, self._ledger.folder_id, parent, sealed)
        except OpenError:
            return
        core = self._ledger.core(parent)
        if is_committed(core.folder_id, Tier.READ, secret, core.commits[Tier.READ], core.nonce):
            self._secrets[parent] = TierSecrets(secret)


def create_folder(
    keys: DeviceKeys,
    user: UserLedger,
    users: Mapping[UserId, UserLedger],
    kind: FolderKind,
    now: float,
    random: Callable[[int], bytes],
) -> tuple[FolderLedger, list[Wrap]]:
    """A new folder by a live device of this user: genesis, admission and first epoch in one.

    `users` is what the ledger will look in for certificates; it has to hold the user's ledger.
    """
    certificate = user.live_devices().get(keys.device_id)
    if certificate is None:
        raise NotEntitled("only a live device of a user makes folders for that user")
    recovery_pk = user.state().identity.recovery_pk
    recipients = [
        Recipient(keys.device_id, keys.dh_public, Role.OWNER),
        Recipient(user.user_id, recovery_pk, Role.OWNER),
    ]
    secrets = TierSecrets.generate(random)
    epoch, wrapped = _make_epoch(NO_FOLDER, (), (), secrets, recipients, random)
    actions: list[Action] = [
        Genesis(kind, user.user_id, random(NONCE_SIZE)),
        Admit(keys.device_id, tuple(user.heads()[:8])),
        epoch,
    ]
    wire_bytes = encode_genesis(LedgerKind.FOLDER, keys, [a.encode() for a in actions], now)
    ledger = FolderLedger(wire_bytes, users)
    return ledger, _named(ledger.epoch_ids()[0], wrapped)


def rotate(
    chain: EpochChain,
    ledger: FolderLedger,
    keys: DeviceKeys,
    now: float,
    random: Callable[[int], bytes],
    actions: Sequence[Action] = (),
) -> tuple[Entry, list[Wrap]]:
    """Authors an epoch, in one entry with the removals or expels that make it necessary.

    The wraps are to be stored and sent to the members; the chain has them already. Raises
    NotEntitled if this device may not write, or cannot open the epochs that this one continues.
    """
    out: set[bytes] = {a.user_id for a in actions if isinstance(a, Remove)}
    out |= {a.device_id for a in actions if isinstance(a, Expel)}
    role = ledger.state().role_of_device(keys.device_id)
    secrets = TierSecrets.generate(random, 4 if role >= Role.OWNER else 2)
    links: list[tuple[EntryId, bytes]] = []
    for parent in ledger.epoch_heads(lambda epoch_id: chain.read_secret(epoch_id) is not None):
        parent_secret = chain.read_secret(parent)
        assert parent_secret is not None
        sealed = secrets_of.link_seal(
            secrets.read, ledger.folder_id, parent, parent_secret, random(32)
        )
        links.append((parent, sealed))
    if not links:
        raise NotEntitled("an epoch is continued by who can open it")
    parents = [parent for parent, _ in links]
    recipients = ledger.recipients(without=out)
    epoch, wrapped = _make_epoch(ledger.folder_id, parents, links, secrets, recipients, random)
    entry = ledger.act(keys, [*actions, epoch], now)
    wraps = _named(entry.id, wrapped)
    for wrap in wraps:
        chain.offer(wrap)
    return entry, wraps


def _make_epoch(
    folder_id: FolderId,
    parents: Sequence[EntryId],
    links: Sequence[tuple[EntryId, bytes]],
    secrets: TierSecrets,
    recipients: Sequence[Recipient],
    random: Callable[[int], bytes],
) -> tuple[Epoch, list[tuple[bytes, bytes]]]:
    nonce = random(NONCE_SIZE)
    recipients = sorted(recipients)
    core = EpochCore(
        folder_id, tuple(parents), secrets.commitments(folder_id, nonce),
        tuple((r.id, int(r.tiers)) for r in recipients), tuple(links), nonce,
    ).encode()  # fmt: skip
    wrapped: list[tuple[bytes, bytes]] = []
    for recipient in recipients:
        given = secrets.limited(recipient.tiers)
        try:
            data = secrets_of.wrap_tiers(
                recipient.dh_pk, folder_id, core.encoded, recipient.id, given
            )
        except BadKeyError:
            continue
        wrapped.append((recipient.id, data))
    return Epoch(core, secrets_of.wraps_hash([data for _, data in wrapped])), wrapped


def _named(epoch_id: EntryId, wrapped: Iterable[tuple[bytes, bytes]]) -> list[Wrap]:
    return [Wrap(epoch_id, recipient_id, data) for recipient_id, data in wrapped]


def _joined(left: TierSecrets | None, right: TierSecrets) -> TierSecrets:
    """All that either holds: each was compared with the same commitments."""
    if left is None:
        return right
    pairs = zip(left.in_order[1:], right.in_order[1:], strict=True)
    return TierSecrets(right.read, *(a or b for a, b in pairs))
