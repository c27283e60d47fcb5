"""Members of a folder who write, exchange, compact and let go, without disks."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from crypto.ids import LogId, NodeId
from peer.core import commands as c
from peer.core.compaction import Compaction
from peer.folders.retention import Retention
from peer.folders.upkeep import Policy, Upkeep
from protocol import version_vector as vv
from protocol.changesets import Changeset
from protocol.folder_actions import Pin, Remove, Role
from protocol.nodes import NOTHING, ROOT, Attributes, Kind, Node, copy_id, join, kind_of, versions
from protocol.records import Stamp, encode_records
from tests.peer.core.test_rewinding import Reader, Replica
from tests.peer.tree_stage import content, directory_id, file_id, place
from tests.protocol.people import Person, Place
from tests.sim.index import SimIndex

DIRECTORIES = [directory_id(n) for n in range(1, 4)]
FILES = [file_id(n) for n in range(4, 9)]
NOW_S = 10**9


class Member(Reader):
    """A device whose person acts on what it has shown them."""

    def __init__(self, at: Place, index: SimIndex | None = None) -> None:
        super().__init__(at, index)
        self.base: Replica = {}
        self.work: Compaction | None = None
        self.piece_bytes = 300
        """So that a compaction of a few nodes has several pieces."""

    @property
    def log_id(self) -> LogId:
        return self.engine.book.log_id(self.place.keys.device_id, self.engine.incarnation)

    @property
    def wires(self) -> dict[tuple[LogId, int], bytes]:
        return {at: wire for at, (_, _, wire) in self.index.changesets.items()}

    def look(self) -> None:
        """What is known is shown."""
        self.base = self.states()

    def write(
        self, nodes: Replica, stamp: Stamp, origins: dict[NodeId, NodeId] | None = None
    ) -> Changeset:
        book = self.engine.book
        draft = book.draft(self.place.keys.device_id, self.engine.incarnation)
        records = encode_records(nodes, origins or {}, stamp, "L", 0)
        changeset = book.seal(self.place.keys, draft, records, self.place.random).changeset
        ingested = self.ingest([changeset.wire])
        assert not ingested.refused, ingested.refused
        for node_id, node in nodes.items():
            self.base[node_id] = join(self.base.get(node_id, NOTHING), node)
        return changeset

    def stamp(self) -> Stamp:
        slot = self.engine.book.draft(self.place.keys.device_id, self.engine.incarnation).slot
        return Stamp(slot.log_id, slot.seq, slot.lamport)

    def act(self, random: Random) -> Changeset:
        """One to three nodes made, moved, edited, deleted, touched or kept as copies."""
        stamp = self.stamp()
        nodes: Replica = {}
        origins: dict[NodeId, NodeId] = {}
        for _ in range(random.randint(1, 3)):
            node_id = random.choice([*DIRECTORIES, *FILES, *FILES])
            if node_id in nodes:
                continue
            how = random.choice(["place", "place", "content", "delete", "attributes", "copy"])
            nodes[node_id] = self._write(node_id, how, stamp, random)
            shown = self.base.get(node_id, NOTHING)
            losers = versions(node_id, shown)[1:] if shown.places else []
            if how == "copy" and losers:
                copy = copy_id(node_id, losers[0])
                kept = place(ROOT, "copy", (), losers[0].lamport, losers[0].author)
                nodes[copy] = Node((kept,), (losers[0],))
                origins[copy] = node_id
        return self.write(nodes, stamp, origins)

    def _write(self, node_id: NodeId, how: str, stamp: Stamp, random: Random) -> Node:
        old = self.base.get(node_id, NOTHING)
        own = ((stamp.log, stamp.seq),)
        seen = vv.join(own, *(w.vector for w in old.places))
        where = place(
            random.choice([ROOT, *DIRECTORIES]), random.choice("abc"), seen, stamp.lamport,
            stamp.log, is_deleted=how == "delete",
        )  # fmt: skip
        is_directory = kind_of(node_id) is Kind.DIRECTORY
        if is_directory:
            return Node((where._replace(since=(stamp.lamport, stamp.log)),))
        if how == "delete":
            saw = vv.join(*(w.vector for w in old.contents), *(p.saw for p in old.places))
            return Node((where._replace(saw=saw),))
        if how == "attributes":
            bit = random.random() < 0.5
            return Node(attributes=Attributes(stamp.lamport, stamp.log, bit, 0))
        seen = vv.join(own, *(w.vector for w in old.contents))
        what = content(random.choice([b"1", b"2", b"3"]) * 32, seen, stamp.lamport, stamp.log)
        return Node((where,), (what,)) if how == "place" else Node((), (what,))

    # ------------------------------------------------------------ exchange

    def take_from(self, other: Member) -> int:
        """Takes in what the other has and this one lacks, as a link would bring it."""
        book, theirs = self.engine.book, other.engine.book
        wires: list[bytes] = []
        for log_id, last, _ in theirs.frontier():
            held = book.seq_of(log_id)
            if held < last:
                first, declared_at = theirs.offer_from(log_id, held)
                wires += [other.wires[log_id, declared_at]] if declared_at else []
                wires += [other.wires[log_id, seq] for seq in range(first, last + 1)]
        ingested = self.ingest(wires)
        assert not ingested.refused, ingested.refused
        return ingested.accepted

    # ------------------------------------------------------------ its own log

    def compact(self) -> list[Changeset]:
        """The next piece of a compaction, of a new one if none is on its way."""
        work = self.work or Compaction.of(self.engine.book, self.log_id)
        if work is None:
            return []
        work.piece_bytes, work.rows_at_once = self.piece_bytes, 5
        made = c.run(self.engine.compact(work), self.perform)
        self.work = None if work.is_done else work
        return made

    def compact_all(self) -> list[Changeset]:
        """A whole compaction."""
        self.work = None
        made = self.compact()
        while self.work is not None:
            made += self.compact()
        return made

    def forget(self) -> None:
        """All that may go goes at once."""
        retention = Retention.load(b"", self.engine.book)
        retention.note(self.engine.book, NOW_S)
        due = retention.due(NOW_S, 0)
        c.run(retention.forget(self.engine.book, due), self.perform)
        while retention.leftover:
            c.run(retention.sweep(self.engine.book), self.perform)

    def upkeep(self, policy: Policy) -> Upkeep:
        return Upkeep(self.engine, policy, self.index.values)

    def restarted(self) -> Member:
        """After a crash, with the same person."""
        again = self.again()
        member = Member(again.place, again.index)
        member.base = self.base
        return member

    def settle(self) -> None:
        """Shows all that is known."""
        self.apply()
        self.look()


def exchange(members: Iterable[Member]) -> None:
    """Everything to everyone."""
    members = list(members)
    while sum([a.take_from(b) for a in members for b in members if a is not b]):
        pass


def places(count: int) -> list[Place]:
    """The folder of one user on some devices."""
    person = Person(1)
    first = Place.found(person)
    every = [person.another_device() for _ in range(count - 1)]
    first.act(*first.ledger.admits_owed(person.id))
    first.epochs.wraps_owed()
    return [first, *(first.fork(keys) for keys in every)]


class Shared:
    """A folder of two devices of one user, and of another user who may be removed."""

    def __init__(self) -> None:
        anna, bert = Person(41), Person(42)
        first = Place.found(anna)
        theirs = first.join(bert, Role.WRITE)
        keys = anna.another_device()
        first.act(*first.ledger.admits_owed(anna.id))
        first.epochs.wraps_owed()
        second = first.fork(keys)
        theirs.learn(first)
        self.one, self.sister, self.bert = Member(first), Member(second), Member(theirs)
        self._bert_id = bert.id

    def pins(self) -> tuple[Pin, ...]:
        """What a removal by the first device would pin now."""
        return self.one.engine.book.pins([self.bert.place.keys.device_id])

    def remove(self, pins: tuple[Pin, ...]) -> None:
        """The first device removes the other user; everybody hears of it."""
        self.one.place.rotate(Remove(self._bert_id, pins))
        for member in (self.sister, self.bert):
            member.place.learn(self.one.place)
        self.one.ingest()
        self.sister.ingest()
