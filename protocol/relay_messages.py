"""What a device and a relay say to each other: frames and one prefix (SPEC 14 to 20). No I/O.

A device says its whole state each time (under what ids it waits), so nothing has to be undone and
a repeated message changes nothing. A relay is told no device id, no user and no folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from typing import Any, Final, TypeAlias

from crypto.packs import LEAF_SIZE
from crypto.relay_ids import RENDEZVOUS_ID_SIZE
from protocol import wire
from protocol.datagrams import CLIENT_ID_SIZE, PREFIX_BITS, PREFIX_MASK, PREFIX_SIZE
from protocol.errors import Malformed, Unexpected
from protocol.fields import Field, fixed_bytes, list_of, one_of, record_of, unsigned
from protocol.link_messages import FORMS as LINK_FORMS
from protocol.link_messages import LinkMessage
from protocol.mailbox_messages import FORMS as MAILBOX_FORMS
from protocol.mailbox_messages import MailboxMessage, RelayForm
from protocol.relay_token import TOKEN_SIZE
from protocol.storage_forms import FORMS as STORAGE_FORMS
from protocol.storage_messages import (
    STORAGE_FRAME_LENGTH_MAX,
    StorageMessage,
    StorageNumber,
    StoreLeaves,
    StorePiece,
)
from protocol.upload_messages import FORMS as UPLOAD_FORMS
from protocol.upload_messages import UploadMessage
from protocol.words import NAMEPLATE_MAX

RELAY_VERSION: Final = 1
RELAY_FRAME_LENGTH_MAX: Final = 16 << 10
"""As before authentication; only a link that is for storage alone carries more."""
RENDEZVOUS_MAX: Final = 768
"""Three days for each of 256 devices; 13 KiB."""
NAMEPLATES_MAX: Final = 16
"""Codes that one device shows at one relay at once."""
TICKET_SIZE: Final = 32
STREAM_MAGIC: Final = b"HFR1"
"""What begins a stream, before its ticket; TLS begins otherwise, on the same port."""
STREAM_PREFIX_SIZE: Final = len(STREAM_MAGIC) + TICKET_SIZE


class RelayNumber(IntEnum):
    """The number in a frame's header."""

    RELAY_ASK = 48
    RELAY_KEYS = 49
    REGISTER = 50
    REGISTERED = 51
    CALL = 52
    CALLED = 53
    INCOMING = 54
    RELAY_PING = 55
    RELAY_PONG = 56
    UDP_ASK = 57
    UDP_KEY = 58
    ADMIT = 60
    ADMISSION = 61


class CallOutcome(IntEnum):
    """What became of a call."""

    CONNECTED = 0
    """The other side was told; the ticket is the caller's."""
    NOT_THERE = 1
    """Nobody waits under that id."""
    BUSY = 2
    """The relay carries as much as it may, in all or for these two."""
    OVER_QUOTA = 3
    """It has carried for one of these two what it carries for anybody on one day."""


class AdmissionOutcome(IntEnum):
    """Whether a device may use the relay."""

    ADMITTED = 0
    NEEDED = 1
    """The relay is closed, and the device has shown no token."""
    REFUSED = 2
    """The token is none, too old, or used up."""


@dataclass(frozen=True, slots=True)
class RelayAsk:
    """Shows that the dialler knows the relay's address; nobody else is answered."""

    version: int
    proof: bytes


@dataclass(frozen=True, slots=True)
class RelayKeys:
    """The relay's public keys, which the fingerprint in its address fixes."""

    version: int
    sign_pk: bytes
    dh_pk: bytes


@dataclass(frozen=True, slots=True)
class Register:
    """Says under which ids and nameplates the device waits from now on; what is left out ends."""

    number: int
    rendezvous: tuple[bytes, ...]
    nameplates: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Registered:
    """Answers it with the nameplates that another device shows already."""

    number: int
    taken: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """Asks to be connected with who waits under an id or a nameplate."""

    number: int
    target: bytes | int


@dataclass(frozen=True, slots=True)
class Called:
    """Answers a call; the ticket is there if the outcome is CONNECTED."""

    number: int
    outcome: int
    ticket: bytes
    prefix: bytes
    """Of the datagrams of this call; empty where one of the two has shown no UDP."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """Somebody calls: whoever wants to know who, opens a stream with this ticket."""

    ticket: bytes
    prefix: bytes


@dataclass(frozen=True, slots=True)
class RelayPing:
    """Asks for a RELAY_PONG with the same value."""

    value: int


@dataclass(frozen=True, slots=True)
class RelayPong:
    """Answers a RELAY_PING."""

    value: int


@dataclass(frozen=True, slots=True)
class UdpAsk:
    """Asks for a key to show by UDP where the device is."""

    number: int


@dataclass(frozen=True, slots=True)
class UdpKey:
    """Answers it; the key before is worth nothing from now on."""

    number: int
    client_id: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Admit:
    """Shows the token of an invitation; the first message of a device that has one."""

    token: bytes


@dataclass(frozen=True, slots=True)
class Admission:
    """Answers it, and whatever else a device asks of a closed relay that has not let it in."""

    outcome: int


RelayMessage: TypeAlias = (
    RelayAsk
    | RelayKeys
    | Register
    | Registered
    | Call
    | Called
    | Incoming
    | RelayPing
    | RelayPong
    | UdpAsk
    | UdpKey
    | Admit
    | Admission
    | MailboxMessage
    | StorageMessage
    | LinkMessage
    | UploadMessage
)


def _read_target(value: Any) -> bytes | int:
    if type(value) is int and 1 <= value <= NAMEPLATE_MAX:
        return value
    if type(value) is bytes and len(value) == RENDEZVOUS_ID_SIZE:
        return value
    raise Malformed("neither a rendezvous id nor a nameplate")


def _read_nameplate(value: Any) -> int:
    if type(value) is not int or not 1 <= value <= NAMEPLATE_MAX:
        raise Malformed("not a nameplate")
    return value


def _read_ticket(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, TICKET_SIZE):
        raise Malformed("not a ticket")
    return value


def _read_prefix(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, PREFIX_SIZE):
        raise Malformed("not a prefix")
    if value and value[0] & PREFIX_MASK != PREFIX_BITS:
        raise Malformed("a prefix that looks like QUIC")
    return value


_VERSION: Final = one_of(RELAY_VERSION)
_BYTES_32: Final = fixed_bytes(32)
_NUMBER: Final = unsigned(32)
_NAMEPLATES: Final = list_of(Field(f"int 1..{NAMEPLATE_MAX}", _read_nameplate), 0, NAMEPLATES_MAX)
_RENDEZVOUS: Final = list_of(fixed_bytes(RENDEZVOUS_ID_SIZE), 0, RENDEZVOUS_MAX)
_TARGET: Final = Field(f"bytes {RENDEZVOUS_ID_SIZE} or int 1..{NAMEPLATE_MAX}", _read_target)
_TICKET_OR_NONE: Final = Field(f"bytes 0 or {TICKET_SIZE}", _read_ticket)
_PREFIX: Final = Field(f"bytes 0 or {PREFIX_SIZE}", _read_prefix)

FORMS: Final[dict[RelayNumber, RelayForm]] = {
    RelayNumber.RELAY_ASK: RelayForm(RelayAsk, (_VERSION, _BYTES_32)),
    RelayNumber.RELAY_KEYS: RelayForm(RelayKeys, (_VERSION, _BYTES_32, _BYTES_32)),
    RelayNumber.REGISTER: RelayForm(Register, (_NUMBER, _RENDEZVOUS, _NAMEPLATES)),
    RelayNumber.REGISTERED: RelayForm(Registered, (_NUMBER, _NAMEPLATES)),
    RelayNumber.CALL: RelayForm(Call, (_NUMBER, _TARGET)),
    RelayNumber.CALLED: RelayForm(
        Called, (_NUMBER, one_of(*CallOutcome), _TICKET_OR_NONE, _PREFIX)
    ),
    RelayNumber.INCOMING: RelayForm(Incoming, (fixed_bytes(TICKET_SIZE), _PREFIX)),
    RelayNumber.RELAY_PING: RelayForm(RelayPing, (unsigned(64),)),
    RelayNumber.RELAY_PONG: RelayForm(RelayPong, (unsigned(64),)),
    RelayNumber.UDP_ASK: RelayForm(UdpAsk, (_NUMBER,)),
    RelayNumber.UDP_KEY: RelayForm(UdpKey, (_NUMBER, fixed_bytes(CLIENT_ID_SIZE), _BYTES_32)),
    RelayNumber.ADMIT: RelayForm(Admit, (fixed_bytes(TOKEN_SIZE),)),
    RelayNumber.ADMISSION: RelayForm(Admission, (one_of(*AdmissionOutcome),)),
}
"""The whole schema; each number has one form."""

_ALL: Final[dict[int, RelayForm]] = {
    **{int(number): form for number, form in FORMS.items()},
    **{int(number): form for number, form in MAILBOX_FORMS.items()},
    **{int(number): form for number, form in STORAGE_FORMS.items()},
    **{int(number): form for number, form in LINK_FORMS.items()},
    **{int(number): form for number, form in UPLOAD_FORMS.items()},
}
_NUMBERS: Final = {form.type: number for number, form in _ALL.items()}
_RECORDS: Final = {number: record_of(form.type, *form.fields) for number, form in _ALL.items()}
_LENGTHS: Final = dict.fromkeys(
    map(int, (*STORAGE_FORMS, *LINK_FORMS, *UPLOAD_FORMS)), STORAGE_FRAME_LENGTH_MAX
)
_BULK_NUMBERS: Final = (StorageNumber.STORE_PIECE, StorageNumber.STORE_LEAVES)
"""Messages that end with whole leaves; all before them is shorter than one."""
_NAMES: Final = {
    form.type: tuple(field.name for field in dataclass_fields(form.type)) for form in _ALL.values()
}


def encode(message: RelayMessage) -> tuple[int, bytes]:
    """The number and the payload of a message's frame."""
    values = [getattr(message, name) for name in _NAMES[type(message)]]
    return _NUMBERS[type(message)], wire.encode(values)


def encode_parts(message: RelayMessage) -> tuple[int, list[bytes | memoryview]]:
    """The same in parts for a gathering write: the leaves of shares are not copied."""
    if isinstance(message, StorePiece | StoreLeaves) and message.data:
        kind = type(message)
        values = [getattr(message, name) for name in _NAMES[kind][:-1]]
        return _NUMBERS[kind], wire.encode_bulk(values, message.data)
    number, payload = encode(message)
    return number, [payload]


def decode(number: int, payload: bytes) -> RelayMessage:
    """The message of this number; raises Unexpected, Malformed or TooLong."""
    record = _RECORDS.get(number)
    if record is None:
        raise Unexpected(f"message {number} on a link to a relay")
    length_max = _LENGTHS.get(number, RELAY_FRAME_LENGTH_MAX)
    bulk = len(payload) - len(payload) % LEAF_SIZE
    if number in _BULK_NUMBERS and bulk:
        value = wire.decode_bulk(payload, bulk, length_max, record.items)
    else:
        value = wire.decode(payload, length_max, record.items)
    message: RelayMessage = record.read(value)
    if type(message) is Called:
        is_whole = bool(message.ticket) == (message.outcome == CallOutcome.CONNECTED)
        if not is_whole:
            raise Malformed("a ticket goes with CONNECTED, and with nothing else")
    return message


def stream_prefix(ticket: bytes) -> bytes:
    """The first bytes of a stream; all that follow are the two devices' own."""
    assert len(ticket) == TICKET_SIZE
    return STREAM_MAGIC + ticket


def read_stream_prefix(prefix: bytes) -> bytes:
    """The ticket; raises Malformed."""
    if len(prefix) != STREAM_PREFIX_SIZE or not prefix.startswith(STREAM_MAGIC):
        raise Malformed("not the beginning of a stream")
    return prefix[len(STREAM_MAGIC) :]
