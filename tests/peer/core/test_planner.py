"""Any old tree, any new tree: the plan makes the one of the other and loses nothing on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import NodeId
from peer.core.disk_types import (
    PARKED,
    Kind,
    MakeDirectory,
    Move,
    Operation,
    Path,
    Publish,
    Remove,
    RemoveDirectory,
    SetExecutable,
    SetMtime,
    Stat,
)
from peer.core.planner import DirectoryChange, FileChange, Planner, Step, are_new, plan_new_files
from protocol.nodes import ROOT

Home = tuple[NodeId, str]
NAMES = ["a", "b", "c"]


def directory_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(15) + b"\x01")


def file_id(number: int) -> NodeId:
    return NodeId(number.to_bytes(15) + b"\x00")


@dataclass
class Tree:
    """What is where: directories by item, files by item with their bytes."""

    directories: dict[NodeId, Home] = field(default_factory=dict)
    files: dict[NodeId, tuple[Home, str]] = field(default_factory=dict)

    def path(self, home: Home) -> Path:
        above = () if home[0] == ROOT else self.path(self.directories[home[0]])
        return (*above, home[1])

    def paths(self) -> dict[Path, str | None]:
        out: dict[Path, str | None] = {self.path(h): None for h in self.directories.values()}
        out.update({self.path(h): data for h, data in self.files.values()})
        return out


class DictDisk:
    """Paths with their bytes; refuses, by failing the test, whatever a real disk would refuse."""

    def __init__(self, paths: dict[Path, str | None], staged: dict[str, str]) -> None:
        self.paths, self.staged = dict(paths), dict(staged)
        self.given_up: list[str] = []

    def do(self, operation: Operation) -> None:
        match operation:
            case MakeDirectory(path):
                self._require_room(path)
                self.paths[path] = None
            case Move(source, target):
                assert source in self.paths, f"{source} is not there"
                self._require_room(target)
                assert target[: len(source)] != source, "a directory cannot move into itself"
                for path in [p for p in self.paths if p[: len(source)] == source]:
                    self.paths[(*target, *path[len(source) :])] = self.paths.pop(path)
            case Publish(temp_name, target, expected):
                if expected is None:
                    self._require_room(target)
                else:
                    there = self.paths[target]
                    assert there is not None, "a directory is not published over"
                    assert expected.inode == inode_of(there)
                    self.given_up.append(there)
                self.paths[target] = self.staged.pop(temp_name)
            case Remove(path, expected):
                there = self.paths.pop(path)
                assert there is not None
                assert expected.inode == inode_of(there)
                self.given_up.append(there)
            case RemoveDirectory(path):
                assert self.paths.pop(path) is None
                assert not any(p[: len(path)] == path for p in self.paths), f"{path} is not empty"
            case SetExecutable(path) | SetMtime(path):
                assert self.paths[path] is not None

    def _require_room(self, path: Path) -> None:
        assert path not in self.paths, f"{path} is taken"
        above = path[:-1]
        assert above in ((), PARKED) or self.paths.get(above, "") is None, f"{above} is not there"


def inode_of(data: str) -> int:
    return int(data.partition(" ")[0][1:])


def random_tree(random: Random, directories: list[NodeId], files: list[NodeId]) -> Tree:
    tree = Tree()
    taken: set[Home] = set()

    def home() -> Home | None:
        found = (random.choice([ROOT, *tree.directories]), random.choice(NAMES))
        if found in taken:
            return None
        taken.add(found)
        return found

    random.shuffle(directories)
    for item in directories:
        if random.random() < 0.8 and (found := home()):
            tree.directories[item] = found
    for number, item in enumerate(files):
        if random.random() < 0.8 and (found := home()):
            version = random.choice(["old", "old", "new"])
            tree.files[item] = (found, f"#{number + 1} {version}")
    return tree


def stat(kind: Kind, inode: int) -> Stat:
    return Stat(kind, inode, 0, 1, 1, 1, False)


@dataclass
class Case:
    """Two trees, and the new one's items that go on with another item's directory."""

    old: Tree
    new: Tree
    disk_of: dict[NodeId, NodeId]
    staged: dict[str, str] = field(default_factory=dict)

    def steps(self, after: Callable[[NodeId], tuple[NodeId, ...]]) -> list[Step]:
        directories = []
        taken = set()
        for item, home in self.new.directories.items():
            old = self.disk_of.get(item, item)
            before = self.old.directories.get(old)
            if before is None:
                directories.append(DirectoryChange(None, None, item, home))
            else:
                taken.add(old)
                if item == old and self._stays(before, home):
                    continue
                there = stat(Kind.DIRECTORY, 100 + old[14])
                directories.append(DirectoryChange(old, before, item, home, there))
        for item, home in self.old.directories.items():
            if item not in taken:
                there = stat(Kind.DIRECTORY, 100 + item[14])
                directories.append(DirectoryChange(item, home, None, None, there))
        files = []
        for item in sorted({*self.old.files, *self.new.files}):
            old_home, old_data = self.old.files.get(item, (None, ""))
            new_home, new_data = self.new.files.get(item, (None, ""))
            known = stat(Kind.FILE, inode_of(old_data)) if old_data else None
            temp = None
            if new_data and new_data != old_data:
                temp = f"t{item.hex()}"
                self.staged[temp] = new_data
            elif self._stays(old_home, new_home):
                continue
            files.append(FileChange(item, old_home, new_home, known, temp, after=after(item)))
        return Planner(directories, files, self._old_home, self._new_home).plan()

    def _stays(self, old_home: Home | None, new_home: Home | None) -> bool:
        if old_home is None or new_home is None:
            return False
        return (self.disk_of.get(new_home[0], new_home[0]), new_home[1]) == old_home

    def _old_home(self, item: NodeId) -> Home | None:
        return self.old.directories.get(item)

    def _new_home(self, item: NodeId) -> Home | None:
        return self.new.directories.get(item)


def random_case(seed: int) -> Case:
    random = Random(seed)
    directories = [directory_id(n) for n in range(1, 6)]
    files = [file_id(n) for n in range(1, 7)]
    old = random_tree(random, list(directories), files)
    new = random_tree(random, list(directories), files)
    disk_of: dict[NodeId, NodeId] = {}
    if random.random() < 0.3:  # some directories are represented by another node from now on
        stand_ins = {d: directory_id(10 + n) for n, d in enumerate(directories)}
        heirs = [d for d in new.directories if d in old.directories and random.random() < 0.5]
        disk_of = {stand_ins[d]: d for d in heirs}

        def other(item: NodeId) -> NodeId:
            return stand_ins[item] if item in heirs else item

        new = Tree(
            {other(d): (other(above), name) for d, (above, name) in new.directories.items()},
            {f: ((other(above), name), data) for f, ((above, name), data) in new.files.items()},
        )
    return Case(old, new, disk_of)


def carry_out(case: Case, after: Callable[[NodeId], tuple[NodeId, ...]]) -> list[Step]:
    steps = case.steps(after)
    disk = DictDisk(case.old.paths(), case.staged)
    for step in steps:
        disk.do(step.operation)
    assert disk.paths == case.new.paths()
    assert not disk.staged
    keeps = {data for _, data in case.new.files.values()}
    assert not keeps.intersection(disk.given_up), "what stays was removed on the way"
    return steps


@pytest.mark.row("F18")
@pytest.mark.parametrize("start", range(0, 3_000, 500))
def test_a_plan_makes_the_new_tree(start: int) -> None:
    for seed in range(start, start + 500):
        try:
            carry_out(random_case(seed), lambda item: ())
        except (AssertionError, KeyError) as error:
            raise AssertionError(f"seed {seed}") from error


@given(st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_what_is_to_come_first_comes_first(seed: int) -> None:
    case = random_case(seed)
    new = [i for i in case.new.files if i not in case.old.files]
    changed = [
        i for i, (_, data) in case.new.files.items()
        if i in case.old.files and case.old.files[i][1] != data
    ]  # fmt: skip
    copies = {c: n for c, n in zip(changed, new, strict=False)}
    steps = carry_out(case, lambda item: (copies[item],) if item in copies else ())
    published = [s.id for s in steps if isinstance(s.operation, Publish)]
    for item, copy in copies.items():
        assert published.index(copy) < published.index(item)
        (step,) = [s for s in steps if s.id == item and isinstance(s.operation, Publish)]
        assert copy in step.needs


def test_a_copy_goes_only_when_the_file_that_it_is_again_has_come() -> None:
    original, copy = file_id(1), file_id(2)
    old = {original: ((ROOT, "a"), "#1 old"), copy: ((ROOT, "b"), "#2 old")}
    case = Case(Tree({}, old), Tree({}, {original: ((ROOT, "a"), "#1 new")}), {})
    publish, remove = carry_out(case, lambda item: (original,) if item == copy else ())
    assert isinstance(publish.operation, Publish)
    assert isinstance(remove.operation, Remove)
    assert original in remove.needs
    assert publish.round < remove.round


@given(st.integers(0, 1 << 32))
@settings(max_examples=300, deadline=None)
def test_no_step_of_a_round_rests_on_another_of_it(seed: int) -> None:
    steps = random_case(seed).steps(lambda item: ())
    assert [s.round for s in steps] == sorted(s.round for s in steps)
    moved: dict[int, set[NodeId]] = {}
    for step in steps:
        earlier = moved.setdefault(step.round, set())
        assert earlier.isdisjoint(set(step.needs) - {step.id})
        if isinstance(step.operation, Move) and step.operation.expected.kind is Kind.DIRECTORY:
            earlier.add(step.id)


def test_nothing_is_parked_without_need() -> None:
    old = Tree(files={file_id(n): ((ROOT, f"{n}"), f"#{n} old") for n in range(1, 6)})
    new = Tree(files={file_id(n): ((ROOT, f"{n + 1}"), f"#{n} old") for n in range(1, 6)})
    steps = carry_out(Case(old, new, {}), lambda item: ())
    assert [type(s.operation) for s in steps] == [Move] * 5


def test_of_two_that_change_places_one_is_parked() -> None:
    one, other = file_id(1), file_id(2)
    old = Tree(files={one: ((ROOT, "a"), "#1 old"), other: ((ROOT, "b"), "#2 old")})
    new = Tree(files={one: ((ROOT, "b"), "#1 old"), other: ((ROOT, "a"), "#2 old")})
    steps = carry_out(Case(old, new, {}), lambda item: ())
    parked = [
        s for s in steps if isinstance(s.operation, Move) and PARKED == s.operation.target[:2]
    ]
    assert len(steps) == 3
    assert len(parked) == 1


def test_what_was_renamed_and_edited_is_never_without_its_bytes() -> None:
    item = file_id(1)
    old = Tree(files={item: ((ROOT, "a"), "#1 old")})
    new = Tree(files={item: ((ROOT, "b"), "#1 new")})
    steps = carry_out(Case(old, new, {}), lambda _: ())
    assert [type(s.operation) for s in steps] == [Move, Publish]


def test_a_directory_waits_until_what_it_moves_into_is_out_of_it() -> None:
    down, out, inner, other = (directory_id(n) for n in range(1, 5))
    old = Tree({down: (ROOT, "d"), out: (down, "e"), inner: (out, "p"), other: (ROOT, "e")})
    new = Tree({out: (ROOT, "e"), inner: (out, "p"), down: (inner, "d"), other: (down, "x")})
    carry_out(Case(old, new, {}), lambda item: ())


@pytest.mark.parametrize("is_published", [False, True])
def test_a_disk_that_folds_case_has_one_slot_for_both_spellings(is_published: bool) -> None:
    def stat(inode: int) -> Stat:
        return Stat(Kind.FILE, inode, 0, 1, 1, 1, False)

    comes = FileChange(
        file_id(1), None if is_published else (ROOT, "kept"), (ROOT, "B"), stat(1),
        "temp" if is_published else None,
    )  # fmt: skip
    goes = FileChange(file_id(2), (ROOT, "b"), None if is_published else (ROOT, "c"), stat(2))
    steps = Planner([], [comes, goes], lambda item: None, lambda item: None, str.casefold).plan()
    assert [step.id for step in steps] == [file_id(2), file_id(1)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_new_files_are_planned_as_any_plan_would_plan_them(count: int) -> None:
    """The short way and the long one give the same steps."""
    directory = directory_id(9)
    homes = {directory: (ROOT, "d")}
    files = [
        FileChange(file_id(n), None, ((ROOT, directory)[n % 2], f"f{n}"), None, f"t{n}")
        for n in range(count)
    ]
    assert are_new(files)
    short = plan_new_files(files, lambda item: () if item == ROOT else ("d",))
    assert short == Planner([], files, homes.get, homes.get).plan()


STAT = Stat(Kind.FILE, 1, 0, 5, 1, 1, False)


@pytest.mark.parametrize(
    "change",
    [
        FileChange(file_id(1), (ROOT, "a"), (ROOT, "b"), STAT, "t"),
        FileChange(file_id(1), (ROOT, "a"), None, STAT),
        FileChange(file_id(1), None, (ROOT, "b"), None, None),
        FileChange(file_id(1), None, (ROOT, "b"), None, "t", after=(file_id(2),)),
    ],
)
def test_what_is_not_new_or_has_to_wait_takes_the_long_way(change: FileChange) -> None:
    assert not are_new([change])
