"""SPEC.md says what the code does: every table of it that can be counted is compared."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from crypto.ids import ChunkId, FolderId, LogId, NodeId
from crypto.primitives import digest
from protocol import errors, pairing_messages
from protocol import messages as m
from protocol.changesets import FrontierEntry
from protocol.chunk_frames import PIECE_HEADER, REQUEST_HEADER, Chunks, Piece
from protocol.nodes import ROOT, Attributes, Content, Kind, Node, Place, copy_id
from protocol.records import MANIFEST_ENTRY, RecordType, Stamp, encode_records
from protocol.session import HANDLERS, SessionState
from tests.protocol.pair import SessionPair

FILE = NodeId(b"f" * 15 + b"\x00")
SPEC = (Path(__file__).parents[2] / "protocol" / "SPEC.md").read_text()

LIMITS = [
    "wire.HANDSHAKE_FRAME_LENGTH_MAX",
    "wire.FRAME_LENGTH_MAX",
    "wire.MESSAGE_LENGTH_MAX",
    "wire.DEPTH_MAX",
    "wire.ITEMS_MAX",
    "wire.UNCOUNTED_LENGTH",
    "wire.CHUNK_LENGTH_MAX",
    "wire.CHANGESET_LENGTH_MAX",
    "chunk_frames.WANTED_CHUNKS_MAX",
    "chunk_frames.CHUNKS_FRAME_BYTES",
    "chunk_requests.OPEN_REQUESTS_MAX",
    "chunk_requests.OPEN_CHUNKS_MAX",
    "folder_exchange.UNANSWERED_BYTES_MAX",
    "folder_exchange.CHANGESETS_FRAME_BYTES",
    "session.FOLDERS_MAX",
    "session.GREETING_TIMEOUT_S",
    "session.PING_AFTER_S",
    "session.SILENCE_MAX_S",
    "session.DOUBT_MAX_S",
    "ledger.ENTRY_LENGTH_MAX",
    "ledger.ENTRIES_MAX",
    "ledger.PARENTS_MAX",
    "ledger.ACTIONS_MAX",
    "names.NAME_BYTES_MAX",
    "records.VERBATIM_WRITES_MAX",
    "records.TARGET_LENGTH_MAX",
]


def section(number: int) -> str:
    found = re.search(rf"^## {number}\. .*?(?=^## |\Z)", SPEC, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[0]


def table(text: str, heading: str) -> list[list[str]]:
    """The rows of the table whose first column has this heading."""
    found = re.search(
        rf"^\| {re.escape(heading)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE
    )
    assert found is not None
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found[1].splitlines()]


def schema_of(form: m.Form) -> str:
    fields = zip(form.names, form.fields, strict=True)
    return "[" + ", ".join(f"{name}: {field.schema}" for name, field in fields) + "]"


def test_sections_are_numbered_without_gaps() -> None:
    numbers = [int(number) for number in re.findall(r"^## (\d+)\. ", SPEC, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_message_is_described_in_order() -> None:
    headings = re.findall(r"^### (\w+) \((\d+)\)$", section(7), re.MULTILINE)
    assert headings == [(number.name, str(number.value)) for number in m.MessageNumber]


@pytest.mark.parametrize("number", m.MessageNumber, ids=lambda number: number.name)
def test_a_message_has_its_sentence_schema_and_length(number: m.MessageNumber) -> None:
    form = m.FORMS[number]
    found = re.search(rf"^### {number.name} .*?(?=^#|\Z)", section(7), re.DOTALL | re.MULTILINE)
    assert found is not None
    text = found[0]
    assert form.type.__doc__ is not None
    words = " ".join(text.split())
    assert " ".join(form.type.__doc__.split()) in words
    assert f"At most {form.length_max:,} bytes." in words
    if form.type is Chunks:
        header = REQUEST_HEADER.size, PIECE_HEADER.size
        assert f"headers of {header[0]} and {header[1]} bytes" in words
    else:
        assert f"    {schema_of(form)}\n" in text
        for name in form.names:
            assert f"**{name}**" in text


def test_the_states_are_those_of_the_table_of_handlers() -> None:
    numbers = {form.type: number.name for number, form in m.FORMS.items()}
    expected = [
        [state.value, " ".join(numbers[kind] for kind in handlers) or "nothing"]
        for state, handlers in HANDLERS.items()
    ]
    assert table(section(7), "state") == expected
    assert set(HANDLERS) == set(SessionState)


def test_pairing_s_messages_are_those_of_the_code() -> None:
    expected = [
        [str(form.number.value), form.number.name, kind.__name__, f"`{fields}`"]
        for kind, form in pairing_messages.FORMS.items()
        for fields in ["[" + ", ".join(field.schema for field in form.fields) + "]"]
    ]
    assert table(section(6), "number") == expected


def test_kinds_are_those_of_the_code() -> None:
    assert table(section(11), "bits") == [[str(kind.value), kind.name] for kind in Kind]


def sample_records() -> list[list[Any]]:
    """A record of each type as the code writes it, the types in their order."""
    log, other = LogId(b"A" * 16), LogId(b"B" * 16)
    stamp = Stamp(log, 2, 5)
    directory = NodeId(b"d" * 15 + b"\x01")
    copy = NodeId(b"c" * 15 + b"\x04")
    own = ((log, 2), (other, 1))
    place = Place(own, 5, log, ROOT, "name", (ROOT, "before"), saw=((other, 1),), since=(3, other))
    content = Content(own, 5, log, b"h" * 32, 7, mtime_ns=11)
    old = Place(((other, 1),), 3, other, ROOT, "name", time_s=9, label="L")
    old_content = Content(((other, 1),), 3, other, b"i" * 32, 8, mtime_ns=12, time_s=9, label="L")
    made = NodeId(b"m" * 15 + b"\x00")
    first = Place(((log, 2),), 5, log, ROOT, "name")
    first_content = Content(((log, 2),), 5, log, b"j" * 32, 9, mtime_ns=14)
    nodes = {
        directory: Node((place,)),
        FILE: Node((), (content,), Attributes(5, log, True, 13)),
        copy: Node((old,), (old_content,), Attributes(3, other, True, 14)),
        made: Node((first,), (first_content,), Attributes(5, log, True, 14)),
    }
    records = encode_records(nodes, {copy: FILE}, stamp, "Label", 1000, is_scan_complete=True)
    return sorted(records, key=lambda record: int(record[0]))


def test_records_are_those_of_the_code() -> None:
    """Each record has the fields of the table, and each stands where the table says."""
    written = table(section(11), "number")
    assert [(row[0], row[1]) for row in written] == [(str(t.value), t.name) for t in RecordType]
    types = {"label": str, "name": str, "vector": list, "saw": list, "previous": list,
             "since": list, "places": list, "contents": list, "attributes": list,
             "executable": bool, "node": bytes, "parent": bytes, "hash": bytes,
             "manifest": bytes, "origin": bytes, "time_s": int, "flags": int, "size": int,
             "mtime_ns": int}  # fmt: skip
    described = [row[0] for row in table(section(11), "field")]
    used: list[str] = []
    for row, record in zip(written, sample_records(), strict=True):
        fields = row[2].strip("`[]").split(", ")
        assert [record[0], len(record)] == [int(fields[0]), len(fields)]
        for field, value in zip(fields[1:], record[1:], strict=True):
            assert type(value) is types[field], field
            used.append(field)
    assert described == list(dict.fromkeys(used))


@pytest.mark.parametrize(("field", "index"), [("places", 3), ("contents", 4), ("attributes", 5)])
def test_verbatim_writes_are_those_of_the_code(field: str, index: int) -> None:
    (text,) = [row[1] for row in table(section(11), "field") if row[0] == field]
    schema = re.search(r"`\[(.*)\]`", text)
    assert schema is not None
    record = sample_records()[RecordType.VERBATIM]
    (write,) = [record[index]] if field == "attributes" else record[index]
    assert len(schema[1].split(", ")) == len(write)
    for name, value in zip(schema[1].split(", "), write, strict=True):
        is_number = name in ("lamport", "time_s", "mtime_ns", "size", "flags")
        assert is_number == (type(value) is int), name


def test_a_copy_s_id_is_made_as_described() -> None:
    assert '`H("conflict", node, author, u64 seq, hash)[16]`' in section(11)
    author = LogId(b"A" * 16)
    loser = Content(((author, 3),), 1, author, b"h" * 32, 1)
    made = copy_id(FILE, loser)
    raw = digest("conflict", FILE, author, (3).to_bytes(8), b"h" * 32)[:16]
    assert made[:15] == raw[:15]
    assert made[15] & 0b111 == 0b100 | Kind.FILE
    assert made[15] & 0xF8 == raw[15] & 0xF8


def test_the_root_and_a_manifest_are_as_described() -> None:
    assert bytes(15) + b"\x01" == ROOT
    assert MANIFEST_ENTRY.size == 36
    assert MANIFEST_ENTRY.unpack(b"h" * 32 + b"\0\0\1\0") == (b"h" * 32, 256)


def test_errors_are_those_of_the_code() -> None:
    classes = {
        kind.code: kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.ProtocolError)
        if kind is not errors.ProtocolError
    }
    expected = [["0", "NONE", "A session that ends in good order."]]
    for code in errors.ErrorCode:
        if code:
            docstring = classes[code].__doc__
            assert docstring is not None
            expected.append([str(code.value), code.name, " ".join(docstring.split())])
    assert table(section(9), "code") == expected


def test_limits_are_those_of_the_code() -> None:
    expected = []
    for limit in LIMITS:
        module, name = limit.split(".")
        value = getattr(importlib.import_module(f"protocol.{module}"), name)
        unit = (
            " s" if name.endswith("_S") else " bytes" if "LENGTH" in name or "BYTES" in name else ""
        )
        expected.append([f"`{limit}`", f"{value:,g}{unit}" if unit == " s" else f"{value:,}{unit}"])
    assert table(section(12), "constant") == expected


def shown(message: m.Message) -> str:
    """A message on one line, with bytes shortened."""

    def value(item: object) -> str:
        if isinstance(item, bytes | memoryview):
            data = bytes(item)
            return f"{data[:1].decode()}…" if len(data) > 2 else data.decode()
        if isinstance(item, tuple):
            return "[" + ", ".join(map(value, item)) + "]"
        return str(item).lower() if isinstance(item, bool) else repr(item)

    numbers = {form.type: number.name for number, form in m.FORMS.items()}
    fields = [
        getattr(message, name) for name in m.FORMS[m.MessageNumber[numbers[type(message)]]].names
    ]
    return f"{numbers[type(message)]} {value(tuple(fields))}"


def example_exchange() -> list[str]:
    folder, log, digest = FolderId(b"F" * 32), LogId(b"L" * 16), b"H" * 32
    chunk_ids = [ChunkId(b"C" * 32), ChunkId(b"D" * 32)]
    pair = SessionPair()
    left, right = pair.left, pair.right
    pair.roundtrip()
    left.share(folder, [FrontierEntry(log, 2, digest)])
    right.share(folder, [])
    pair.roundtrip()
    left.offer_changesets(folder, log, 1, [b"c1", b"c2"])
    pair.transfer(left)
    right.update_frontier(folder, [FrontierEntry(log, 2, digest)], batch=1)
    request = right.want(folder, chunk_ids)
    pair.transfer(right)
    left.give(request, [Piece(0, 0, 2, b"ab"), Piece(1, 0, 2, b"cd")])
    pair.transfer(left)
    right.update_frontier(folder, [FrontierEntry(log, 2, digest)], applied=True)
    right.send(m.State(folder, 0, 0, False))
    pair.transfer(right)
    left.close()
    pair.transfer(left)
    arrows = {"left": "left → right", "right": "left ← right"}
    return [f"{arrows[sender]}  {shown(message)}" for sender, message in pair.carried]


def test_the_example_is_a_real_exchange() -> None:
    written = [line.strip() for line in section(13).splitlines() if line.startswith("    ")]
    assert written == example_exchange()
