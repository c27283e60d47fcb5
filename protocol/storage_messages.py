"""What a device, or another node, and a relay say about stored shares (SPEC 18). No I/O.

It is said on a link of its own, whose first message is STORE_BEGIN: frames there are long, and a
relay that stores nothing, or is older than this, ends that link and no other. Every request has a
number, and one answer with the same number; requests may be sent without waiting for answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from crypto.packs import LEAF_SIZE
from crypto.primitives import KEY_SIZE, SIGNATURE_SIZE
from crypto.shares import SHARES_MAX

STORAGE_VERSION: Final = 1
PIECE_LEAVES_MAX: Final = 8
"""Leaves of one STORE_PIECE or STORE_LEAVES: 512 KiB. Measured: of processor time, both ends
together, putting 210 MB takes 2.5 s by one leaf, 1.9 by two, 1.5 by four, and 1.3 by eight.
"""
CHALLENGE_LEAVES_MAX: Final = 16
STORAGE_FRAME_LENGTH_MAX: Final = (CHALLENGE_LEAVES_MAX * LEAF_SIZE) + (64 << 10)
"""The longest frame is a proof of 16 leaves, of 1 MiB, with paths of 9 hashes each."""
REQUESTS_OPEN_MAX: Final = 64
"""That one link may have unanswered; what is more waits unread."""
HOLDERS_MAX: Final = 2 * SHARES_MAX
"""Nodes that hold a share of one pack, or stand by to."""
STANDBY: Final = 255
"""In place of a share's number: the node holds none and rebuilds one that is lost."""
STATS_MAX: Final = 256
DESCRIBED_MAX: Final = 16
"""Descriptors of one answer, with as many holders as there may be: 600 KiB."""
LISTED_MAX: Final = 1024
LABEL_LENGTH_MAX: Final = 64
VOUCHER_SIZE: Final = 2 * KEY_SIZE + SIGNATURE_SIZE


class StorageNumber(IntEnum):
    """The number in a frame's header."""

    STORE_BEGIN = 80
    STORE_BEGAN = 81
    STORE_DELEGATE = 82
    STORE_OPEN = 83
    STORE_OPENED = 84
    STORE_PEER = 85
    STORE_PUT = 86
    STORE_STARTED = 87
    STORE_PIECE = 88
    STORE_KEEP = 89
    STORE_KEPT = 90
    STORE_GET = 91
    STORE_LEAVES = 92
    STORE_CHALLENGE = 93
    STORE_PROOF = 94
    STORE_STAT = 95
    STORE_STATS = 96
    STORE_LIST = 97
    STORE_LISTED = 98
    STORE_DESCRIBE = 99
    STORE_DESCRIBED = 100
    STORE_RENEW = 101
    STORE_DELETE = 102
    STORE_CHANGED = 103
    STORE_USAGE = 104
    STORE_USED = 105
    STORE_MOVED = 106
    STORE_DONE = 107


class StoreOutcome(IntEnum):
    """What became of a request; one that is not here is a later version's word for a refusal."""

    DONE = 0
    REFUSED = 1
    """A proof is missing or false, or the tier that was opened does not allow it."""
    FULL = 2
    """The namespace, or the node, has no room for it."""
    UNKNOWN = 3
    """No such namespace, pack or share is here."""
    DAMAGED = 4
    """The bytes are not those that the descriptor names: those sent, or those that lie here."""
    BUSY = 5
    """More than a device may ask within a minute: try again later."""
    OLDER = 6
    """A newer generation of the namespace is here."""
    NOT_STORING = 7
    """This relay stores nothing."""
    UNABLE = 8
    """The node's disk failed; try again later, or elsewhere."""


class ShareState(IntEnum):
    """How it stands with a share at a node."""

    UNKNOWN = 0
    INCOMING = 1
    """Not all of its leaves are here."""
    WHOLE = 2
    DAMAGED = 3
    """Some of its leaves were read and found wrong, or could not be read."""
    STANDBY = 4
    """The node stands by, and holds none."""
    TRASHED = 5
    """Deleted by the owner, and here for some days yet."""


class Holder(NamedTuple):
    """A node that holds a share of a pack, or stands by."""

    number: int
    """Of its share, or STANDBY."""
    address: str
    """The relay's, with its fingerprint."""


class Stat(NamedTuple):
    """One share of a namespace, or a standby; several of one pack follow each other."""

    descriptor_id: bytes
    number: int
    state: int
    leaves: int
    """That are here and were right when they came, or were looked at last."""
    checked_s: int
    """When all of it was last found right, since 1970; 0: never."""
    lease_until_s: int


class Listed(NamedTuple):
    """One share in the list of a namespace."""

    position: int
    """Grows with every share that comes, and is never used twice."""
    descriptor_id: bytes
    number: int
    state: int
    size: int
    lease_until_s: int


class Described(NamedTuple):
    """A descriptor, and where its shares were put."""

    descriptor: bytes
    holders: tuple[Holder, ...]


@dataclass(frozen=True, slots=True)
class StoreBegin:
    """The first message of a link that is for storage alone."""

    version: int
    voucher: bytes
    """At a closed relay: public keys and proof of the pseudonym that it has let in; or empty."""


@dataclass(frozen=True, slots=True)
class StoreBegan:
    """Answers it: whether the relay stores anything, for whom, and what its operator says of it."""

    outcome: int
    owner: str
    region: str
    free_bytes: int
    """That the node would still take in all."""
    namespace_bytes: int
    """That one namespace may hold there."""


@dataclass(frozen=True, slots=True)
class StoreDelegate:
    """Founds a namespace, or names new keys for it."""

    number: int
    delegation: bytes
    signature: bytes
    signer: int
    emergency: bytes
    """The hash of the emergency key when it founds; that key when that signs; else empty."""
    salt: bytes
    """When the emergency key signs; else empty."""


@dataclass(frozen=True, slots=True)
class StoreOpen:
    """Opens a namespace on this link for one tier; lower tiers' rights come with it."""

    number: int
    namespace: bytes
    generation: int
    tier: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class StoreOpened:
    """Answers it, with the newest delegation there is; empty if there is none."""

    number: int
    outcome: int
    delegation: bytes


@dataclass(frozen=True, slots=True)
class StorePeer:
    """Shows that the caller is itself a node: it may read the packs of which it holds a share."""

    number: int
    sign_pk: bytes
    dh_pk: bytes
    proof: bytes


@dataclass(frozen=True, slots=True)
class StorePut:
    """Begins a share or goes on with one; or tells a node that it stands by, or who the holders
    are.
    """

    number: int
    namespace: bytes
    descriptor: bytes
    share: int
    hashes: tuple[bytes, ...]
    """Of all leaves of the share; none for STANDBY, or where the share is here already."""
    lease_until_s: int
    holders: tuple[Holder, ...]
    """All of them, this node included."""


@dataclass(frozen=True, slots=True)
class StoreStarted:
    """Answers it: how many leaves are here already, from the first; all: nothing is to be sent."""

    number: int
    outcome: int
    leaves: int


@dataclass(frozen=True, slots=True)
class StorePiece:
    """Some leaves of a share that was begun on this link, in order; answered by STORE_DONE."""

    number: int
    namespace: bytes
    descriptor_id: bytes
    share: int
    first: int
    data: bytes | memoryview
    """Whole leaves; bytes, where it has come in."""


@dataclass(frozen=True, slots=True)
class StoreKeep:
    """Asks that a share be kept, all leaves of which were sent."""

    number: int
    namespace: bytes
    descriptor_id: bytes
    share: int


@dataclass(frozen=True, slots=True)
class StoreKept:
    """Answers it once the share is durable, with the node's receipt."""

    number: int
    outcome: int
    lease_until_s: int
    time_s: int
    receipt: bytes
    """Empty if the outcome is another than DONE."""


@dataclass(frozen=True, slots=True)
class StoreGet:
    """Asks for leaves of a share, one after the other."""

    number: int
    namespace: bytes
    """Empty from a node, which may read what it holds a share of."""
    descriptor_id: bytes
    share: int
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class StoreLeaves:
    """Answers it: so many leaves as were asked for, or none."""

    number: int
    outcome: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StoreChallenge:
    """Asks for some leaves of a share with their paths to its root."""

    number: int
    namespace: bytes
    """Empty from a node."""
    descriptor_id: bytes
    share: int
    leaves: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoreProof:
    """Answers it: leaves and paths in the order of the challenge, or none."""

    number: int
    outcome: int
    leaves: tuple[bytes, ...]
    paths: tuple[tuple[bytes, ...], ...]


@dataclass(frozen=True, slots=True)
class StoreStat:
    """Asks how it stands with packs."""

    number: int
    namespace: bytes
    """Empty from a node."""
    descriptor_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Answers it, in the order of the question: each share that is here, or one with UNKNOWN."""

    number: int
    outcome: int
    stats: tuple[Stat, ...]


@dataclass(frozen=True, slots=True)
class StoreList:
    """Asks for what a namespace holds, after a position."""

    number: int
    namespace: bytes
    after: int


@dataclass(frozen=True, slots=True)
class StoreListed:
    """Answers it, by position; `is_more`: ask again after the last."""

    number: int
    outcome: int
    shares: tuple[Listed, ...]
    is_more: bool


@dataclass(frozen=True, slots=True)
class StoreDescribe:
    """Asks for the descriptors of packs."""

    number: int
    namespace: bytes
    """Empty from a node."""
    descriptor_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StoreDescribed:
    """Answers it with those that are here."""

    number: int
    outcome: int
    packs: tuple[Described, ...]


@dataclass(frozen=True, slots=True)
class StoreRenew:
    """Sets the leases of packs to a later day; an earlier one changes nothing."""

    number: int
    namespace: bytes
    lease_until_s: int
    descriptor_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class StoreDelete:
    """Puts packs into the trash, where they stay for days, or takes them out of it."""

    number: int
    namespace: bytes
    descriptor_ids: tuple[bytes, ...]
    is_back: bool
    """Takes them out of it."""


@dataclass(frozen=True, slots=True)
class StoreChanged:
    """Answers a STORE_RENEW or STORE_DELETE once it is durable."""

    number: int
    outcome: int
    missing: tuple[int, ...]
    """Which of those that were named are not here, by their index."""


@dataclass(frozen=True, slots=True)
class StoreUsage:
    """Asks what a namespace takes up."""

    number: int
    namespace: bytes


@dataclass(frozen=True, slots=True)
class StoreUsed:
    """Answers it."""

    number: int
    outcome: int
    used_bytes: int
    quota_bytes: int
    trashed_bytes: int
    shares: int
    damaged: int
    """Shares with a damaged leaf."""
    healed: int
    """Shares that this node has rebuilt since the namespace is here."""
    unchecked_s: int
    """When the share that was looked at least recently was last found right, since 1970."""


@dataclass(frozen=True, slots=True)
class StoreMoved:
    """A node that stood by tells the other holders of a pack which share it holds from now on."""

    number: int
    descriptor_id: bytes
    share: int


@dataclass(frozen=True, slots=True)
class StoreDone:
    """Answers a request that has no answer of its own, or cannot be carried out."""

    number: int
    outcome: int


StorageRequest: TypeAlias = (
    StoreDelegate
    | StoreOpen
    | StorePeer
    | StorePut
    | StorePiece
    | StoreKeep
    | StoreGet
    | StoreChallenge
    | StoreStat
    | StoreList
    | StoreDescribe
    | StoreRenew
    | StoreDelete
    | StoreUsage
    | StoreMoved
)
StorageAnswer: TypeAlias = (
    StoreOpened
    | StoreStarted
    | StoreKept
    | StoreLeaves
    | StoreProof
    | StoreStats
    | StoreListed
    | StoreDescribed
    | StoreChanged
    | StoreUsed
    | StoreDone
)
StorageMessage: TypeAlias = StoreBegin | StoreBegan | StorageRequest | StorageAnswer
