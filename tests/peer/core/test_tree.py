"""The incremental tree equals the whole one, whatever records come in whatever order."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.ids import LogId, NodeId
from peer.core.commands import run
from peer.core.rows import DISPLACED, FOLDED, KEPT, Directories
from peer.core.tree import show
from peer.core.turn import Turn, is_directory
from protocol.nodes import ROOT, Attributes, Content, Node, Place, copy_id, kind_of
from tests.peer import oracle
from tests.peer.fake_index import FakeIndex

LOGS = [LogId(bytes([65 + i]) * 16) for i in range(3)]
DIRECTORIES = [NodeId(bytes([i]) * 15 + b"\x01") for i in range(1, 5)]
FILES = [NodeId(bytes([i]) * 15 + b"\x00") for i in range(5, 8)] + [NodeId(b"\x09" * 15 + b"\x02")]
UNKNOWN = NodeId(b"\xee" * 15 + b"\x01")

vectors = st.dictionaries(st.sampled_from(LOGS), st.integers(1, 3), min_size=1).map(
    lambda d: tuple(sorted(d.items()))
)
logs = st.sampled_from(LOGS)
names = st.sampled_from(["a", "A", "b.txt", "a (conflict A 1970-01-01 0000)"])
places = st.builds(
    Place, vectors, st.integers(0, 4), logs, st.sampled_from([ROOT, *DIRECTORIES, UNKNOWN]), names,
    st.tuples(st.sampled_from([NodeId(b""), ROOT, *DIRECTORIES]), st.sampled_from(["a", "b"])),
    st.booleans(), st.booleans(), st.one_of(st.just(()), vectors),
    st.tuples(st.integers(0, 4), logs), st.integers(0, 120), st.sampled_from("AB"),
)  # fmt: skip
contents = st.builds(
    Content, vectors, st.integers(0, 4), logs, st.sampled_from([b"x" * 32, b"y" * 32, b"z" * 32]),
    st.just(1), st.just(b""), st.just(0), st.integers(0, 120), st.sampled_from("AB"),
)  # fmt: skip
attributes = st.builds(Attributes, st.integers(1, 4), logs, st.booleans(), st.just(0))
records = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(DIRECTORIES), places.map(lambda p: Node(places=(p,)))),
        st.tuples(
            st.sampled_from(FILES),
            places.map(lambda p: Node(places=(p._replace(previous=(NodeId(b""), "")),))),
        ),
        st.tuples(st.sampled_from(FILES), contents.map(lambda c: Node(contents=(c,)))),
        st.tuples(st.sampled_from(FILES), attributes.map(lambda a: Node(attributes=a))),
    ),
    max_size=24,
)


class Bench:
    def __init__(self, fold: bool = False) -> None:
        self.index = FakeIndex()
        self.directories = Directories(fold)
        self.fold = fold
        self.replica: oracle.Replica = {}

    def put(self, delta: dict[NodeId, Node], origins: dict[NodeId, NodeId] | None = None) -> None:
        self.replica = oracle.merge(self.replica, delta)
        turn = Turn(self.directories)

        async def routine() -> None:
            await turn.load(delta)
            for copy, origin in (origins or {}).items():
                turn.rows[copy].origin = origin
            for n in delta:
                turn.rows[n].state = self.replica[n]
            await show(turn, {n: self.replica[n] for n in delta})

        run(routine(), self.index.perform)
        self.index.commit(turn)

    def paths(self) -> dict[str, tuple[Any, ...]]:
        out: dict[str, tuple[Any, ...]] = {}
        items = self.directories.items
        for item in items.values():
            if item.id != ROOT:
                out["/".join(self.directories.path(item.id))] = (
                    1, b"", False, tuple(sorted(item.members)), bool(item.flags & DISPLACED),
                    bool(item.flags & FOLDED), bool(item.flags & KEPT),
                )  # fmt: skip
        members: dict[NodeId, list[NodeId]] = {}
        for row in self.index.rows.values():
            if row.shown.parent and not is_directory(row.id):
                members.setdefault(row.shown.item, []).append(row.id)
        for first, ids in members.items():
            row = self.index.rows[first]
            above = self.directories.nodes[row.shown.parent].item
            path = "/".join((*self.directories.path(above), row.shown.name))
            assert path not in out
            out[path] = (
                kind_of(first), row.shown.hash, row.shown.is_executable, set(ids),
                bool(row.shown.flags & DISPLACED), bool(row.shown.flags & FOLDED), False,
            )  # fmt: skip
        return out

    def check(self) -> None:
        want = oracle.paths(oracle.materialise(self.replica, self.fold))
        want = {p: v if v[0] == 1 else (*v[:3], set(v[3]), *v[4:]) for p, v in want.items()}
        have = self.paths()
        assert have == want
        for directory in self.directories.nodes.values():
            files = sum(
                r.shown.parent == directory.id
                for r in self.index.rows.values()
                if not is_directory(r.id)
            )
            below = sum(map(len, directory.subdirectories.values()))
            assert directory.children == files + below


@pytest.mark.row("F18")
@given(records, st.randoms(use_true_random=False), st.booleans())
@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
def test_any_records_in_any_batches_show_the_same_tree(
    soup: list[tuple[NodeId, Node]], rng: random.Random, fold: bool
) -> None:
    bench = Bench(fold)
    rng.shuffle(soup)
    while soup:
        batch = [soup.pop() for _ in range(min(len(soup), rng.randint(1, 5)))]
        delta = oracle.merge(*({n: node} for n, node in batch))
        origins = {}
        if rng.random() < 0.3:  # somebody records a conflict copy
            losers = [
                (n, c) for n, node in bench.replica.items() for c in node.contents if c.vector
            ]
            if losers:
                origin, loser = rng.choice(losers)
                copy = copy_id(origin, loser)
                name = rng.choice(["a", "c", "b.txt"])
                place = Place((), 0, LogId(b""), ROOT, name, is_soft=True)
                delta[copy] = Node((place,), (loser,))
                origins[copy] = origin
        bench.put(delta, origins)
        bench.check()


@pytest.mark.parametrize("seed", range(60))
def test_seeds(seed: int) -> None:
    rng = random.Random(seed)
    bench = Bench(seed % 3 == 0)
    seqs = dict.fromkeys(LOGS, 0)
    for _ in range(25):
        delta: dict[NodeId, Node] = {}
        for _ in range(rng.randint(1, 3)):
            log = rng.choice(LOGS)
            seqs[log] += 1
            vector = tuple(
                sorted({log: seqs[log], **{x: rng.randint(1, s) for x, s in seqs.items()
                        if s and x != log and rng.random() < 0.5}}.items())
            )  # fmt: skip
            lamport = rng.randint(1, 6)
            node_id = rng.choice(DIRECTORIES + FILES)
            name = rng.choice(["a", "A", "b.txt", "c"])
            if not is_directory(node_id) and rng.random() < 0.5:
                content = Content(vector, lamport, log, rng.choice([b"x", b"y"]) * 32, 1,
                                  time_s=rng.randint(0, 99), label="L")  # fmt: skip
                node = Node(contents=(content,))
            else:
                node = Node(places=(
                    Place(vector, lamport, log, rng.choice([ROOT, *DIRECTORIES]), name,
                          (rng.choice([ROOT, *DIRECTORIES]), "p") if is_directory(node_id)
                          else (NodeId(b""), ""),
                          rng.random() < 0.3, rng.random() < 0.1,
                          vector if rng.random() < 0.3 else (), (lamport, log), 5, "L"),
                ))  # fmt: skip
            delta = oracle.merge(delta, {node_id: node})
        bench.put(delta)
        bench.check()
