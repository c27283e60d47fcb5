"""What two pairing devices say to each other: six frames and what ends it early (SPEC 6).

The first two are hashed into the transcript as they were on the wire, so their bytes are never made
anew from what was read.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from crypto.ids import DeviceId, EntryId, FolderId, UserId
from crypto.pairing_keys import CONFIRMATION_SIZE, PAIR_NONCE_SIZE, SPAKE2_MESSAGE_SIZE
from protocol import wire
from protocol.errors import Malformed, TooLong
from protocol.fields import (
    Field,
    bounded_bytes,
    fixed_bytes,
    list_of,
    one_of,
    record_of,
    text,
    unsigned,
)
from protocol.messages import (
    DEVICE_NAME_LENGTH_MAX,
    LEDGER_ENTRY_LENGTH_MAX,
    LOGS_MAX,
    WRAP_LENGTH_MAX,
    FrontierEntry,
)
from protocol.relay_records import RECORDS, RelayRecord
from protocol.words import NAMEPLATE_MAX

PAIRING_VERSION: Final = 1
PURPOSE_DEVICE: Final = 0
"""The dialler becomes a device of the listener's user; the only purpose so far."""
FOLDERS_MAX: Final = 4096
ENTRIES_MAX: Final = 8192
"""Entries of one ledger (SPEC 8)."""
WRAPS_MAX: Final = 65536
"""Wraps of one folder: every epoch to every device that was ever admitted."""
FOLDER_NAME_LENGTH_MAX: Final = 255
CERTIFICATE_LENGTH_MAX: Final = 256


class PairingNumber(IntEnum):
    """The number in a frame's header."""

    PAIR_HELLO = 4
    PAIR_REPLY = 5
    PAIR_CONFIRM = 6
    PAIR_GIVE = 7
    PAIR_REFUSE = 8


@dataclass(frozen=True, slots=True)
class PairHello:
    """Begins a try; the message is SPAKE2's, or empty when a QR code was scanned."""

    version: int
    kind: int
    nonce: bytes
    nameplate: int
    message: bytes


@dataclass(frozen=True, slots=True)
class PairReply:
    """Answers it. From here on the try is counted."""

    version: int
    nonce: bytes
    message: bytes


@dataclass(frozen=True, slots=True)
class DiallerConfirmation:
    """Proves that the dialler knows the code."""

    confirmation: bytes


@dataclass(frozen=True, slots=True)
class ListenerConfirmation:
    """Proves the same of the listener, and says whose device the dialler is to be."""

    confirmation: bytes
    user_id: UserId


@dataclass(frozen=True, slots=True)
class Introduction:
    """The new device: its name for a person, and its certificate for this user (CRYPTO 3)."""

    version: int
    purpose: int
    device_name: str
    certificate: bytes
    signature: bytes


class PairingWrap(NamedTuple):
    """An epoch's secrets, sealed to one device or recovery key."""

    epoch_id: EntryId
    recipient: DeviceId | UserId
    sealed: bytes


class WelcomeFolder(NamedTuple):
    """One folder of the user: its ledger, the wraps, and how far the listener holds each log.

    The frontier is a floor: the new device accepts less from nobody (ATTACKS A12).
    """

    folder_id: FolderId
    name: str
    entries: tuple[bytes, ...]
    wraps: tuple[PairingWrap, ...]
    frontier: tuple[FrontierEntry, ...]


@dataclass(frozen=True, slots=True)
class Welcome:
    """All that the new device needs; ledger entries as they came, parents first.

    The user ledger ends with the entry that adds the new device.
    """

    version: int
    purpose: int
    device_name: str
    device_id: DeviceId
    user_entries: tuple[bytes, ...]
    folders: tuple[WelcomeFolder, ...]
    relays: tuple[RelayRecord, ...]
    """Where the user's devices meet: the new one may have no other way to them."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Ends the pairing; the code is one of protocol.errors.ErrorCode."""

    code: int


PairingMessage: TypeAlias = (
    PairHello
    | PairReply
    | DiallerConfirmation
    | ListenerConfirmation
    | Introduction
    | Welcome
    | Refusal
)


M = TypeVar("M", bound=PairingMessage)


@dataclass(frozen=True, slots=True)
class PairingForm:
    """How a message looks on the wire: its number, its longest payload, its fields in order."""

    number: PairingNumber
    length_max: int
    fields: tuple[Field, ...]


def _read_spake2_message(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, SPAKE2_MESSAGE_SIZE):
        raise Malformed("not a SPAKE2 message")
    return value


def _read_nameplate(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= NAMEPLATE_MAX:
        raise Malformed("not a nameplate")
    return value


_ID: Final = fixed_bytes(32)
_VERSION: Final = one_of(PAIRING_VERSION)
_NONCE: Final = fixed_bytes(PAIR_NONCE_SIZE)
_SPAKE2_MESSAGE: Final = Field(f"bytes 0 or {SPAKE2_MESSAGE_SIZE}", _read_spake2_message)
_NAMEPLATE: Final = Field(f"int 1..{NAMEPLATE_MAX}", _read_nameplate)
_CONFIRMATION: Final = fixed_bytes(CONFIRMATION_SIZE)
_NAME: Final = text(DEVICE_NAME_LENGTH_MAX)
_ENTRIES: Final = list_of(bounded_bytes(LEDGER_ENTRY_LENGTH_MAX), 1, ENTRIES_MAX)
_FOLDER: Final = record_of(
    WelcomeFolder,
    _ID,
    text(FOLDER_NAME_LENGTH_MAX),
    _ENTRIES,
    list_of(record_of(PairingWrap, _ID, _ID, bounded_bytes(WRAP_LENGTH_MAX)), 0, WRAPS_MAX),
    list_of(record_of(FrontierEntry, fixed_bytes(16), unsigned(64), _ID), 0, LOGS_MAX),
)
_SMALL: Final = 1 << 10

FORMS: Final[dict[type[Any], PairingForm]] = {
    PairHello: PairingForm(
        PairingNumber.PAIR_HELLO,
        _SMALL,
        (_VERSION, one_of(1, 2), _NONCE, _NAMEPLATE, _SPAKE2_MESSAGE),
    ),
    PairReply: PairingForm(PairingNumber.PAIR_REPLY, _SMALL, (_VERSION, _NONCE, _SPAKE2_MESSAGE)),
    DiallerConfirmation: PairingForm(PairingNumber.PAIR_CONFIRM, _SMALL, (_CONFIRMATION,)),
    ListenerConfirmation: PairingForm(PairingNumber.PAIR_CONFIRM, _SMALL, (_CONFIRMATION, _ID)),
    Introduction: PairingForm(
        PairingNumber.PAIR_GIVE,
        _SMALL,
        (
            _VERSION,
            one_of(PURPOSE_DEVICE),
            _NAME,
            bounded_bytes(CERTIFICATE_LENGTH_MAX),
            fixed_bytes(64),
        ),
    ),
    Welcome: PairingForm(
        PairingNumber.PAIR_GIVE,
        wire.MESSAGE_LENGTH_MAX,
        (
            _VERSION,
            one_of(PURPOSE_DEVICE),
            _NAME,
            _ID,
            _ENTRIES,
            list_of(_FOLDER, 0, FOLDERS_MAX),
            RECORDS,
        ),
    ),
    Refusal: PairingForm(PairingNumber.PAIR_REFUSE, _SMALL, (unsigned(16),)),
}
"""The whole schema: both sides know which of two forms a number has from whose turn it is."""


def encode(message: PairingMessage) -> tuple[int, bytes]:
    """The number and the payload of a message's frame; TooLong for a welcome beyond the limit."""
    form = FORMS[type(message)]
    values = [getattr(message, field.name) for field in dataclass_fields(message)]
    payload = wire.encode(values)
    if len(payload) > form.length_max:
        raise TooLong(f"a {type(message).__name__} of {len(payload)} bytes")
    return form.number, payload


def decode(kind: type[M], payload: bytes) -> M:
    """The message of this form; raises Malformed or TooLong."""
    form = FORMS[kind]
    record = record_of(kind, *form.fields)
    items_max = min(record.items, wire.ITEMS_MAX)
    message: M = record.read(wire.decode(payload, form.length_max, items_max))
    return message
