"""People at work on a disk, from a seed; and the account of what they saved and what they gave up.

A byte string is saved once. Whoever deletes a file, or saves over it, has seen what it showed:
those bytes may go. All others have to be somewhere when everybody has heard of everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from peer.core.disk_types import Kind
from tests.sim.disk import HASHER, ROOT_INODE, FakeDisk, Inode, Place

NAMES = ["a", "b.txt", "A", "B.txt", "caf\u00e9", "d"]
SAME = b"same"
"""Bytes that several people save by chance; no account is kept of them."""


@dataclass
class Account:
    """What was saved, and what somebody replaced or deleted who had seen it."""

    saved: set[bytes] = field(default_factory=set)
    by_hash: dict[bytes, bytes] = field(default_factory=dict)
    given_up: set[bytes] = field(default_factory=set)
    moved_in_the_middle: set[bytes] = field(default_factory=set)
    """What a person moved while a plan that a crash cut short lay half done on the disk: nobody can
    tell which of the two moved it, so it may come to be a version instead of being shown.
    """

    def fresh(self, random: Random) -> bytes:
        """Something new to save."""
        if random.randrange(6) == 0:
            return self.note(SAME)
        data = self.note(b"w%d" % (len(self.by_hash) + 1))
        self.saved.add(data)
        return data

    def note(self, data: bytes) -> bytes:
        """Remembers what a hash stands for."""
        self.by_hash[HASHER.chunk_id(data)] = data
        return data

    @property
    def owed(self) -> set[bytes]:
        """What has to be on the disks."""
        return self.saved - self.given_up


class Person:
    """Does things to one disk."""

    def __init__(self, disk: FakeDisk, account: Account, random: Random, names: list[str]) -> None:
        self.disk, self.account, self.random, self.names = disk, account, random, names
        self.has_tricks = False
        """Whether the programs that are used do what few do."""
        self._backup: dict[tuple[int, str], bytes] = {}

    def act(self, bias: str = "any", within: int = ROOT_INODE) -> str:
        """One thing, for better or worse; says what."""
        acts = {
            "moves": [self.make_directory, self.move, self.move, self.move_directory,
                      self.move_directory, self.move_keeping_name, self.rename, self.delete,
                      self.swap],
            "edits": [self.make_file, self.edit, self.edit, self.append, self.save_by_rename,
                      self.move_keeping_name, self.delete, self.chmod, self.backup, self.touch],
            "any": [self.make_directory, self.make_directory, self.make_file, self.make_file,
                    self.make_symlink, self.edit, self.append, self.save_by_rename, self.move,
                    self.move_directory, self.move_keeping_name, self.rename, self.delete,
                    self.swap, self.change_kind, self.chmod, self.backup, self.touch],
        }[bias]  # fmt: skip
        if self.has_tricks:
            acts = [*acts, self.retag, self.retag, self.retag_and_move, self.change_case,
                    self.settle_conflict, self.back_up, self.restore]  # fmt: skip
        places = list(self.disk.walk(within))
        if not places:
            acts = [self.make_file, self.make_directory]
        act = self.random.choice(acts)
        self._directories = [within] + [p.inode for p in places if self._kind(p) is Kind.DIRECTORY]
        self._files = [p for p in places if self._kind(p) is not Kind.DIRECTORY]
        self._places = places
        done = act()
        return f"{act.__name__} {done}"

    def _kind(self, place: Place) -> Kind:
        return self.disk.inodes[place.inode].kind

    def _give_up(self, inode: int) -> None:
        self.account.given_up.add(self.disk.inodes[inode].data)
        for place in self.disk.walk(inode):
            self.account.given_up.add(self.disk.inodes[place.inode].data)

    def _spot(self) -> tuple[int, str] | None:
        directory, name = self.random.choice(self._directories), self.random.choice(self.names)
        return None if self.disk.find(directory, name) else (directory, name)

    # ------------------------------------------------------------ making

    def make_file(self) -> object:
        spot = self._spot()
        if spot is not None:
            self.disk.make(*spot, Inode(Kind.FILE, self.account.fresh(self.random)))
        return spot

    def make_symlink(self) -> object:
        spot = self._spot()
        if spot is not None:
            self.disk.make(*spot, Inode(Kind.SYMLINK, self.account.fresh(self.random)))
        return spot

    def make_directory(self) -> object:
        spot = self._spot()
        if spot is not None:
            self.disk.make(*spot, Inode(Kind.DIRECTORY))
        return spot

    # ------------------------------------------------------------ saving

    def _file(self) -> Place | None:
        return self.random.choice(self._files) if self._files else None

    def edit(self) -> object:
        place = self._file()
        if place is not None:
            if self._kind(place) is Kind.SYMLINK:
                return self._replace(place)
            self._give_up(place.inode)
            self.disk.write(place.inode, self.account.fresh(self.random))
        return place

    def append(self) -> object:
        place = self._file()
        if place is not None and self._kind(place) is Kind.FILE:
            old = self.disk.inodes[place.inode].data
            self._give_up(place.inode)
            data = old[:40] + b"+" + self.account.fresh(self.random)
            self.account.saved.add(self.account.note(data))
            self.account.given_up.add(data.rpartition(b"+")[2])
            self.disk.write(place.inode, data)
        return place

    def save_by_rename(self) -> object:
        place = self._file()
        return None if place is None else self._replace(place)

    def _replace(self, place: Place) -> object:
        """A temp file, renamed over: the path stays, the inode is new."""
        old = self.disk.inodes[place.inode]
        self._give_up(place.inode)
        fresh = Inode(old.kind, self.account.fresh(self.random), is_executable=old.is_executable)
        temp = ".temp"
        while self.disk.find(place.directory, temp):  # a power cut came in the middle of a save
            temp += "~"
        number = self.disk.make(place.directory, temp, fresh)
        self.disk.rename(Place(place.directory, temp, number), place.directory, place.name)
        return place

    def backup(self) -> object:
        place = self._file()
        if place is None or self.disk.find(place.directory, place.name + "~"):
            return None
        old = self.disk.inodes[place.inode]
        self.disk.rename(place, place.directory, place.name + "~")
        fresh = Inode(old.kind, self.account.fresh(self.random))
        self.disk.make(place.directory, place.name, fresh)
        return place

    def chmod(self) -> object:
        place = self._file()
        if place is not None and self._kind(place) is Kind.FILE:
            self.disk.chmod(place.inode)
        return place

    def touch(self) -> object:
        place = self._file()
        if place is not None and self._kind(place) is Kind.FILE:
            self.disk.touch(place.inode)
        return place

    # ------------------------------------------------------------ tricks

    def retag(self) -> object:
        """In place, with the size and the mtime that it had."""
        place = self._file()
        if place is None or self._kind(place) is not Kind.FILE:
            return None
        fresh = self.account.fresh(self.random)
        old = self.disk.inodes[place.inode].data
        self._give_up(place.inode)
        self.disk.write(place.inode, fresh, keeps_time=len(fresh) == len(old))  # type: ignore[call-arg]
        return place

    def retag_and_move(self) -> object:
        place = self.retag()
        if not isinstance(place, Place):
            return None
        return self._move(
            place, self.random.choice(self._directories), self.random.choice(self.names)
        )

    def change_case(self) -> object:
        place = self.random.choice(self._places)
        return self._move(place, place.directory, place.name.swapcase())

    def settle_conflict(self) -> object:
        """Edits a conflict copy, deletes the original, and gives the copy its name."""
        copies = [p for p in self._files if " (conflict " in p.name]
        if not copies:
            return None
        copy = self.random.choice(copies)
        if self._kind(copy) is Kind.FILE and self.random.random() < 0.7:
            self._give_up(copy.inode)
            self.disk.write(copy.inode, self.account.fresh(self.random))
        before, _, after = copy.name.partition(" (conflict ")
        name = before + after.partition(")")[2]
        original = next((p for p in self._places if p[:2] == (copy.directory, name)), None)
        if original is not None:
            self._give_up(original.inode)
            self.disk.remove(original)
        return self._move(copy, copy.directory, name)

    def back_up(self) -> object:
        """`cp -a` to another disk."""
        self._backup = {p[:2]: self.disk.inodes[p.inode].data for p in self._files}
        return len(self._backup)

    def restore(self) -> object:
        """`cp -a` back over what is there. Of old bytes no account is kept: where nobody has heard
        of what they were replaced by, nothing was changed.
        """
        done = 0
        for place in self._files:
            old = self._backup.get(place[:2])
            inode = self.disk.inodes[place.inode]
            if old is not None and inode.kind is Kind.FILE and old != inode.data:
                self._give_up(place.inode)
                self.account.given_up.add(old)
                keeps_time = len(old) == len(inode.data)
                self.disk.write(place.inode, old, keeps_time=keeps_time)  # type: ignore[call-arg]
                done += 1
        return done

    # ------------------------------------------------------------ moving

    def _move(self, place: Place, directory: int, name: str) -> object:
        below = {place.inode, *(p.inode for p in self.disk.walk(place.inode))}
        if directory in below:
            return None
        spelled = self.disk.find(directory, name)
        if spelled is not None:
            there = self.disk.inodes[directory].entries[spelled]
            if there != place.inode:
                kind = self.disk.inodes[there].kind
                if kind is Kind.DIRECTORY or kind is not self._kind(place):
                    return None
                self._give_up(there)
        self.disk.rename(place, directory, name)
        return place, directory, name

    def move(self) -> object:
        place = self.random.choice(self._places)
        return self._move(
            place, self.random.choice(self._directories), self.random.choice(self.names)
        )

    def move_directory(self) -> object:
        places = [p for p in self._places if self._kind(p) is Kind.DIRECTORY]
        if not places:
            return None
        return self._move(
            self.random.choice(places),
            self.random.choice(self._directories),
            self.random.choice(self.names),
        )

    def move_keeping_name(self) -> object:
        place = self.random.choice(self._places)
        return self._move(place, self.random.choice(self._directories), place.name)

    def rename(self) -> object:
        place = self.random.choice(self._places)
        return self._move(place, place.directory, self.random.choice(self.names))

    def swap(self) -> object:
        one, other = self.random.choice(self._places), self.random.choice(self._places)
        for x, y in ((one, other), (other, one)):
            if x.inode in {y.inode, *(p.inode for p in self.disk.walk(y.inode))}:
                return None
        self.disk.swap(one, other)
        return one, other

    # ------------------------------------------------------------ ending

    def delete(self) -> object:
        place = self.random.choice(self._places)
        self._give_up(place.inode)
        self.disk.remove(place)
        return place

    def change_kind(self) -> object:
        place = self.random.choice(self._places)
        was_directory = self._kind(place) is Kind.DIRECTORY
        self._give_up(place.inode)
        self.disk.remove(place)
        data = self.account.fresh(self.random) if was_directory else b""
        kind = Kind.FILE if was_directory else Kind.DIRECTORY
        self.disk.make(place.directory, place.name, Inode(kind, data))
        return place
