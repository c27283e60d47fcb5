"""Records as they travel and rest: what an honest device writes comes back, all else is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.ids import LogId, NodeId
from protocol import wire
from protocol.errors import BadName, BadRecord, NewerForm
from protocol.nodes import (
    NO_LOG,
    NO_NODE,
    NOTHING,
    ROOT,
    Attributes,
    Content,
    Kind,
    Node,
    Place,
    join,
    maximal,
)
from protocol.records import (
    SIZE_MAX,
    TARGET_LENGTH_MAX,
    TIME_MAX,
    VERBATIM_WRITES_MAX,
    Records,
    RecordType,
    Stamp,
    chunks_of,
    decode_records,
    decode_writes,
    encode_manifest,
    encode_records,
    encode_writes,
)
from tests.protocol.node_strategies import COPY, DIRECTORY, FILE, LOGS, SYMLINK, nodes

A, B, C = LOGS
STAMP = Stamp(A, 5, 20)
FRONTIER = {B: 4, C: 4}
OWN = ((A, 5),)
H = b"h" * 32
T = RecordType
HEADER = [T.HEADER, "Laptop", 1000]


def decode(*records: Any, frontier: dict[LogId, int] = FRONTIER) -> Records:
    """Through the wire's own profile, as a receiver gets them."""
    plain = wire.decode(wire.encode([HEADER, *records]))
    return decode_records(plain, STAMP, frontier)


def kind(node_id: NodeId) -> Kind:
    return Kind(node_id[15] & 3)


# ---------------------------------------------------------------- laws


@given(nodes(Kind.FILE), nodes(Kind.DIRECTORY), nodes(Kind.SYMLINK), st.booleans())
def test_what_is_encoded_is_what_is_decoded(
    file: Node, directory: Node, symlink: Node, is_complete: bool
) -> None:
    """Writes of others and old ones travel verbatim, whatever mixture a node is."""
    given_nodes = {DIRECTORY: directory, FILE: file, SYMLINK: symlink}
    records = encode_records(given_nodes, {}, STAMP, "Laptop", 1000, is_complete)
    decoded = decode_records(wire.decode(wire.encode(records)), STAMP, {A: 4, B: 4, C: 4})
    assert decoded.nodes == {i: n for i, n in given_nodes.items() if n != NOTHING}
    assert decoded.is_scan_complete == is_complete


@st.composite
def own_writes(draw: st.DrawFn) -> dict[NodeId, Node]:
    """What one scan writes: everything by this device, at this position."""
    seen = draw(
        st.dictionaries(st.sampled_from([B, C]), st.integers(1, 4)).map(lambda d: tuple(d.items()))
    )
    vector = tuple(sorted((*seen, (A, 5))))
    place = Place(
        vector, 20, A, draw(st.sampled_from([ROOT, DIRECTORY])), draw(st.sampled_from("ab")),
        is_deleted=draw(st.booleans()), saw=draw(st.sampled_from([(), vector, ((B, 2),)])),
        time_s=1000, label="Laptop",
    )  # fmt: skip
    size = draw(st.integers(0, 1 << 20))
    content = Content(
        vector, 20, A, H, size, mtime_ns=draw(st.integers(-9, 1 << 60)), time_s=1000, label="Laptop"
    )
    attributes = Attributes(20, A, draw(st.booleans()), 7)
    moved = place._replace(
        previous=draw(st.sampled_from([(NO_NODE, ""), (ROOT, "old")])),
        since=draw(st.sampled_from([(20, A), (3, B)])),
    )
    return {DIRECTORY: Node((moved,)), FILE: Node((place,), (content,), attributes)}


@given(own_writes())
def test_own_writes_travel_without_their_stamps(written: dict[NodeId, Node]) -> None:
    records = encode_records(written, {}, STAMP, "Laptop", 1000)
    assert {r[0] for r in records} == {T.HEADER, T.PLACE, T.CONTENT, T.ATTRIBUTES}
    decoded = decode_records(wire.decode(wire.encode(records)), STAMP, FRONTIER)
    assert decoded == Records(written, {}, False)


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(1 << 64), (1 << 64) - 1), st.binary(max_size=40),
        st.text(st.characters(codec="utf-8"), max_size=5),
        st.sampled_from([FILE, DIRECTORY, H, ROOT]),
        st.integers(0, 6),
    ),
    lambda inner: st.lists(inner, max_size=9),
    max_leaves=30,
)  # fmt: skip


@pytest.mark.row("A30")
@given(st.lists(values, max_size=4))
def test_any_values_are_records_or_refused(records: list[Any]) -> None:
    try:
        decode(*records)
    except (BadRecord, NewerForm):
        pass


GOOD: list[list[Any]] = [
    [T.PLACE, FILE, ROOT, "a", 0, [B, 2], [B, 1], None, None],
    [T.PLACE, DIRECTORY, ROOT, "a", 1, [B, 2], [A, 5], [ROOT, "b"], [3, B]],
    [T.CONTENT, FILE, H, 100, 7, b"", [B, 2]],
    [T.CONTENT, FILE, H, 30, 7, encode_manifest([(H, 10), (b"i" * 32, 20)]), []],
    [T.CONTENT, SYMLINK, H, 2, 7, b"to", []],
    [T.ATTRIBUTES, FILE, True, 7],
    [T.VERBATIM, COPY, FILE, [[[], 1, b"", ROOT, "a", b"", "", 2, [], 0, b"", 5, "L"]],
     [[[B, 2], 3, B, H, 1, b"", 7, 5, "L"]], [3, B, True, 9]],
    [T.VERBATIM, DIRECTORY, b"",
     [[[B, 1, C, 2], 9, C, ROOT, "a", ROOT, "b", 1, [B, 1], 3, B, 5, "L"]], [], None],
    [T.FILE, FILE, ROOT, "a", H, 100, 7, b"", True],
]  # fmt: skip


@pytest.mark.parametrize("record", GOOD, ids=lambda r: r[0].name)
def test_the_good_ones_are_good(record: list[Any]) -> None:
    """Else the mutations below would prove nothing."""
    decoded = decode(record)
    again = encode_records(decoded.nodes, decoded.origins, STAMP, "Laptop", 1000)
    assert decode_records(again, STAMP, FRONTIER) == decoded


paths = st.sampled_from(GOOD).flatmap(
    lambda record: st.tuples(st.just(record), st.integers(1, len(record) - 1), values)
)


@pytest.mark.row("A09")
@given(paths)
def test_a_record_with_one_field_replaced_is_refused_or_sound(
    mutation: tuple[list[Any], int, Any],
) -> None:
    """A hostile member with valid keys (A09): what passes sorts, joins, shows and rests."""
    record, index, value = mutation
    changed = [*record[:index], value, *record[index + 1 :]]
    try:
        decoded = decode(changed)
    except BadRecord:
        return
    for good in GOOD:
        for node_id, node in decode(good).nodes.items():
            for other in decoded.nodes.values():
                if node_id in decoded.nodes:
                    assert join(node, other) == join(other, node)
    for node in decoded.nodes.values():
        assert decode_writes(wire.decode(wire.encode(encode_writes(node)))) == node
        assert node.places == maximal(node.places)


# ---------------------------------------------------------------- one refusal each


PLACE, CHILD, CONTENT, CHUNKED, LINK, ATTRIBUTES, COPIED, OTHERS, MADE = GOOD
BIG = wire.CHUNK_LENGTH_MAX + 1


def put(record: list[Any], *steps: Any) -> list[Any]:
    """The record with the value at these nested indexes replaced by the last argument."""
    *way, value = steps
    if not way:
        return value  # type: ignore[no-any-return]
    first, *rest = way
    return [*record[:first], put(record[first], *rest, value), *record[first + 1 :]]


HOSTILE: dict[str, list[Any]] = {
    "no such type": [-1, FILE],
    "a bool for a type": put(PLACE, 0, True),
    "a field too few": PLACE[:-1],
    "a field too many": [*PLACE, None],
    "an id too short": put(PLACE, 1, FILE[:15]),
    "the fourth kind": put(PLACE, 1, FILE[:15] + b"\x03"),
    "an id that is text": put(PLACE, 1, "a" * 16),
    "a file as parent": put(PLACE, 2, FILE),
    "no parent": put(PLACE, 2, b""),
    "a name of bytes": put(PLACE, 3, b"a"),
    "both deleted and soft": put(PLACE, 4, 3),
    "flags as a bool": put(PLACE, 4, True),
    "a vector beyond the frontier": put(PLACE, 5, [B, 5]),
    "a vector of an unknown log": put(PLACE, 5, [b"Z" * 16, 1]),
    "the own position written out": put(PLACE, 5, [A, 5]),
    "an own position to come": put(PLACE, 5, [A, 6]),
    "a vector out of order": put(PLACE, 5, [C, 1, B, 1]),
    "a log twice": put(PLACE, 5, [B, 1, B, 2]),
    "half an entry": put(PLACE, 5, [B]),
    "a seq of zero": put(PLACE, 5, [B, 0]),
    "a seq as a bool": put(PLACE, 5, [B, True]),
    "contents seen beyond the frontier": put(PLACE, 6, [B, 5]),
    "contents seen that are to come": put(PLACE, 6, [A, 6]),
    "a file's previous place": put(PLACE, 7, [ROOT, "b"]),
    "a previous place that is no pair": put(CHILD, 7, [ROOT]),
    "a previous place of three": put(CHILD, 7, [ROOT, "b", "c"]),
    "an empty previous place": put(CHILD, 7, []),
    "a number for a previous parent": put(CHILD, 7, [0, "b"]),
    "text for a previous parent": put(CHILD, 7, ["", "b"]),
    "a file as previous parent": put(CHILD, 7, [FILE, "b"]),
    "a previous name of bytes": put(CHILD, 7, [ROOT, b"b"]),
    "moved in the future": put(CHILD, 8, [21, B]),
    "moved by nobody's log": put(CHILD, 8, [3, b"B"]),
    "a move that is no pair": put(CHILD, 8, [3]),
    "a directory's content": put(CONTENT, 1, DIRECTORY),
    "the root's content": put(CONTENT, 1, ROOT),
    "a hash too short": put(CONTENT, 2, H[:31]),
    "a hash of text": put(CONTENT, 2, "h" * 32),
    "a negative size": put(CONTENT, 3, -1),
    "a size of 2^63": put(CONTENT, 3, 1 << 63),
    "a size as a bool": put(CONTENT, 3, True),
    "one chunk too long": put(CONTENT, 3, BIG),
    "an mtime beyond 64 bits": put(CONTENT, 4, 1 << 63),
    "a manifest of text": put(CHUNKED, 5, "x"),
    "a manifest cut short": put(CHUNKED, 5, CHUNKED[5][:-1]),
    "a manifest of a byte": put(CHUNKED, 5, b"x"),
    "a manifest of one chunk": put(CHUNKED, 5, encode_manifest([(H, 30)])),
    "chunks that are not the size": put(CHUNKED, 3, 31),
    "a chunk of no bytes": put(CHUNKED, 5, encode_manifest([(H, 30), (H, 0)])),
    "a chunk too long": put(put(CHUNKED, 5, encode_manifest([(H, BIG), (H, 1)])), 3, BIG + 1),
    "a symlink to nowhere": put(LINK, 5, b""),
    "a target with a zero byte": put(LINK, 5, b"a\0b"),
    "a target that is no text": put(LINK, 5, b"\xff"),
    "a target too long": put(LINK, 5, b"a" * (TARGET_LENGTH_MAX + 1)),
    "an executable bit of 1": put(ATTRIBUTES, 2, 1),
    "attributes of the root": put(ATTRIBUTES, 1, ROOT),
    "an attribute's mtime of text": put(ATTRIBUTES, 3, "7"),
    "an origin of something that is no copy": put(put(COPIED, 1, FILE), 2, SYMLINK),
    "an origin of another kind": put(COPIED, 2, SYMLINK),
    "an origin that is a number": put(COPIED, 2, 0),
    "no origin but null": put(COPIED, 2, None),
    "a Lamport time to come": put(COPIED, 4, 0, 1, 21),
    "a negative Lamport time": put(COPIED, 4, 0, 1, -1),
    "an author that is text": put(COPIED, 4, 0, 2, "B" * 16),
    "an author too short": put(COPIED, 4, 0, 2, b"B"),
    "a label that is null": put(COPIED, 4, 0, 8, None),
    "a label of bytes": put(COPIED, 4, 0, 8, b""),
    "a label of parentheses": put(COPIED, 4, 0, 8, "a) (b"),
    "a time before time": put(COPIED, 4, 0, 7, -1),
    "flags beyond the two": put(COPIED, 3, 0, 7, 4),
    "a bool for flags": put(OTHERS, 3, 0, 7, True),
    "a verbatim vector beyond the frontier": put(COPIED, 4, 0, 0, [B, 5]),
    "a verbatim vector of an unknown log": put(COPIED, 4, 0, 0, [b"Z" * 16, 1]),
    "a previous parent of another type": put(OTHERS, 3, 0, 5, 0),
    "a nameless previous place": put(OTHERS, 3, 0, 6, ""),
    "a previous place without a parent": put(OTHERS, 3, 0, 5, b""),
    "attributes of no author": put(COPIED, 5, [3, b"", True, 9]),
    "attributes by a number": put(COPIED, 5, [3, 7, True, 9]),
    "attributes to come": put(COPIED, 5, [21, B, True, 9]),
    "attributes without a time": put(COPIED, 5, [0, B, True, 9]),
    "attributes with a null for a time": put(COPIED, 5, [None, "x", True, 9]),
    "attributes of three": put(COPIED, 5, [3, B, True]),
    "attributes that are false": put(COPIED, 5, False),
    "places out of order": put(
        OTHERS, 3, [put(OTHERS[3][0], 0, [C, 2]), put(OTHERS[3][0], 0, [B, 1])]
    ),
    "a place twice": put(OTHERS, 3, OTHERS[3] * 2),
    "a place that another has seen": put(
        OTHERS, 3, [put(OTHERS[3][0], 0, [B, 1]), put(OTHERS[3][0], 0, [B, 2])]
    ),
    "too many writes": put(COPIED, 4, COPIED[4] * (VERBATIM_WRITES_MAX + 1)),
    "null for a vector": put(PLACE, 5, None),
    "text for what a place saw": put(PLACE, 6, ""),
    "a new file without its bit": MADE[:-1],
    "a new file with more": [*MADE, None],
    "a new directory with content": put(MADE, 1, DIRECTORY),
    "a new file in a file": put(MADE, 2, FILE),
    "a new file with a name of bytes": put(MADE, 3, b"a"),
    "a new file's hash too short": put(MADE, 4, H[:31]),
    "a new file of a negative size": put(MADE, 5, -1),
    "a new file's mtime beyond 64 bits": put(MADE, 6, 1 << 63),
    "a new file's manifest of one chunk": put(MADE, 7, encode_manifest([(H, 100)])),
    "a new file's bit of 1": put(MADE, 8, 1),
    "a scan that is more than complete": [T.SCAN_COMPLETE, 1],
    "nothing": [],
}  # fmt: skip


@pytest.mark.row("A09")
@pytest.mark.parametrize("record", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_record_is_refused(record: list[Any]) -> None:
    with pytest.raises(BadRecord):
        decode(record)


@pytest.mark.parametrize(
    "header",
    [None, [], 0, [T.HEADER], [T.HEADER, "L"], [T.HEADER, "L", 0, 0], [T.PLACE, "L", 0],
     [False, "L", 0], [T.HEADER, "", 0], [T.HEADER, b"L", 0], [T.HEADER, ["L"], 0],
     [T.HEADER, "a (b)", 0], [T.HEADER, "a\x1b", 0], [T.HEADER, "L", -1], [T.HEADER, "L", "0"],
     [T.HEADER, "L", TIME_MAX + 1]],
    ids=repr,
)  # fmt: skip
def test_a_changeset_without_its_header_is_refused(header: Any) -> None:
    with pytest.raises(BadRecord):
        decode_records([header], STAMP, FRONTIER)
    with pytest.raises(BadRecord):
        decode_records([], STAMP, FRONTIER)


@pytest.mark.row("A34")
@pytest.mark.parametrize("name", ["", "..", "a/b", "con", "a\0", "e\u0301", "a" * 256, ".holdfast"])
@pytest.mark.parametrize("where", ["name", "previous name", "verbatim name", "new name"])
def test_a_hostile_name_is_refused_wherever_a_name_stands(name: str, where: str) -> None:
    """A34: nothing that could be written outside the folder is ever taken in."""
    record = {
        "name": put(PLACE, 3, name),
        "previous name": put(CHILD, 7, [ROOT, name]),
        "verbatim name": put(COPIED, 3, 0, 4, name),
        "new name": put(MADE, 3, name),
    }[where]
    with pytest.raises(BadName):
        decode(record)


# ---------------------------------------------------------------- new files


@given(st.sampled_from([FILE, SYMLINK]), st.booleans(), st.integers(-9, 1 << 60))
def test_a_new_file_is_one_record_and_the_same_as_three(
    node_id: NodeId, is_executable: bool, mtime_ns: int
) -> None:
    manifest = b"to" if node_id == SYMLINK else b""
    place = Place(OWN, 20, A, DIRECTORY, "a", time_s=1000, label="Laptop")
    content = Content(OWN, 20, A, H, 2, manifest, mtime_ns, 1000, "Laptop")
    attributes = Attributes(20, A, True, mtime_ns) if is_executable else Attributes()
    node = Node((place,), (content,), attributes)
    _, record = encode_records({node_id: node}, {}, STAMP, "Laptop", 1000)
    assert record[0] == T.FILE
    three = [
        [T.PLACE, node_id, DIRECTORY, "a", 0, [], [], None, None],
        [T.CONTENT, node_id, H, 2, mtime_ns, manifest, []],
        *([[T.ATTRIBUTES, node_id, True, mtime_ns]] if is_executable else []),
    ]
    assert decode(record) == decode(*three) == Records({node_id: node}, {}, False)


NEW = Node(
    (Place(OWN, 20, A, ROOT, "a", time_s=1000, label="Laptop"),),
    (Content(OWN, 20, A, H, 2, time_s=1000, label="Laptop"),),
)


@pytest.mark.parametrize(
    "node",
    [
        NEW._replace(contents=()),
        NEW._replace(places=(NEW.places[0]._replace(vector=((A, 5), (B, 1))),)),
        NEW._replace(contents=(NEW.contents[0]._replace(vector=((A, 4),), lamport=19),)),
        NEW._replace(places=(NEW.places[0]._replace(is_deleted=True),)),
        NEW._replace(places=(NEW.places[0]._replace(is_soft=True),)),
        NEW._replace(places=(NEW.places[0]._replace(saw=((B, 1),)),)),
        NEW._replace(places=(NEW.places[0]._replace(lamport=0),)),
        NEW._replace(attributes=Attributes(20, A, True, 3)),
        NEW._replace(attributes=Attributes(20, A, False, 0)),
        NEW._replace(attributes=Attributes(7, B, True, 0)),
    ],
)
def test_what_is_more_than_a_new_file_is_told_in_full(node: Node) -> None:
    records = encode_records({FILE: node}, {}, STAMP, "Laptop", 1000)
    assert T.FILE not in [r[0] for r in records]
    assert decode(*records[1:]).nodes == {FILE: node}


# ---------------------------------------------------------------- vectors of the frontier


def test_a_write_may_have_seen_what_its_author_had_and_no_more() -> None:
    assert decode(put(PLACE, 5, [B, 4])).nodes[FILE].places[0].vector == ((A, 5), (B, 4))
    with pytest.raises(BadRecord, match="beyond"):
        decode(put(PLACE, 5, [B, 4]), frontier={B: 3})


def test_the_stamp_is_the_changeset_s() -> None:
    (place,) = decode(PLACE).nodes[FILE].places
    assert (place.lamport, place.author, place.label, place.time_s) == (20, A, "Laptop", 1000)
    (content,) = decode(CHUNKED).nodes[FILE].contents
    assert content.vector == OWN
    assert decode(ATTRIBUTES).nodes[FILE].attributes == Attributes(20, A, True, 7)


def test_several_records_of_one_node_join() -> None:
    decoded = decode(PLACE, CONTENT, ATTRIBUTES, [T.SCAN_COMPLETE])
    assert list(decoded.nodes) == [FILE]
    assert decoded.nodes[FILE].places
    assert decoded.nodes[FILE].contents
    assert decoded.is_scan_complete


def test_a_copy_brings_its_origin() -> None:
    assert decode(COPIED).origins == {COPY: FILE}
    assert decode(OTHERS).origins == {}


def test_since_is_this_write_s_where_nothing_is_said_and_directories_only() -> None:
    directory = decode(put(CHILD, 8, None)).nodes[DIRECTORY].places[0]
    assert directory.since == (20, A)
    assert decode(PLACE).nodes[FILE].places[0].since == (0, NO_LOG)


# ---------------------------------------------------------------- chunks


def test_the_chunks_of_a_content() -> None:
    whole = Content(OWN, 1, A, H, 10)
    assert chunks_of(whole) == [(H, 10)]
    assert chunks_of(whole._replace(size=0)) == []
    two = [(H, 10), (b"i" * 32, 20)]
    assert chunks_of(whole._replace(manifest=encode_manifest(two), size=30)) == two


def test_the_largest_sizes_are_taken() -> None:
    assert decode(put(CONTENT, 3, wire.CHUNK_LENGTH_MAX)).nodes
    assert SIZE_MAX < 1 << 62
    assert decode(put(LINK, 5, b"a" * TARGET_LENGTH_MAX)).nodes
