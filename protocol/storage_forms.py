"""How each message about stored shares looks on the wire, field by field (SPEC 18). No I/O."""

from __future__ import annotations

from typing import Any, Final

from crypto.epochs import Tier
from crypto.namespaces import DELEGATION_SIZE, NAMESPACE_SIZE, SALT_SIZE, Signer
from crypto.packs import LEAF_SIZE
from crypto.primitives import HASH_SIZE, KEY_SIZE, SIGNATURE_SIZE
from crypto.shares import DESCRIPTOR_SIZE_MAX, PATH_LENGTH_MAX, SHARE_LEAVES_MAX
from protocol.errors import Malformed
from protocol.fields import (
    BOOLEAN,
    Field,
    bounded_bytes,
    fixed_bytes,
    list_of,
    one_of,
    record_of,
    text,
    unsigned,
)
from protocol.mailbox_messages import RelayForm
from protocol.relay_address import ADDRESS_LENGTH_MAX
from protocol.storage_messages import (
    CHALLENGE_LEAVES_MAX,
    DESCRIBED_MAX,
    HOLDERS_MAX,
    LABEL_LENGTH_MAX,
    LISTED_MAX,
    PIECE_LEAVES_MAX,
    STATS_MAX,
    VOUCHER_SIZE,
    Described,
    Holder,
    Listed,
    Stat,
    StorageNumber,
    StoreBegan,
    StoreBegin,
    StoreChallenge,
    StoreChanged,
    StoreDelegate,
    StoreDelete,
    StoreDescribe,
    StoreDescribed,
    StoreDone,
    StoreGet,
    StoreKeep,
    StoreKept,
    StoreLeaves,
    StoreList,
    StoreListed,
    StoreMoved,
    StoreOpen,
    StoreOpened,
    StorePeer,
    StorePiece,
    StoreProof,
    StorePut,
    StoreRenew,
    StoreStarted,
    StoreStat,
    StoreStats,
    StoreUsage,
    StoreUsed,
)


def _bytes_or_none(length: int, what: str) -> Field:
    def read(value: Any) -> bytes:
        if type(value) is not bytes or len(value) not in (0, length):
            raise Malformed(what)
        return value

    return Field(f"bytes 0 or {length}", read)


def _read_leaves(value: Any) -> bytes:
    if type(value) is not bytes or len(value) % LEAF_SIZE:
        raise Malformed("not whole leaves")
    if len(value) > PIECE_LEAVES_MAX * LEAF_SIZE:
        raise Malformed("more leaves than a piece may have")
    return value


_NUMBER: Final = unsigned(32)
_NAMESPACE: Final = fixed_bytes(NAMESPACE_SIZE)
_NAMESPACE_OR_NONE: Final = _bytes_or_none(NAMESPACE_SIZE, "not a namespace")
_KEY: Final = fixed_bytes(KEY_SIZE)
_SIGNATURE: Final = fixed_bytes(SIGNATURE_SIZE)
_ID: Final = fixed_bytes(HASH_SIZE)
_SHARE: Final = unsigned(8)
_LEAF: Final = unsigned(16)
_COUNT: Final = unsigned(53)
_OUTCOME: Final = unsigned(8)
_STATE: Final = unsigned(8)
_DELEGATION: Final = fixed_bytes(DELEGATION_SIZE)
_DESCRIPTOR: Final = bounded_bytes(DESCRIPTOR_SIZE_MAX)
_LEAVES: Final = Field(f"bytes 0..{PIECE_LEAVES_MAX} leaves", _read_leaves)
_LABEL: Final = text(LABEL_LENGTH_MAX)
_HOLDERS: Final = list_of(record_of(Holder, _SHARE, text(ADDRESS_LENGTH_MAX)), 0, HOLDERS_MAX)
_IDS: Final = list_of(_ID, 1, STATS_MAX)
_STAT: Final = record_of(Stat, _ID, _SHARE, _STATE, _LEAF, _COUNT, _COUNT)
_LISTED: Final = record_of(Listed, _COUNT, _ID, _SHARE, _STATE, _COUNT, _COUNT)
_PATH: Final = list_of(_ID, 0, PATH_LENGTH_MAX)

N = StorageNumber
FORMS: Final[dict[StorageNumber, RelayForm]] = {
    N.STORE_BEGIN: RelayForm(
        StoreBegin, (unsigned(16, 1), _bytes_or_none(VOUCHER_SIZE, "not a voucher"))
    ),
    N.STORE_BEGAN: RelayForm(StoreBegan, (_OUTCOME, _LABEL, _LABEL, _COUNT, _COUNT)),
    N.STORE_DELEGATE: RelayForm(
        StoreDelegate,
        (
            _NUMBER, _DELEGATION, _SIGNATURE, one_of(*Signer),
            _bytes_or_none(KEY_SIZE, "not an emergency key"), _bytes_or_none(SALT_SIZE, "no salt"),
        ),
    ),
    N.STORE_OPEN: RelayForm(
        StoreOpen, (_NUMBER, _NAMESPACE, unsigned(32), one_of(*Tier), _SIGNATURE)
    ),
    N.STORE_OPENED: RelayForm(
        StoreOpened, (_NUMBER, _OUTCOME, _bytes_or_none(DELEGATION_SIZE, "not a delegation"))
    ),
    N.STORE_PEER: RelayForm(StorePeer, (_NUMBER, _KEY, _KEY, _SIGNATURE)),
    N.STORE_PUT: RelayForm(
        StorePut,
        (
            _NUMBER, _NAMESPACE, _DESCRIPTOR, _SHARE, list_of(_ID, 0, SHARE_LEAVES_MAX), _COUNT,
            _HOLDERS,
        ),
    ),
    N.STORE_STARTED: RelayForm(StoreStarted, (_NUMBER, _OUTCOME, _LEAF)),
    N.STORE_PIECE: RelayForm(StorePiece, (_NUMBER, _NAMESPACE, _ID, _SHARE, _LEAF, _LEAVES)),
    N.STORE_KEEP: RelayForm(StoreKeep, (_NUMBER, _NAMESPACE, _ID, _SHARE)),
    N.STORE_KEPT: RelayForm(
        StoreKept,
        (_NUMBER, _OUTCOME, _COUNT, _COUNT, _bytes_or_none(SIGNATURE_SIZE, "not a receipt")),
    ),
    N.STORE_GET: RelayForm(
        StoreGet, (_NUMBER, _NAMESPACE_OR_NONE, _ID, _SHARE, _LEAF, unsigned(8, 1))
    ),
    N.STORE_LEAVES: RelayForm(StoreLeaves, (_NUMBER, _OUTCOME, _LEAVES)),
    N.STORE_CHALLENGE: RelayForm(
        StoreChallenge,
        (_NUMBER, _NAMESPACE_OR_NONE, _ID, _SHARE, list_of(_LEAF, 1, CHALLENGE_LEAVES_MAX)),
    ),
    N.STORE_PROOF: RelayForm(
        StoreProof,
        (
            _NUMBER, _OUTCOME, list_of(fixed_bytes(LEAF_SIZE), 0, CHALLENGE_LEAVES_MAX),
            list_of(_PATH, 0, CHALLENGE_LEAVES_MAX),
        ),
    ),
    N.STORE_STAT: RelayForm(StoreStat, (_NUMBER, _NAMESPACE_OR_NONE, _IDS)),
    N.STORE_STATS: RelayForm(StoreStats, (_NUMBER, _OUTCOME, list_of(_STAT, 0, 2 * STATS_MAX))),
    N.STORE_LIST: RelayForm(StoreList, (_NUMBER, _NAMESPACE, _COUNT)),
    N.STORE_LISTED: RelayForm(
        StoreListed, (_NUMBER, _OUTCOME, list_of(_LISTED, 0, LISTED_MAX), BOOLEAN)
    ),
    N.STORE_DESCRIBE: RelayForm(
        StoreDescribe, (_NUMBER, _NAMESPACE_OR_NONE, list_of(_ID, 1, DESCRIBED_MAX))
    ),
    N.STORE_DESCRIBED: RelayForm(
        StoreDescribed,
        (_NUMBER, _OUTCOME, list_of(record_of(Described, _DESCRIPTOR, _HOLDERS), 0, DESCRIBED_MAX)),
    ),
    N.STORE_RENEW: RelayForm(StoreRenew, (_NUMBER, _NAMESPACE, _COUNT, _IDS)),
    N.STORE_DELETE: RelayForm(StoreDelete, (_NUMBER, _NAMESPACE, _IDS, BOOLEAN)),
    N.STORE_CHANGED: RelayForm(StoreChanged, (_NUMBER, _OUTCOME, list_of(_LEAF, 0, STATS_MAX))),
    N.STORE_USAGE: RelayForm(StoreUsage, (_NUMBER, _NAMESPACE)),
    N.STORE_USED: RelayForm(StoreUsed, (_NUMBER, _OUTCOME, *([_COUNT] * 7))),
    N.STORE_MOVED: RelayForm(StoreMoved, (_NUMBER, _ID, _SHARE)),
    N.STORE_DONE: RelayForm(StoreDone, (_NUMBER, _OUTCOME)),
}  # fmt: skip
"""The whole schema; each number has one form."""
