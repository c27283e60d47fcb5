"""What entries of a folder ledger do: a closed type for each action (CRYPTO 4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, NamedTuple

from crypto.epochs import EPOCH_NONCE_SIZE, TIERS, Commits
from crypto.ids import DeviceId, EntryId, FolderId, LogId, UserId
from crypto.primitives import HASH_SIZE, KEY_SIZE, SEAL_OVERHEAD
from protocol import wire
from protocol.errors import BadLedger, Malformed
from protocol.ledger import ENTRY_LENGTH_MAX, PARENTS_MAX, check_bytes, check_heads
from protocol.newer import refuse_newer

SUITE: Final = 1
CHUNKING: Final = (32768, 131072, 524288)
"""Least, average and largest chunk in bytes; the average doubles with file size (DESIGN 6)."""
PADDING: Final = 1
LOG_ID_SIZE: Final = 16
NONCE_SIZE: Final = 16
SEQ_MAX: Final = (1 << 53) - 1
NO_FOLDER: Final = FolderId(bytes(HASH_SIZE))
"""Stands in the first epoch's core: the folder's id is the hash of the entry with that core."""

_CORE_VERSION: Final = 1
_USER_SUBJECT: Final = 0


class Role(IntEnum):
    """What a user may do in a folder; a higher role includes the lower ones."""

    NONE = 0
    READ = 1
    WRITE = 2
    SHARE = 3
    OWNER = 4
    ROOT = 5


class FolderKind(IntEnum):
    """What a folder is for."""

    FILES = 0
    HOME = 1


class FolderAct(IntEnum):
    """The first item of an action in a folder ledger."""

    GENESIS = 0
    GRANT = 1
    REMOVE = 2
    ADMIT = 3
    EXPEL = 4
    LEAVE = 5
    EPOCH = 6
    STORAGE = 7


class Pin(NamedTuple):
    """The last changeset of a log that a remover had accepted."""

    log_id: LogId
    seq: int
    hash: bytes


class Genesis(NamedTuple):
    """What never changes in a folder; there is no negotiation of algorithms."""

    kind: FolderKind
    root: UserId
    nonce: bytes

    def encode(self) -> list[Any]:
        """The action's array."""
        return [
            int(FolderAct.GENESIS), SUITE, int(self.kind), list(CHUNKING), PADDING, self.root,
            self.nonce,
        ]  # fmt: skip


class Grant(NamedTuple):
    """Gives a user a role."""

    user_id: UserId
    role: Role

    def encode(self) -> list[Any]:
        """The action's array."""
        return [int(FolderAct.GRANT), _USER_SUBJECT, self.user_id, int(self.role)]


class Remove(NamedTuple):
    """Takes a user's roles away; what its devices wrote beyond the pins is void."""

    user_id: UserId
    pins: tuple[Pin, ...] = ()

    def encode(self) -> list[Any]:
        """The action's array."""
        return [
            int(FolderAct.REMOVE),
            _USER_SUBJECT,
            self.user_id,
            [list(pin) for pin in self.pins],
        ]


class Admit(NamedTuple):
    """Lets a device in that is live at these heads of its user's ledger."""

    device_id: DeviceId
    user_heads: tuple[EntryId, ...]

    def encode(self) -> list[Any]:
        """The action's array."""
        return [int(FolderAct.ADMIT), self.device_id, list(self.user_heads)]


class Expel(NamedTuple):
    """Puts a device out, with the entry of its user's ledger that revokes it as the proof."""

    device_id: DeviceId
    revoking_entry: EntryId
    pins: tuple[Pin, ...] = ()

    def encode(self) -> list[Any]:
        """The action's array."""
        pins = [list(pin) for pin in self.pins]
        return [int(FolderAct.EXPEL), self.device_id, self.revoking_entry, pins]


class Leave(NamedTuple):
    """The author's user leaves; what it wrote stays."""

    def encode(self) -> list[Any]:
        """The action's array."""
        return [int(FolderAct.LEAVE)]


@dataclass(frozen=True, slots=True)
class EpochCore:
    """The signed part of an epoch: what it commits to and for whom it was wrapped."""

    folder_id: FolderId
    """32 zero bytes in the first epoch (NO_FOLDER)."""
    parents: tuple[EntryId, ...]
    commits: Commits
    recipients: tuple[tuple[bytes, int], ...]
    """(device id, or a user id for its recovery key; number of tiers given)."""
    links: tuple[tuple[EntryId, bytes], ...]
    """One for each parent: its read secret, sealed under this epoch's."""
    nonce: bytes
    encoded: bytes = field(default=b"", repr=False)
    """The bytes as they were received; hashed for the wraps."""

    def encode(self) -> EpochCore:
        """This core with its bytes."""
        encoded = wire.encode(
            [
                _CORE_VERSION, self.folder_id, list(self.parents), list(self.commits),
                [list(recipient) for recipient in self.recipients],
                [list(link) for link in self.links], self.nonce,
            ]
        )  # fmt: skip
        return EpochCore(
            self.folder_id, self.parents, self.commits, self.recipients, self.links, self.nonce,
            encoded,
        )  # fmt: skip


class Epoch(NamedTuple):
    """Makes a new generation of the folder's secrets; it is named by the entry it stands in."""

    core: EpochCore
    wraps_hash: bytes

    def encode(self) -> list[Any]:
        """The action's array."""
        return [int(FolderAct.EPOCH), self.core.encoded, self.wraps_hash]


class Storage(NamedTuple):
    """Names a namespace of this folder at a node."""

    node_id: bytes
    namespace: bytes
    owner_pk: bytes
    salt: bytes
    generation: int

    def encode(self) -> list[Any]:
        """The action's array."""
        return [int(FolderAct.STORAGE), *self]


Action = Genesis | Grant | Remove | Admit | Expel | Leave | Epoch | Storage


def decode_action(action: list[Any]) -> Action:
    """One action of an entry, its shape checked; raises BadLedger, or NewerForm for what a later
    version does.
    """
    refuse_newer(action[0], max(FolderAct))
    match action:
        case [FolderAct.GENESIS, suite, kind, chunking, padding, root, nonce]:
            refuse_newer(suite, SUITE)
            numbers = (suite, padding)  # True is equal to 1, but not the encoding of it
            if numbers != (SUITE, PADDING) or any(type(number) is not int for number in numbers):
                raise BadLedger("a folder of a suite that this version does not know")
            if chunking != list(CHUNKING):
                raise BadLedger("a folder of a suite that this version does not know")
            if type(kind) is not int or kind not in tuple(FolderKind):
                raise BadLedger("a folder of an unknown kind")
            user_id = UserId(check_bytes(root, HASH_SIZE))
            return Genesis(FolderKind(kind), user_id, check_bytes(nonce, NONCE_SIZE))
        case [FolderAct.GRANT, _, _, role]:
            if type(role) is not int or not Role.READ <= role <= Role.OWNER:
                raise BadLedger("a grant of a role that there is not")
            return Grant(_subject(action), Role(role))
        case [FolderAct.REMOVE, _, _, pins]:
            return Remove(_subject(action), _pins(pins))
        case [FolderAct.ADMIT, device_id, heads]:
            return Admit(DeviceId(check_bytes(device_id, HASH_SIZE)), tuple(check_heads(heads)))
        case [FolderAct.EXPEL, device_id, entry_id, pins]:
            revoking = EntryId(check_bytes(entry_id, HASH_SIZE))
            return Expel(DeviceId(check_bytes(device_id, HASH_SIZE)), revoking, _pins(pins))
        case [FolderAct.LEAVE]:
            return Leave()
        case [FolderAct.EPOCH, bytes(core), wraps_hash]:
            return Epoch(decode_core(core), check_bytes(wraps_hash, HASH_SIZE))
        case [FolderAct.STORAGE, node_id, namespace, owner_pk, salt, generation]:
            if type(generation) is not int or not 0 <= generation <= SEQ_MAX:
                raise BadLedger("a namespace's generation")
            return Storage(
                check_bytes(node_id, HASH_SIZE), check_bytes(namespace, 16),
                check_bytes(owner_pk, KEY_SIZE), check_bytes(salt, 16), generation,
            )  # fmt: skip
    raise BadLedger("not an action of a folder ledger")


def decode_core(encoded: bytes) -> EpochCore:
    """An epoch's core from its bytes; raises BadLedger."""
    try:
        value = wire.decode(encoded, ENTRY_LENGTH_MAX)
    except Malformed as error:
        raise BadLedger("not the core of an epoch") from error
    if type(value) is list and value:
        refuse_newer(value[0], _CORE_VERSION)
    match value:
        case [
            int(version),
            bytes(folder_id),
            list(parents),
            list(commits),
            list(recipients),
            list(links),
            bytes(nonce),
        ] if type(version) is int and version == _CORE_VERSION:
            pass
        case _:
            raise BadLedger("not the core of an epoch")
    check_bytes(folder_id, HASH_SIZE)
    check_bytes(nonce, EPOCH_NONCE_SIZE)
    parent_ids = tuple(check_heads(parents)) if parents else ()
    return EpochCore(
        FolderId(folder_id), parent_ids, _commits(commits), _recipients(recipients),
        _links(links, parent_ids), nonce, encoded,
    )  # fmt: skip


def _commits(commits: list[Any]) -> Commits:
    if len(commits) != TIERS:
        raise BadLedger("an epoch has four tiers")
    read, write, admin, owner = commits
    for commit in (read, write, *(c for c in (admin, owner) if c is not None)):
        check_bytes(commit, HASH_SIZE)
    return read, write, admin, owner


def _recipients(recipients: list[Any]) -> tuple[tuple[bytes, int], ...]:
    checked: list[tuple[bytes, int]] = []
    for recipient in recipients:
        match recipient:
            case [bytes(recipient_id), tiers] if type(tiers) is int and 1 <= tiers <= TIERS:
                checked.append((check_bytes(recipient_id, HASH_SIZE), tiers))
            case _:
                raise BadLedger("a recipient of an epoch")
    _check_sorted([recipient_id for recipient_id, _ in checked])
    return tuple(checked)


def _links(links: list[Any], parents: Sequence[EntryId]) -> tuple[tuple[EntryId, bytes], ...]:
    if len(links) != len(parents) or len(links) > PARENTS_MAX:
        raise BadLedger("an epoch links to each of its parents")
    checked: list[tuple[EntryId, bytes]] = []
    for link, parent in zip(links, parents, strict=True):
        if type(link) is not list or len(link) != 2 or link[0] != parent:
            raise BadLedger("a link of an epoch")
        checked.append((parent, check_bytes(link[1], KEY_SIZE + SEAL_OVERHEAD)))
    return tuple(checked)


def _subject(action: list[Any]) -> UserId:
    if type(action[1]) is not int or action[1] != _USER_SUBJECT:
        raise BadLedger("groups are not known to this version")
    return UserId(check_bytes(action[2], HASH_SIZE))


def _pins(pins: Any) -> tuple[Pin, ...]:
    if type(pins) is not list:
        raise BadLedger("pins are a list")
    checked: list[Pin] = []
    for pin in pins:
        match pin:
            case [bytes(log_id), seq, bytes(hash_)] if type(seq) is int and 1 <= seq <= SEQ_MAX:
                check_bytes(log_id, LOG_ID_SIZE)
                checked.append(Pin(LogId(log_id), seq, check_bytes(hash_, HASH_SIZE)))
            case _:
                raise BadLedger("a pin")
    _check_sorted([pin.log_id for pin in checked])
    return tuple(checked)


def _check_sorted(ids: Sequence[bytes]) -> None:
    if any(low >= high for low, high in pairwise(ids)):
        raise BadLedger("a list that is sorted and names nobody twice")
