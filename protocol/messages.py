"""Every message of a session, one frozen dataclass each, numbered; the set is closed.

The schema is the table FORMS at the end; SPEC 7 says the same in words, and a test compares the
two. Numbers below 16 belong to the handshake and to pairing.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from typing import Final, NamedTuple

from crypto.ids import ChunkId, DeviceId, EntryId, FolderId, UserId
from protocol import wire
from protocol.backup_records import RECORDS as BACKUPS
from protocol.backup_records import VAULT_SECRET, BackupRecord
from protocol.candidates import CANDIDATES_MAX, Candidate, CandidateKind, check_host
from protocol.changesets import FrontierEntry as FrontierEntry
from protocol.chunk_frames import WANTED_CHUNKS_MAX, Chunks, decode_chunks, encode_chunks
from protocol.errors import Unexpected
from protocol.fields import (
    BOOLEAN,
    Field,
    bounded_bytes,
    fixed_bytes,
    is_control,
    list_of,
    one_of,
    record_of,
    text,
    unsigned,
)
from protocol.link_records import END_KEYS, UPLOADS, EndKey, LinkRecord, UploadRecord
from protocol.link_records import RECORDS as LINKS
from protocol.link_records import WISHES as LINK_WISHES
from protocol.relay_records import RECORDS, RelayRecord
from protocol.trail import CHECKPOINT_LENGTH_MAX, CHECKPOINTS_MAX

PROTOCOL_VERSION: Final = 2
"""2 came with END_KEYS and UPLOAD_LINKS: who does not know them passes over what a higher version
says."""
DEVICE_NAME_LENGTH_MAX: Final = 64
"""Characters: enough for any name a person chose, and short enough for a line of a screen."""
CLOSE_TEXT_LENGTH_MAX: Final = 200
LEDGERS_MAX: Final = 4096
"""Ledgers that one LEDGER_HEADS names: every folder and every user known."""
HEADS_MAX: Final = 64
"""Heads of one ledger: as many devices wrote to it while apart."""
LEDGER_ENTRIES_MAX: Final = 4096
LEDGER_ENTRY_LENGTH_MAX: Final = (64 << 10) + 128
"""An entry is at most 64 KiB (SPEC 8); the rest is room for its signature."""
WRAPS_MAX: Final = 4096
WRAP_LENGTH_MAX: Final = 2048
"""176 bytes in suite 1; 1,264 with the post-quantum suite that is planned."""
LOGS_MAX: Final = 4096
"""Logs of one folder: one for each incarnation of each device that ever wrote to it."""
CHANGESETS_MAX: Final = 4096


class MessageNumber(IntEnum):
    """The number in a frame's header (SPEC 7)."""

    GREETING = 16
    LEDGER_HEADS = 17
    LEDGER = 18
    WRAPS = 19
    FRONTIER = 20
    CHANGESETS = 21
    UNSHARE = 22
    WANT = 23
    CANCEL = 24
    MISSING = 25
    CHUNKS = 26
    STATE = 27
    PING = 28
    PONG = 29
    CLOSE = 30
    PATHS = 31
    RELAYS = 32
    BACKUPS = 33
    TRAILS = 34
    LINKS = 35
    END_KEYS = 36
    UPLOAD_LINKS = 37


class LedgerHeads(NamedTuple):
    """The newest entries of one ledger: those that no other entry known here has as parent."""

    kind: int
    ledger_id: bytes
    heads: tuple[EntryId, ...]


class Wrap(NamedTuple):
    """An epoch's secrets, sealed to one device or recovery key."""

    recipient: DeviceId | UserId
    sealed: bytes


@dataclass(frozen=True, slots=True)
class Greeting:
    """Opens the session: who this is, in words for a person."""

    version: int
    device_name: str


@dataclass(frozen=True, slots=True)
class LedgerHeadsKnown:
    """Says how far the sender knows each ledger that both may see."""

    ledgers: tuple[LedgerHeads, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Brings entries of one ledger, parents first."""

    kind: int
    ledger_id: bytes
    entries: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Wraps:
    """Brings the secrets of an epoch for some of its recipients."""

    folder_id: FolderId
    epoch_id: EntryId
    wraps: tuple[Wrap, ...]


@dataclass(frozen=True, slots=True)
class Frontier:
    """Says how far the sender holds the named logs, or if `applied`, has them on disk, fsynced."""

    folder_id: FolderId
    entries: tuple[FrontierEntry, ...]
    applied: bool
    batch: int
    """How many CHANGESETS of this folder the sender has dealt with in this session."""


@dataclass(frozen=True, slots=True)
class Changesets:
    """Brings changesets of a folder, each log's in its order."""

    folder_id: FolderId
    changesets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Unshare:
    """Ends the talk about a folder; its open requests are over."""

    folder_id: FolderId


@dataclass(frozen=True, slots=True)
class Want:
    """Asks for chunks; each is answered by its index in CHUNKS or MISSING."""

    folder_id: FolderId
    request: int
    chunk_ids: tuple[ChunkId, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Takes a request back; what is under way may still arrive."""

    request: int


@dataclass(frozen=True, slots=True)
class Missing:
    """Says which chunks of a request the sender does not have."""

    request: int
    indexes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class State:
    """Says what the sender still lacks of a folder, so that the other side can show it."""

    folder_id: FolderId
    need_files: int
    need_bytes: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a PONG with the same value."""

    value: int


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a PING."""

    value: int


@dataclass(frozen=True, slots=True)
class Close:
    """Ends the session; nothing follows it."""

    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Paths:
    """Tells where the sender may be reached, and half of the key of a round of probes."""

    round: int
    """0 asks the dialler of the link to begin a round."""
    secret: bytes
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class RelaysKnown:
    """Says which relays the user's devices use, as far as the sender knows."""

    records: tuple[RelayRecord, ...]


@dataclass(frozen=True, slots=True)
class BackupsKnown:
    """Says which folders rest at which super-nodes, and what opens the vault of the user's kit."""

    vault_secret: bytes
    """Empty if the sender does not know it."""
    records: tuple[BackupRecord, ...]


@dataclass(frozen=True, slots=True)
class TrailsKnown:
    """Shows how the sender's audit trail ends, and how far it knows those of the user's others."""

    checkpoints: tuple[bytes, ...]
    """Encoded and signed (`protocol.trail`): of the sender the last one of each chain."""


@dataclass(frozen=True, slots=True)
class LinksKnown:
    """Says which share links the sender has made, and which of others' it wishes to be ended."""

    records: tuple[LinkRecord, ...]
    """All that count yet, or the newest of them."""
    wishes: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class EndKeysKnown:
    """Says by which keys the receiver may end share links of the sender (SPEC 17)."""

    keys: tuple[EndKey, ...]
    """All that the links' relays know."""


@dataclass(frozen=True, slots=True)
class UploadLinksKnown:
    """Says which upload links the sender has made (SPEC 20)."""

    records: tuple[UploadRecord, ...]
    """All that count yet, or the newest of them."""


OwnKnown = RelaysKnown | BackupsKnown | TrailsKnown | LinksKnown | EndKeysKnown | UploadLinksKnown
"""What only devices of one user tell each other."""

Message = (
    Greeting
    | LedgerHeadsKnown
    | Ledger
    | Wraps
    | Frontier
    | Changesets
    | Unshare
    | Want
    | Cancel
    | Missing
    | Chunks
    | State
    | Ping
    | Pong
    | Close
    | Paths
    | RelaysKnown
    | BackupsKnown
    | TrailsKnown
    | LinksKnown
    | EndKeysKnown
    | UploadLinksKnown
)


@dataclass(frozen=True, slots=True)
class Form:
    """How a message looks on the wire: its fields in order, and the longest payload."""

    type: type[Message]
    length_max: int
    fields: tuple[Field, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, in order."""
        return tuple(field.name for field in dataclass_fields(self.type))


_ID: Final = fixed_bytes(32)
_KIND: Final = one_of(0, 1, 2)
_REQUEST: Final = unsigned(32)
_COUNT: Final = unsigned(53)
"""What ends in SQLite or JSON must fit there."""
_HEADS: Final = record_of(LedgerHeads, _KIND, _ID, list_of(_ID, 0, HEADS_MAX))
_WRAP: Final = record_of(Wrap, _ID, bounded_bytes(WRAP_LENGTH_MAX))
_POSITION: Final = record_of(FrontierEntry, fixed_bytes(16), _COUNT, _ID)
_SMALL: Final = 1 << 10
_CANDIDATE: Final = record_of(
    Candidate, one_of(*CandidateKind), Field("IP address", check_host), unsigned(16, 1)
)
_LARGE: Final = 1 << 20

# Number, type, longest payload, fields: the whole schema (SPEC 7).
FORMS: Final[dict[MessageNumber, Form]] = {
    MessageNumber.GREETING: Form(Greeting, _SMALL, (unsigned(16, 1), text(DEVICE_NAME_LENGTH_MAX))),
    MessageNumber.LEDGER_HEADS: Form(LedgerHeadsKnown, _LARGE, (list_of(_HEADS, 0, LEDGERS_MAX),)),
    MessageNumber.LEDGER: Form(
        Ledger,
        wire.MESSAGE_LENGTH_MAX,
        (_KIND, _ID, list_of(bounded_bytes(LEDGER_ENTRY_LENGTH_MAX), 1, LEDGER_ENTRIES_MAX)),
    ),
    MessageNumber.WRAPS: Form(
        Wraps, wire.MESSAGE_LENGTH_MAX, (_ID, _ID, list_of(_WRAP, 1, WRAPS_MAX))
    ),
    MessageNumber.FRONTIER: Form(
        Frontier, _LARGE, (_ID, list_of(_POSITION, 0, LOGS_MAX), BOOLEAN, _COUNT)
    ),
    MessageNumber.CHANGESETS: Form(
        Changesets,
        wire.MESSAGE_LENGTH_MAX,
        (_ID, list_of(bounded_bytes(wire.CHANGESET_LENGTH_MAX), 1, CHANGESETS_MAX)),
    ),
    MessageNumber.UNSHARE: Form(Unshare, _SMALL, (_ID,)),
    MessageNumber.WANT: Form(Want, 64 << 10, (_ID, _REQUEST, list_of(_ID, 1, WANTED_CHUNKS_MAX))),
    MessageNumber.CANCEL: Form(Cancel, _SMALL, (_REQUEST,)),
    MessageNumber.MISSING: Form(
        Missing, 8 << 10, (_REQUEST, list_of(unsigned(16), 1, WANTED_CHUNKS_MAX))
    ),
    MessageNumber.CHUNKS: Form(Chunks, wire.FRAME_LENGTH_MAX, ()),
    MessageNumber.STATE: Form(State, _SMALL, (_ID, _COUNT, _COUNT, BOOLEAN)),
    MessageNumber.PING: Form(Ping, _SMALL, (unsigned(64),)),
    MessageNumber.PONG: Form(Pong, _SMALL, (unsigned(64),)),
    MessageNumber.CLOSE: Form(Close, _SMALL, (unsigned(16), text(CLOSE_TEXT_LENGTH_MAX))),
    MessageNumber.PATHS: Form(
        Paths, _SMALL, (_REQUEST, _ID, list_of(_CANDIDATE, 0, CANDIDATES_MAX))
    ),
    MessageNumber.RELAYS: Form(RelaysKnown, 16 << 10, (RECORDS,)),
    MessageNumber.BACKUPS: Form(BackupsKnown, _LARGE, (VAULT_SECRET, BACKUPS)),
    MessageNumber.TRAILS: Form(
        TrailsKnown, 64 << 10, (list_of(bounded_bytes(CHECKPOINT_LENGTH_MAX), 0, CHECKPOINTS_MAX),)
    ),
    MessageNumber.LINKS: Form(LinksKnown, _LARGE, (LINKS, LINK_WISHES)),
    MessageNumber.END_KEYS: Form(EndKeysKnown, 64 << 10, (END_KEYS,)),
    MessageNumber.UPLOAD_LINKS: Form(UploadLinksKnown, _LARGE, (UPLOADS,)),
}
_NUMBERS: Final = {form.type: number for number, form in FORMS.items()}
# For each number: the longest payload and the record to read.
_READERS: Final = {
    int(number): (form.length_max, record_of(form.type, *form.fields))
    for number, form in FORMS.items()
    if form.type is not Chunks
}
_FIELD_NAMES: Final = {form.type: form.names for form in FORMS.values()}


def encode(message: Message) -> tuple[int, list[bytes | memoryview]]:
    """The number and the payload of a message's frame; what is too long for its form is our bug."""
    kind = type(message)
    if isinstance(message, Chunks):
        return MessageNumber.CHUNKS, encode_chunks(message)
    payload = wire.encode([getattr(message, name) for name in _FIELD_NAMES[kind]])
    number = _NUMBERS[kind]
    assert len(payload) <= FORMS[number].length_max, f"{number.name} of {len(payload)} bytes"
    return number, [payload]


def decode(number: int, payload: bytes) -> Message:
    """The message of a frame; raises Malformed or TooLong, Unexpected for an unknown number."""
    if number == MessageNumber.CHUNKS:
        return decode_chunks(payload)
    reader = _READERS.get(number)
    if reader is None:
        raise Unexpected(f"message number {number}")
    length_max, form = reader
    message: Message = form.read(wire.decode(payload, length_max, form.items))
    return message


def presentable(words: str, length_max: int) -> str:
    """Words that the other side will accept as text: no control characters, and not too many."""
    shown = "".join(c for c in words if not is_control(c) and not "\ud800" <= c <= "\udfff")
    return shown.strip()[:length_max].strip()


def presentable_name(name: str) -> str:
    """A device name that the other side will accept, made of what the person or host has chosen."""
    return presentable(name, DEVICE_NAME_LENGTH_MAX)
