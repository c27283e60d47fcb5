"""Devices with real engines, what travels between them, and the steps of a random history.

Everything that a device does goes through the engine's commands, answered at once by a fake disk
and a fake index in the order in which folder.py would have them answered. One seed, one
history: its trace says what happened, to the byte.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from hashlib import blake2b
from random import Random
from typing import Any, TypeVar

from crypto.ids import NodeId
from peer.core import commands as c
from peer.core.applying import Applied
from peer.core.disk_types import PARKED, Move, Operation, Path, StageFile
from peer.core.engine import FIRST_PAGE, Engine, Need
from peer.core.observation import Entry
from peer.core.rows import Directories
from peer.core.turn import is_directory
from peer.folders.upkeep import Policy, Upkeep
from protocol.changesets import Changeset
from protocol.logs import LogBook
from protocol.names import conflict_name
from protocol.nodes import ROOT, Kind, Node
from tests.protocol import people
from tests.sim.cast import places
from tests.sim.checkers import Broken, Watch, check_reloaded, check_scanned
from tests.sim.disk import HASHER, Clock, Crash, FakeDisk
from tests.sim.index import SimIndex
from tests.sim.users import NAMES, Account, Person

T = TypeVar("T")
LABELS = ["Anna", "Bert", "Cleo", "Dora", "Emil"]
PAGE = 7
"""Small, so that surveys have several pages."""
ROUNDS_MAX = 80
"""So many times a device looks at its disk and writes to it, at most, until all is done."""


def never_ignored(path: Path, is_directory: bool) -> bool:
    return False


class Device:
    """One device: what survives a crash (disk, index) and what does not."""

    def __init__(self, number: int, place: people.Place, world: World, folds_case: bool) -> None:
        self.number, self.place, self.world = number, place, world
        self.name = LABELS[number]
        self.random = Random(world.random.getrandbits(64))
        self.disk = FakeDisk(world.clock, folds_case)
        self.index = SimIndex()
        self.person = Person(self.disk, world.account, world.random, world.names)
        self.staged: dict[tuple[NodeId, bytes], str] = {}
        self.ready: dict[NodeId, Node] = {}
        self.to_read: list[Entry] = []
        self.hints: dict[Path, None] = {}
        self.temp_files = 0
        self.directories = Directories(folds_case)
        self.start()

    def start(self) -> None:
        """Takes up what the index and the disk hold, as after a crash."""
        self.disk.before_operation = lambda number, operation: None
        book = LogBook(self.place.ledger, self.place.epochs)
        positions = [
            (log, seq, hash_, lamport)
            for (log, seq), (hash_, lamport, _) in sorted(self.index.changesets.items())
        ]
        book.restore(self.index.values, positions)
        before, self.directories = (
            self.directories,
            self.index.load_directories(self.disk.folds_case),
        )
        check_reloaded(self.name, before, self.directories)
        self.engine = Engine(
            self.directories, book, self.place.keys, self.place.incarnation, self.name,
            self.random.randbytes,
        )  # fmt: skip
        self.staged.clear()
        self.ready.clear()
        self.to_read.clear()
        self.hints.clear()
        self.disk.discard_staged()
        self.unpark()

    def perform(self, command: c.Command[Any]) -> Any:
        """Answers a command of the engine."""
        disk = c.ListDirectories | c.StatPaths | c.ReadFiles | c.StageFiles | c.SyncStaged | c.Apply
        if isinstance(command, disk):
            return self.disk.perform(command)
        return self.index.perform(command)

    def run(self, routine: Coroutine[c.Command[Any], Any, T]) -> T:
        """Runs a routine of the engine to its end, or to a crash."""
        try:
            return c.run(routine, self.perform)
        finally:
            routine.close()

    # ------------------------------------------------------------ from the disk

    def look(self, scope: list[NodeId], is_recursive: bool) -> int:
        """Scans; returns how many changesets came of it."""
        scanned = self.run(
            self.engine.scan(scope, is_recursive, never_ignored, self.disk.clock.now_ns)
        )
        assert not scanned.problems, scanned.problems
        self.to_read += scanned.to_read
        return self._tell(scanned.authored)

    def read(self, count: int) -> int:
        """Reads some of what the scans found new or changed."""
        batch, self.to_read = self.to_read[:count], self.to_read[count:]
        read = self.run(self.engine.read_back(batch, self.disk.clock.now_ns))
        assert not read.problems, read.problems
        for entry in read.again:
            self.hints[self.directories.path(entry.parent)] = None
        told = self._tell(read.authored)
        return told + self.look([ROOT], True) if read.has_strays else told

    def _tell(self, authored: list[Changeset]) -> int:
        for changeset in authored:
            self.world.note("author", self.name, changeset.hash)
        return len(authored)

    def scan(self) -> int:
        """Takes in all that people did."""
        told = self.look([ROOT], True)
        for _ in range(ROUNDS_MAX):
            while self.to_read:
                told += self.read(self.random.randint(1, 12))
            if not self.hints:
                return told
            told += self.follow_hints()
        raise Broken("a scan does not end")

    def follow_hints(self) -> int:
        """Looks again where something was seen to change."""
        scope = list(dict.fromkeys(self.engine.find(path)[0] for path in self.hints))
        self.hints.clear()
        return self.look(scope, False)

    # ------------------------------------------------------------ to the disk

    def survey(self, share: float = 1.0) -> bool:
        """Finds out what can be applied and stages what is needed; False if there is nothing."""
        page: tuple[int, NodeId] | None = FIRST_PAGE
        found = False
        if self.engine.book.unfinished():
            return False
        while page is not None:
            survey = self.run(self.engine.survey(page, PAGE, self.staged))
            page = survey.next_page
            self._take(survey.ready, share)
            needs = [n for n in survey.needs if self.random.random() < share]
            owners = self.stage(needs)
            found = found or bool(survey.ready or owners)
            again = self.run(self.engine.survey_nodes(owners, self.staged))
            self._take(again.ready, share)
        return found

    def _take(self, ready: dict[NodeId, Node], share: float) -> None:
        self.ready.update({n: s for n, s in ready.items() if self.random.random() < share})

    def stage(self, needs: list[Need]) -> list[NodeId]:
        """Fetches bytes from whoever has them; returns the nodes to look at again."""
        owners = []
        for need in needs:
            key = (need.node, need.content.hash)
            data = self.world.find_bytes(need.content.hash)
            if key in self.staged:
                continue
            self.temp_files += 1
            name = f"t{self.temp_files}"
            is_link = need.node[15] & 3 == Kind.SYMLINK
            target = need.content.manifest.decode() if is_link else None
            assert target is None or target.encode() == data
            file = StageFile(
                name, None if is_link else data, target, need.content.mtime_ns, need.is_executable
            )
            self.disk.stage(file)
            self.staged[key] = name
            owners.append(need.owner)
        return owners

    def apply(self) -> Applied | None:
        """Writes what is ready: directories first, as the folder does it."""
        directories = {n: s for n, s in self.ready.items() if is_directory(n)}
        ready = directories or self.ready
        if not ready:
            return None
        applied, needs = self.run(self.engine.apply(dict(ready), self.staged))
        self.ready = {n: s for n, s in self.ready.items() if n not in ready}
        self.staged = {k: n for k, n in self.staged.items() if n not in applied.used}
        owners = self.stage(needs)
        again = self.run(self.engine.survey_nodes(owners, self.staged))
        self.ready.update(again.ready)
        for path in sorted(applied.look_again):
            self.hints[path] = None
        refused = sorted((i, r.kind.value) for i, r in applied.refused.items())
        self.world.note("apply", self.name, sorted(applied.nodes), refused)
        return applied

    def settle(self) -> None:
        """Until the disk shows all and has nothing to tell."""
        self.scan()
        for _ in range(ROUNDS_MAX):
            self.world.clock.pass_()
            while self.to_read or self.hints:
                if self.to_read:
                    self.read(self.random.randint(1, 12))
                else:
                    self.follow_hints()
            if self.apply() is None and not self.survey():
                return
        raise Broken(f"{self.name} does not settle")

    # ------------------------------------------------------------ starting again

    def unpark(self) -> None:
        """What a start does with what a crash left in the middle of a plan."""
        for name, stat in self.disk.perform(c.ListDirectories([PARKED]))[0].entries:
            path = self._path_of(NodeId(bytes.fromhex(name)))
            target = path or (f"recovered {name}",)
            if self.disk.look(target) is not None:
                time_s = self.disk.clock.now_ns // 10**9
                target = (*target[:-1], conflict_name(target[-1], self.name, time_s, name[:8]))
            self.disk.perform(c.Apply([Move((*PARKED, name), target, stat)]))

    def _path_of(self, node_id: NodeId) -> Path | None:
        if node_id in self.directories.items:
            return self.directories.path(node_id)
        row = self.index.rows.get(node_id)
        if row is None or not row.shown.parent:
            return None
        above = self.directories.nodes[row.shown.parent].item
        return (*self.directories.path(above), row.shown.name)


class World:
    """Devices, and the account of what must not be lost."""

    def __init__(
        self,
        seed: int,
        devices: int = 3,
        folding: tuple[int, ...] = (),
        bias: str = "any",
        is_wild: bool = True,
        names: list[str] = NAMES,
    ) -> None:
        self.seed, self.bias, self.is_wild, self.names = seed, bias, is_wild, names
        self.random = Random(seed)
        self.clock = Clock()
        self.account = Account()
        self.trace = blake2b(digest_size=16)
        self.log: list[str] = []
        self.is_verbose = False
        self.devices = [
            Device(n, place, self, n in folding) for n, place in enumerate(places(devices))
        ]
        self.watch = Watch()

    def note(self, *what: object) -> None:
        """Something happened."""
        line = " ".join(w.hex() if isinstance(w, bytes) else str(w) for w in what)
        self.trace.update(line.encode() + b"\n")
        if self.is_verbose:
            print(line)

    def find_bytes(self, hash_: bytes) -> bytes:
        """The contents with this hash, from anybody's disk; from somebody's history only if they
        were given up: an edit that was deleted may come back because somebody else moved the file.
        """
        for device in self.devices:
            for inode in device.disk.inodes.values():
                if inode.kind != int(Kind.DIRECTORY) and HASHER.chunk_id(inode.data) == hash_:
                    return inode.data
        data = self.account.by_hash[hash_]
        if data in self.account.owed:
            raise Broken(f"{data!r} is on no disk any more")
        return data

    # ------------------------------------------------------------ deliveries

    def deliver(self, source: Device, target: Device, is_tidy: bool) -> bool:
        """Changesets that the target lacks: all in order, or some of them in any order."""
        wires = [
            source.index.changesets[log, seq][2]
            for log, first, last in source.engine.book.missing_from(target.engine.book.frontier())
            for seq in range(first, last + 1)
        ]
        if not is_tidy:
            wires = self.random.sample(wires, self.random.randint(0, len(wires)))
            known = sorted(source.index.changesets)
            if known and self.random.random() < 0.3:  # a duplicate
                wires.append(source.index.changesets[self.random.choice(known)][2])
        if not wires:
            return False
        ingested = target.run(target.engine.ingest(wires))
        assert not ingested.refused, ingested.refused
        assert not ingested.forks
        self.note("deliver", source.name, target.name, len(wires), ingested.accepted)
        return ingested.accepted > 0

    def exchange(self) -> None:
        """Everything to everyone, then onto the disks."""
        for _ in range(ROUNDS_MAX):
            moved = False
            for target in self.devices:
                for source in self.devices:
                    if source is not target and self.deliver(source, target, True):
                        moved = True
            heads = [d.engine.book.frontier() for d in self.devices]
            for device in self.devices:
                device.settle()
            if not moved and heads == [d.engine.book.frontier() for d in self.devices]:
                return
        raise Broken("the devices do not come to rest")

    # ------------------------------------------------------------ steps

    def act(self, device: Device, why: str = "act") -> None:
        """Somebody does something."""
        self.clock.pass_(self.random.choice([0, 1_000_000, 20_000_000, 1_000_000_000]))
        self.note(why, device.name, device.person.act(self.bias))

    def step(self) -> None:
        """One of the things that may happen."""
        random = self.random
        device = random.choice(self.devices)
        choice = random.randrange(24)
        if choice <= 8:
            for _ in range(random.choice([1, 1, 2])):
                self.act(device)
        elif choice <= 10:
            self.note("scan", device.name)
            device.scan()
            check_scanned(device)
        elif choice <= 13:
            self.deliver(random.choice(self.devices), device, random.random() < 0.5)
        elif choice <= 15:
            self.note("survey", device.name)
            device.scan()
            device.survey(random.choice([1.0, 0.7, 0.3]))
        elif choice <= 18:
            self.apply(device)
        elif choice == 19:
            self.note("settle", device.name)
            device.settle()
        elif choice == 20:
            self.note("start", device.name)
            device.start()
        elif choice == 21:
            self.glance(device)
        elif choice == 22:
            self.compact(device)
        elif random.random() < 0.4:
            self.note("exchange")
            self.exchange()
        self.clock.pass_()
        self.watch.check(self.devices)

    def compact(self, device: Device) -> None:
        """A device tells some or all of its log again, and may let go at once of what it can."""
        upkeep = Upkeep(device.engine, Policy(piece_bytes=self.random.choice([300, 1 << 19])), {})
        upkeep.compact_now()
        pieces = self.random.choice([1, 2, 1000])
        if self.random.random() < 0.5:
            upkeep = Upkeep(device.engine, Policy(10**9, keep_s=0), {})
        self.note("compact", device.name, pieces)
        for _ in range(pieces):
            if device.run(upkeep.step(self.clock.now_ns // 10**9)) is None:
                return

    def glance(self, device: Device) -> None:
        """A scan of some directories only, and not all that is new is read at once."""
        items = sorted(device.directories.items)
        scope = self.random.sample(items, self.random.randint(1, min(3, len(items))))
        self.note("glance", device.name, *scope)
        device.look(scope, self.random.random() < 0.3)
        device.read(self.random.randint(0, 3))

    def apply(self, device: Device) -> None:
        """Writes to the disk, in a quiet moment or while somebody is at work, or till a crash."""
        how = self.random.randrange(4) if self.is_wild else 0
        if how <= 1:
            self.note("apply", device.name)
            device.apply()
            return
        if how == 2:
            device.disk.before_operation = self._disturb(device)
            self.note("race", device.name)
            device.apply()
            device.disk.before_operation = lambda number, operation: None
            return
        self.note("crash", device.name)
        device.disk.before_operation = _crash_at(self.random.randrange(6))
        try:
            device.apply()
        except Crash:
            pass
        device.start()

    def _disturb(self, device: Device) -> Callable[[int, Operation], None]:
        def hook(number: int, operation: Operation) -> None:
            if self.random.random() < 0.3:
                self.clock.pass_()
                self.act(device, "disturb")

        return hook


def _crash_at(count: int) -> Callable[[int, Operation], None]:
    left = [count]

    def hook(number: int, operation: Operation) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash

    return hook
