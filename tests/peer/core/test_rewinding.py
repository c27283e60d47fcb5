"""What counts no longer is taken back: forks, removals and better pins, against the oracle over the
changesets that count and no others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from copy import deepcopy
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.engine import Engine, Ingested
from peer.core.past import read_records
from peer.core.rewinding import as_seen, cut_back, next_base
from peer.core.rows import Row
from peer.core.tree import show
from peer.core.turn import Turn
from protocol import version_vector as vv
from protocol.changesets import Changeset, decode_changeset
from protocol.folder_actions import Remove, Role
from protocol.logs import LogBook
from protocol.nodes import NOTHING, ROOT, Node, join
from protocol.records import Stamp, encode_records
from tests.peer import oracle
from tests.peer.folder_stage import FolderDevice, two_places
from tests.peer.tree_stage import content, directory_id, file_id, place
from tests.protocol.people import Person, Place
from tests.sim.index import SimIndex

D, E = directory_id(1), directory_id(2)
F, G, H, K = file_id(3), file_id(4), file_id(5), file_id(6)
Replica = dict[NodeId, Node]


class Reader:
    """A replica without a disk: what is applied is only shown."""

    def __init__(self, place: Place, index: SimIndex | None = None) -> None:
        self.place, self.index = place, index or SimIndex()
        self.crash_at = 0
        """The commit that does not come about, counted from 1."""
        self.directories = self.index.load_directories(False)
        self.engine = Engine(
            self.directories, place.book, place.keys, place.incarnation, "R", place.random
        )

    def perform(self, command: c.Command[Any]) -> Any:
        if isinstance(command, c.Commit) and self.crash_at:
            self.crash_at -= 1
            if not self.crash_at:
                raise KeyboardInterrupt
        return self.index.perform(command)

    def ingest(self, wires: Iterable[bytes] = ()) -> Ingested:
        return c.run(self.engine.ingest(wires), self.perform)

    def apply(self) -> None:
        turn = Turn(self.directories)

        async def routine() -> None:
            rows = {r.id: r for r in await c.LoadDirty((0, NodeId(b"")), 1000)}
            await show(turn, {i: next_base(r, r.state) for i, r in rows.items() if i != ROOT})
            await turn.finish()

        c.run(routine(), self.index.perform)
        self.index.perform(c.Commit(turn.rows_to_store(), turn.rows_to_delete()))
        turn.merge()

    def again(self) -> Reader:
        """After a crash: the same index, everything else from it."""
        kept = deepcopy(self.index)
        place = self.place
        place.book = LogBook(place.ledger, place.epochs)
        place.book.restore(
            kept.values,
            sorted((*at, hash_, lamport) for at, (hash_, lamport, _) in kept.changesets.items()),
            [(*at, lamport) for at, (lamport, _) in kept.aside.items()],
        )
        return Reader(place, kept)

    def states(self) -> Replica:
        return {i: r.state for i, r in self.index.rows.items() if r.state != NOTHING}

    def tree(self) -> dict[str, Any]:
        """Paths that are shown, with the node that represents each."""
        items = self.directories.items
        out = {"/".join(self.directories.path(i)): i for i in items if i != ROOT}
        for row in self.index.rows.values():
            if row.shown.parent and row.shown.item == row.id and row.id[15] & 3 != 1:
                path = self.directories.child_path(row.shown.parent, row.shown.name)
                assert path is not None
                out["/".join(path)] = row.id
        return dict(sorted(out.items()))

    def own(self) -> list[bytes]:
        """What this device wrote."""
        kept = [decode_changeset(wire) for _, _, wire in self.index.changesets.values()]
        return [c.wire for c in kept if c.slot.device_id == self.place.keys.device_id]


def counting(place: Place, changesets: Iterable[Changeset]) -> Replica:
    """The replica that follows from these."""
    out: Replica = {}
    for changeset in changesets:
        records = read_records(place.book, changeset)
        assert records is not None
        out = oracle.merge(out, records.nodes)
    return out


def shown(replica: Replica) -> dict[str, NodeId]:
    items = oracle.materialise(replica)

    def path(n: NodeId) -> str:
        above = items[n].parent
        return items[n].name if above == ROOT else f"{path(above)}/{items[n].name}"

    return dict(sorted((path(n), n) for n in items))


def write(author: Place, seen: Replica, **acts: Any) -> Changeset:
    """A changeset with new places or contents of nodes, as this author has seen them."""
    draft = author.book.draft(author.keys.device_id, author.incarnation)
    slot = draft.slot
    stamp = Stamp(slot.log_id, slot.seq, slot.lamport)
    nodes: Replica = {}
    for node_id, (parent, name, hash_) in acts["nodes"].items():
        old = seen.get(node_id, NOTHING)
        own = ((stamp.log, stamp.seq),)
        seen_places = vv.join(own, *(w.vector for w in old.places))
        seen_contents = vv.join(own, *(w.vector for w in old.contents))
        where = place(parent, name, seen_places, stamp.lamport, stamp.log)
        if node_id[15] & 3 == 1:
            where = where._replace(since=(stamp.lamport, stamp.log))
        what = content(hash_, seen_contents, stamp.lamport, stamp.log)
        contents = (what,) if node_id[15] & 3 != 1 else ()
        nodes[node_id] = Node((where,), contents)
    records = encode_records(nodes, {}, stamp, "L", 0)
    sealed = author.book.seal(author.keys, draft, records, author.random)
    author.take(sealed)
    for node_id, node in nodes.items():
        seen[node_id] = join(seen.get(node_id, NOTHING), node)
    return sealed.changeset


# ---------------------------------------------------------------- forks, in any order


class Fork:
    """A device and its clone, one with three changesets of its own after two in common, one with
    one: what is far beyond the other's head is no gap.
    """

    def __init__(self, seed: int) -> None:
        self.first, self.other = two_places()
        self.clone = self.first.fork(self.first.keys)
        self.clone.random = Random(seed).randbytes
        seen: Replica = {}
        self.common = [
            write(self.first, seen, nodes={D: (ROOT, "d", b""), F: (D, "f", b"1" * 32)}),
            write(self.first, seen, nodes={G: (ROOT, "g", b"1" * 32)}),
        ]
        for changeset in self.common:
            self.clone.receive(changeset.wire)
        theirs = dict(seen)
        self.left = [
            write(self.first, seen, nodes={F: (D, "f", b"2" * 32), E: (D, "e", b"")}),
            write(self.first, seen, nodes={H: (E, "h", b"2" * 32)}),
            write(self.first, seen, nodes={D: (ROOT, "moved", b"")}),
        ]
        self.right = [
            write(self.clone, theirs, nodes={F: (ROOT, "f", b"3" * 32), G: (D, "g", b"3" * 32)})
        ]
        if seed % 2:
            self.right.append(write(self.clone, theirs, nodes={H: (D, "h", b"3" * 32)}))
        branches = [self.left, self.right]
        self.winner, self.loser = sorted(branches, key=lambda branch: branch[0].hash)
        # Somebody who has seen the left branch puts a file into what was made there.
        for changeset in (*self.common, *self.left):
            self.other.receive(changeset.wire)
        seen = {}
        self.guest = write(self.other, seen, nodes={K: (E, "guest", b"4" * 32)})
        self.wires = [c.wire for c in (*self.common, *self.left, *self.right, self.guest)]


@cache
def fork_of(seed: int) -> Fork:
    return Fork(seed)


@given(st.integers(0, 7), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_whatever_comes_first_the_winning_branch_is_the_replica(seed: int, random: Random) -> None:
    fork = fork_of(seed)
    reader = Reader(fork.other.fork(fork.other.keys))
    wires = list(fork.wires)
    random.shuffle(wires)
    while wires:
        count = random.randint(1, 4)
        reader.ingest(wires[:count])
        del wires[:count]
        if random.random() < 0.5:
            reader.apply()
        if random.random() < 0.2:
            reader = reader.again()
            wires = fork.wires[::]  # what was held is told again
            random.shuffle(wires)
            wires = wires[: random.randint(0, len(wires))] if random.random() < 0.7 else wires
    reader.ingest(fork.wires)
    reader.ingest(fork.wires)
    expected = counting(reader.place, [*fork.common, *fork.winner, fork.guest])
    assert reader.states() == expected
    reader.apply()
    assert reader.tree() == shown(expected)
    assert {w for _, w in reader.index.aside.values()} == {c.wire for c in fork.loser}


@pytest.mark.parametrize("seed", range(4))
def test_a_reader_that_showed_the_losing_branch_lets_go_of_all_of_it(seed: int) -> None:
    fork = Fork(seed)
    reader = Reader(fork.other.fork(fork.other.keys))
    guests = [fork.guest] if fork.loser is fork.left else []
    reader.ingest(c.wire for c in (*fork.common, *fork.loser, *guests))
    reader.apply()
    before = reader.tree()
    reader.ingest(c.wire for c in fork.winner)
    assert reader.tree() == before  # what the disk shows stays until it is applied
    reader.apply()
    expected = counting(reader.place, [*fork.common, *fork.winner, *guests])
    assert reader.states() == expected
    assert reader.tree() == shown(expected)
    assert all(r.state != NOTHING for r in reader.index.rows.values() if not r.is_derived)


@pytest.mark.parametrize("crash_at", [1, 2])
def test_a_crash_leaves_the_one_or_the_other(crash_at: int) -> None:
    fork = Fork(1)
    reader = Reader(fork.other.fork(fork.other.keys))
    reader.ingest(c.wire for c in (*fork.common, *fork.loser))
    before = deepcopy(reader.index.rows)
    reader.crash_at = crash_at
    try:
        reader.ingest(c.wire for c in fork.winner)
        assert crash_at > 1
    except KeyboardInterrupt:
        if crash_at == 1:
            assert reader.index.rows.keys() == before.keys()
    reader = reader.again()
    reader.ingest(c.wire for c in fork.winner)
    assert reader.states() == counting(reader.place, [*fork.common, *fork.winner])


@pytest.mark.parametrize("seed", range(4))
def test_the_device_itself_writes_its_lost_branch_again(seed: int) -> None:
    """An honest clone loses nothing, whichever branch wins and whoever of the two is asked."""
    fork = Fork(seed)
    both = [
        (fork.first.fork(fork.first.keys), fork.left, fork.right),
        (fork.first.fork(fork.first.keys), fork.right, fork.left),
    ]
    for at, mine, theirs in both:
        me = Reader(at)
        me.ingest(c.wire for c in (*fork.common, *mine))
        me.apply()
        old = me.engine.incarnation
        me.ingest(c.wire for c in theirs)
        assert me.engine.incarnation != old
        assert not me.engine.needs_incarnation
        again = [w for w in me.own() if decode_changeset(w).slot.incarnation != old]
        assert again
        told = {h for w in again for h in hashes_in(at, w)}
        assert told == {h for c in fork.loser for h in hashes_in(at, c.wire)}
        # Nobody refuses it, and everybody comes to the same.
        reader = Reader(fork.other.fork(fork.other.keys))
        reader.ingest([*fork.wires[:-1], *again])
        assert not reader.ingest([*fork.wires[:-1], *again]).refused
        assert reader.states() == me.states()
        reader.apply()
        me.apply()
        assert reader.tree() == me.tree() == shown(reader.states())


def hashes_in(at: Place, wire: bytes) -> set[bytes]:
    records = read_records(at.book, decode_changeset(wire))
    assert records is not None
    return {content.hash for node in records.nodes.values() for content in node.contents}


# ---------------------------------------------------------------- removals


class Removal:
    """Two devices of the folder's owner, and a member that one of them removes with poor pins."""

    def __init__(self) -> None:
        anna, bert = Person(41), Person(42)
        self.one = Place.found(anna)
        self.member = self.one.join(bert, Role.WRITE)
        keys = anna.another_device()
        self.one.act(*self.one.ledger.admits_owed(anna.id))
        self.one.epochs.wraps_owed()
        self.sister = self.one.fork(keys)
        self.member.learn(self.one)
        self.bert = bert.id
        self.seen: Replica = {}
        first = {D: (ROOT, "d", b""), F: (D, "f", b"1" * 32)}
        self.early = [write(self.member, self.seen, nodes=first)]
        self.late = [
            write(self.member, self.seen, nodes={F: (D, "f", b"2" * 32), E: (D, "e", b"")}),
            write(self.member, self.seen, nodes={G: (E, "g", b"2" * 32)}),
        ]

    def poor(self) -> None:
        """A removal by one who had accepted the early ones only."""
        devices = [self.member.keys.device_id]
        for changeset in self.early:
            self.one.receive(changeset.wire)
        self.one.rotate(Remove(self.bert, self.one.book.pins(devices)))

    def rich(self) -> None:
        """A concurrent one by one who had accepted all."""
        for changeset in (*self.early, *self.late):
            self.sister.receive(changeset.wire)
        devices = [self.member.keys.device_id]
        self.sister.rotate(Remove(self.bert, self.sister.book.pins(devices)))


def test_what_a_removal_voids_is_taken_back_and_a_better_pin_brings_it_again() -> None:
    removal = Removal()
    reader = Reader(removal.sister.fork(removal.sister.keys))
    reader.ingest(c.wire for c in (*removal.early, *removal.late))
    reader.apply()
    assert set(reader.tree()) == {"d", "d/e", "d/e/g", "d/f"}
    removal.rich()
    removal.poor()
    reader.place.learn(removal.one)
    reader.ingest()
    expected = counting(reader.place, removal.early)
    assert reader.states() == expected
    reader.apply()
    assert reader.tree() == shown(expected) == {"d": D, "d/f": F}
    reader.place.learn(removal.sister)
    reader.ingest()
    expected = counting(reader.place, [*removal.early, *removal.late])
    assert reader.states() == expected
    reader.apply()
    assert reader.tree() == shown(expected)


def test_what_came_void_is_looked_into_when_it_counts() -> None:
    removal = Removal()
    reader = Reader(removal.sister.fork(removal.sister.keys))
    removal.rich()
    removal.poor()
    reader.place.learn(removal.one)
    reader.ingest(c.wire for c in (*removal.early, *removal.late))
    assert reader.states() == counting(reader.place, removal.early)
    reader.apply()
    reader.place.learn(removal.sister)
    assert reader.ingest().nodes
    expected = counting(reader.place, [*removal.early, *removal.late])
    assert reader.states() == expected
    reader.apply()
    assert reader.tree() == shown(expected)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_removal_that_a_crash_left_half_done_is_followed_at_the_next_start(is_late: bool) -> None:
    """The ledger and a log's row may be stored before the replica has followed them."""
    removal = Removal()
    reader = Reader(removal.sister.fork(removal.sister.keys))
    reader.ingest(c.wire for c in (*removal.early, *removal.late))
    removal.poor()
    reader.place.learn(removal.one)
    if is_late:  # a scan stores what the log book found out
        c.run(reader.engine.name_folder("n", 0), reader.perform)
    reader = reader.again()
    reader.ingest()
    expected = counting(reader.place, removal.early)
    states = {i: s for i, s in reader.states().items() if i != ROOT}
    assert states == expected
    assert not reader.again().engine.book.has_void_changes


def test_a_removed_device_keeps_what_it_wrote() -> None:
    """It cannot tell it again, so its own disk stays as it is."""
    removal = Removal()
    me = Reader(removal.member)
    for changeset in (*removal.early, *removal.late):
        slot = changeset.slot
        me.index.changesets[slot.log_id, slot.seq] = (changeset.hash, slot.lamport, changeset.wire)
    for node_id, state in removal.seen.items():
        me.index.rows[node_id] = Row(node_id, state)
    me.apply()
    before = me.tree()
    removal.poor()
    me.place.learn(removal.one)
    me.ingest()
    me.apply()
    assert me.tree() == before


# ---------------------------------------------------------------- bases and vectors


def test_a_write_that_does_not_count_leaves_the_disk_with_the_next_step() -> None:
    log = LogId(b"L" * 16)
    lost = content(b"x" * 32, ((log, 3),), 3, log)
    kept = content(b"y" * 32, ((log, 1),), 1, log)
    where = place(ROOT, "f", ((log, 1),), 1, log)
    row = Row(F, Node((where,), (kept,)), Node((where,), (lost,)))
    assert next_base(row, row.state) == row.state
    # Its bytes are not here yet: the old ones stay, under the new place.
    moved = where._replace(name="g", vector=((log, 2),))
    row = Row(F, Node((moved,), (kept,)), Node((where,), (lost,)))
    assert next_base(row, Node((moved,), (lost,))) == Node((moved,), (lost,))
    # A record that was surveyed before the log was cut.
    assert next_base(Row(F, NOTHING, NOTHING), row.base) == NOTHING


def test_an_edit_of_what_does_not_count_has_not_seen_the_other_branch() -> None:
    log = LogId(b"L" * 16)
    lost = content(b"x" * 32, ((log, 3),), 3, log)
    theirs = content(b"y" * 32, ((log, 3),), 3, log)
    node = as_seen(Node((), (lost,)), Node((), (theirs,)), {log: 2})
    assert node.contents[0].vector == ((log, 1),)
    assert as_seen(Node((), (theirs,)), Node((), (theirs,)), {log: 2}).contents == (theirs,)
    assert cut_back(((log, 3),), {log: 1}) == ()


# ---------------------------------------------------------------- with disks


@pytest.fixture
async def four(tmp_path: Path) -> AsyncIterator[list[FolderDevice]]:
    """A device, its clone, and two views of another one, all with a folder of two files."""
    first, other = two_places()
    one = await FolderDevice.open(tmp_path, "one", first)
    (one.root / "d").mkdir()
    (one.root / "d" / "f").write_bytes(b"common")
    (one.root / "g").write_bytes(b"common too")
    await one.scan()
    devices = [one]
    for name, at in (("two", first), ("three", other), ("four", other)):
        device = await FolderDevice.open(tmp_path, name, at.fork(at.keys))
        device.engine.incarnation = at.incarnation
        await device.sync(one)
        devices.append(device)
    yield devices
    for device in devices:
        await device.close()


async def told(device: FolderDevice) -> list[bytes]:
    """All changesets that a device holds, in a log or aside."""
    query = device.store._db.execute_fetchall
    return [
        r[0]
        for table in ("changeset", "quarantine")
        for r in await query(f"SELECT wire FROM {table} ORDER BY log, seq")
    ]


@pytest.mark.row("A13", "A14")
async def test_both_branches_end_on_every_disk_whatever_came_first(
    four: list[FolderDevice],
) -> None:
    one, two, three, fourth = four
    (one.root / "d" / "f").write_bytes(b"by one")
    (one.root / "new-one").write_bytes(b"only one has this")
    (two.root / "d" / "f").write_bytes(b"by two!")
    (two.root / "g").rename(two.root / "d" / "moved")
    (two.root / "new-two").mkdir()
    (two.root / "new-two" / "n").write_bytes(b"only two has this")
    await one.scan()
    await two.scan()
    await three.sync(one)
    await fourth.sync(two)
    (three.root / "d" / "f").write_bytes(b"unscanned on three")
    for _ in range(5):
        for device in four:
            await device.scan()
            for other in four:
                await device.ingest(await told(other))
            await device.bring(*four)
    trees = [device.tree() for device in four]
    assert all(tree == trees[0] for tree in trees[1:])
    kept = {v for v in trees[0].values() if v is not None}
    assert {b"only one has this", b"only two has this", b"common too"} <= kept
    assert {b"by two!", b"unscanned on three"} <= kept
    for device in four:
        assert (await device.store.summary())[2:] == (0, 0)
        assert not device.engine.needs_incarnation
        for log_id, seq, hash_, _ in await device.store.positions():
            assert device.engine.book.hash_at(log_id, seq) == hash_


async def test_an_edit_of_the_lost_branch_s_bytes_does_not_hide_the_other_s(
    four: list[FolderDevice],
) -> None:
    """The same position stands for another write now, which this disk never showed."""
    one, two, three, _ = four
    (one.root / "d" / "f").write_bytes(b"by one")
    (two.root / "d" / "f").write_bytes(b"by two!")
    await one.scan()
    await two.scan()
    branches = [decode_changeset((await told(device))[-1]) for device in (one, two)]
    winner, loser = (one, two) if branches[0].hash < branches[1].hash else (two, one)
    await three.sync(loser)
    await three.ingest(await told(winner))
    (three.root / "d" / "f").write_bytes(b"edited before it was taken back")
    await three.scan()
    for _ in range(3):
        await winner.ingest(await told(three))
        await winner.bring(*four)
        await three.ingest(await told(winner))
        await three.bring(*four)
    assert winner.tree() == three.tree()
    kept = set(three.tree().values())
    assert {b"by one", b"by two!", b"edited before it was taken back"} <= kept
