"""Which relays a user's devices use: a small set that they tell each other until all have the same.

A device that adds or removes a relay says so with a version above all that it knows; of two records
of one relay the higher version counts, and of two of one version the greater record. So the order
in which devices hear of it does not matter, and no clock is asked. What was removed is kept as a
record too, or it would come back from a device that was away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from crypto.ids import RelayId
from protocol.errors import Malformed
from protocol.fields import BOOLEAN, Field, list_of, record_of, unsigned
from protocol.relay_address import ADDRESS_LENGTH_MAX, BadRelayAddress, RelayAddress
from protocol.relay_token import TOKEN_SIZE

RELAYS_MAX: Final = 4
"""Relays that a device uses: one is enough, and each is a link that says something every 25 s."""
RECORDS_MAX: Final = 32
"""Records that are kept and told: of removed relays the latest."""
VERSION_MAX: Final = (1 << 32) - 1


class RelayRecord(NamedTuple):
    """What one relay is to a user."""

    address: str
    token: bytes
    """Of an invitation, 16 bytes; empty if the relay asks for none."""
    version: int
    is_used: bool
    """False for one that was removed."""

    @property
    def place(self) -> RelayAddress:
        """The address, read."""
        return RelayAddress.parse(self.address)

    def __repr__(self) -> str:
        """The token is a secret, and a record is easily logged."""
        return f"RelayRecord({self.address!r}, version={self.version}, is_used={self.is_used})"


Records = Mapping[RelayId, RelayRecord]


def merge(known: Records, told: Iterable[RelayRecord]) -> dict[RelayId, RelayRecord]:
    """The records that count of both."""
    merged = dict(known)
    for record in told:
        relay_id = record.place.relay_id
        old = merged.get(relay_id)
        if old is None or _rank(record) > _rank(old):
            merged[relay_id] = record
    if len(merged) > RECORDS_MAX:
        kept = sorted(merged.values(), key=lambda r: (r.is_used, _rank(r)))[-RECORDS_MAX:]
        merged = {record.place.relay_id: record for record in kept}
    return merged


def _rank(record: RelayRecord) -> tuple[int, bool, str, bytes]:
    return record.version, record.is_used, record.address, record.token


def used(records: Records) -> list[RelayRecord]:
    """The relays to use: of too many those that were added last."""
    live = [record for record in records.values() if record.is_used]
    return sorted(live, key=_rank, reverse=True)[:RELAYS_MAX]


def next_version(records: Records) -> int:
    """The version of what a person says now."""
    return min(1 + max((record.version for record in records.values()), default=0), VERSION_MAX)


def write_records(records: Records) -> bytes:
    """The records as a device keeps them: a line each."""
    lines = (
        f"{r.address} {r.version} {'used' if r.is_used else 'removed'} {r.token.hex() or '-'}"
        for r in records.values()
    )
    return "\n".join(lines).encode()


def read_records(text: bytes) -> dict[RelayId, RelayRecord]:
    """The inverse of `write_records`."""
    records = {}
    for line in text.decode().splitlines():
        address, version, state, shown = line.split(" ")
        token = b"" if shown == "-" else bytes.fromhex(shown)
        record = RelayRecord(address, token, int(version), state == "used")
        records[record.place.relay_id] = record
    return records


def _read_address(value: Any) -> str:
    if type(value) is not str or len(value) > ADDRESS_LENGTH_MAX:
        raise Malformed("not a relay's address")
    try:
        is_canonical = str(RelayAddress.parse(value)) == value
    except BadRelayAddress:
        is_canonical = False
    if not is_canonical:
        raise Malformed("not a relay's address")
    return value


def _read_token(value: Any) -> bytes:
    if type(value) is not bytes or len(value) not in (0, TOKEN_SIZE):
        raise Malformed("not a token")
    return value


RECORDS: Final = list_of(
    record_of(
        RelayRecord,
        Field("relay address", _read_address),
        Field(f"bytes 0 or {TOKEN_SIZE}", _read_token),
        unsigned(32),
        BOOLEAN,
    ),
    0,
    RECORDS_MAX,
)
"""How they travel: in RELAYS and in a Welcome."""
