"""Coverage-guided fuzzing of all that is decoded from strangers, for as long as one likes.

    python -m tests.fuzz wire|changeset|records|session [--seconds N] [atheris's options]

Needs `pip install atheris`, which the test run does not. An input that makes anything but a
ProtocolError come out, decodes to what encodes to other bytes, or costs too much, is written to a
file `crash-...` and printed; give that file as the last argument to see it again. The tests have
the same laws with Hypothesis: tests/protocol/test_wire.py, test_messages.py, test_changesets.py,
test_records.py, test_session.py.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from crypto.ids import LogId
from protocol import messages, wire
from protocol.changesets import author_changeset, decode_changeset, open_changeset
from protocol.errors import ProtocolError
from protocol.nodes import ROOT
from protocol.records import Stamp, decode_records, encode_records
from protocol.session import Session
from tests.protocol.people import Person, Place

STAMP = Stamp(LogId(b"A" * 16), 5, 20)
FRONTIER = {LogId(b"B" * 16): 4}
PLACE = Place.found(Person(1))
NODE = b"n" * 15 + b"\0"
RECORDS = [
    [0, "Laptop", 1000],
    [1, NODE, ROOT, "name", 0, [b"B" * 16, 3], [], None, None],
    [2, NODE, b"h" * 32, 5, 7, b"", []],
    [3, NODE, True, 9],
    [5],
]


def fuzz_wire(data: bytes) -> None:
    """CBOR of the profile, alone and as the payload of frames."""
    if data:
        messages.decode(data[0], data[1:])
    assert wire.encode(wire.decode(data)) == data


def fuzz_changeset(data: bytes) -> None:
    """A changeset from its wire form to its records, under a key that opens it."""
    changeset = decode_changeset(data)
    PLACE.book.receive(data)
    key = PLACE.epochs.record_key(changeset.slot.epoch_id)
    if key is not None:
        open_changeset(changeset, key)


def fuzz_records(data: bytes) -> None:
    """The records of a changeset; what is taken is encoded and taken again, the same."""
    plain = wire.decode(data)
    if not isinstance(plain, list):
        return
    records = decode_records(plain, STAMP, FRONTIER)
    again = encode_records(records.nodes, records.origins, STAMP, "Laptop", 1000)
    nodes = decode_records(wire.decode(wire.encode(again)), STAMP, FRONTIER).nodes
    assert nodes.keys() == records.nodes.keys()


def fuzz_session(data: bytes) -> None:
    """A conversation: frames as they come, each answered, none raising anything."""
    session = Session(0.0, "fuzzed")
    session.share(PLACE.ledger.folder_id, [])
    now = 0.0
    for number, payload in wire.FrameReader(1 << 16).feed(data):
        now += 1.0
        session.receive(number, payload, now)
        while session.next_event() is not None:
            pass
        for out, parts, _ in session.frames_to_send():
            messages.decode(out, b"".join(bytes(part) for part in parts))


def seeds() -> dict[str, list[bytes]]:
    """What honest devices send, to begin with."""
    draft = PLACE.book.draft(PLACE.keys.device_id, PLACE.incarnation)
    key = PLACE.epochs.record_key(draft.slot.epoch_id)
    assert key is not None
    changeset = author_changeset(PLACE.keys, key, draft.slot, [], RECORDS, PLACE.random)
    folder_id = PLACE.ledger.folder_id
    told: list[messages.Message] = [
        messages.Greeting(1, "left"),
        messages.Frontier(folder_id, (), False, 0),
        messages.Changesets(folder_id, (changeset.wire,)),
        messages.Ping(7),
        messages.Close(0, ""),
    ]
    encoded = [(int(n), b"".join(map(bytes, parts))) for n, parts in map(messages.encode, told)]
    return {
        "wire": [bytes([number]) + payload for number, payload in encoded] + [wire.encode(RECORDS)],
        "changeset": [changeset.wire],
        "records": [wire.encode(RECORDS)],
        "session": [
            b"".join(bytes(part) for n, payload in encoded for part in wire.frame(n, [payload]))
        ],
    }


TARGETS: dict[str, Callable[[bytes], None]] = {
    "wire": fuzz_wire,
    "changeset": fuzz_changeset,
    "records": fuzz_records,
    "session": fuzz_session,
}


def try_one(target: Callable[[bytes], None], data: bytes) -> None:
    """One input: an offence is an answer, everything else is a finding, and so is what costs more
    than it should.
    """
    took_s = min(_seconds_of(target, data) for _ in range(2))
    if took_s > SECONDS_MAX:  # once more: the collector may have run in both
        took_s = _seconds_of(target, data)
    tracemalloc.start()
    try:
        _seconds_of(target, data)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert took_s <= SECONDS_MAX, f"it took {took_s:.3f} s"
    assert peak_bytes <= BYTES_MAX + BYTES_PER_BYTE * len(data), f"it took {peak_bytes} bytes"


SECONDS_MAX = 0.25
"""Of the processor, for up to 64 KiB of input: so many empty lists, each read and written again,
take 0.1 s; the usual input takes less than a millisecond.
"""
BYTES_MAX = 1 << 20
BYTES_PER_BYTE = 64
"""A Python object for each byte of input is the least that a list of small things can take."""


def _seconds_of(target: Callable[[bytes], None], data: bytes) -> float:
    begin = time.process_time()
    try:
        target(data)
    except ProtocolError:
        pass
    return time.process_time() - begin


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, metavar="N")
    options, more = parser.parse_known_args(arguments)
    try:
        import atheris
    except ImportError:
        sys.exit("Install atheris first: pip install atheris")
    target = TARGETS[options.target]
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds()[options.target]):
            (Path(corpus) / str(number)).write_bytes(seed)
        atheris.instrument_all()
        limits = [f"-max_total_time={options.seconds}", "-max_len=65536", "-timeout=10"]
        again = [argument for argument in more if not argument.startswith("-")]
        given = more if again else [*limits, *more, corpus]
        atheris.Setup([sys.argv[0], *given], lambda data: try_one(target, data))
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
