"""What goes wrong on a machine: errors of its disk and its database, bytes that are not those that
were written, ends in the middle of a plan, and people who act between two system calls. Armed by a
step, struck some calls later.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from peer.core.disk_types import Kind
from tests.sim.disk import HASHER
from tests.sim.filesystem import FileSystem, error
from tests.sim.loop import PowerCut

if TYPE_CHECKING:
    from tests.sim.machine import Machine
    from tests.sim.town import Town

WRITES: Final = frozenset(
    {"create", "write", "utime", "chmod", "fsync", "mkdir", "link", "unlink", "rmdir", "rename"}
)
TAKES_SPACE: Final = frozenset({"create", "write", "mkdir", "link", "rename", "fsync"})
DISTURBANCES_MAX: Final = 100
"""So much somebody does who was set to work once. Each act makes Holdfast write again, here and by
what it tells the others, and so calls for another one: without a bound some histories never end.
"""


@dataclass(slots=True)
class Fault:
    """Strikes at the calls named, once so many of them have passed."""

    calls: frozenset[str]
    passes: int
    strike: Callable[[], None]
    times: int = 1


class Faults:
    """The faults of all machines."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self._armed: dict[int, list[Fault]] = {}
        self._disturbers: dict[int, tuple[float, Random]] = {}
        self._disturbances: dict[int, int] = {}
        self._rotten: dict[int, tuple[int, Random]] = {}

    def end(self) -> None:
        """From now on nothing goes wrong."""
        self._armed.clear()
        self._disturbers.clear()
        self._rotten.clear()
        for machine in self._town.machines:
            self._see(machine)

    @staticmethod
    def _see(machine: Machine) -> None:
        machine.files.blind.clear()
        machine.files.tears = 0

    # ------------------------------------------------------------ arming

    def end_within(self, machine: Machine, passes: int, is_power_cut: bool, calls: str) -> None:
        """The process ends before one of its next calls."""

        def strike() -> None:
            self._town.note("power cut" if is_power_cut else "killed", machine.name)
            self._town.down(machine, is_power_cut)
            raise PowerCut

        kinds = WRITES if calls == "disk" else frozenset({calls})
        self._arm(machine, Fault(kinds, passes, strike))

    def fail(self, machine: Machine, calls: frozenset[str], number: int, times: int,
             passes: int) -> None:  # fmt: skip
        """Calls give an error."""

        def strike() -> None:
            self._town.note("error", machine.name, number)
            raise error(number)

        self._arm(machine, Fault(calls, passes, strike, times))

    def fail_statement(self, machine: Machine, passes: int) -> None:
        """The database's disk is full, or failing."""

        def strike() -> None:
            self._town.note("database error", machine.name)
            raise sqlite3.OperationalError("database or disk is full")

        words = frozenset({"BEGIN ", "INSERT", "DELETE", "COMMIT"})
        self._arm(machine, Fault(words, passes, strike))

    def disturb(self, machine: Machine, chance: float, random: Random) -> None:
        """Somebody is at work while Holdfast writes, for a while."""
        self._disturbers[machine.number] = (chance, random)
        self._disturbances[machine.number] = 0

    def rot(self, machine: Machine, reads: int, random: Random) -> None:
        """So many times its disk gives wrong bytes and no error: with a bit flipped, or of another
        place.
        """
        self._rotten[machine.number] = (reads, random)

    def calm(self, machine: Machine) -> None:
        """Nobody is any more, and the disk works again."""
        self._disturbers.pop(machine.number, None)
        self._rotten.pop(machine.number, None)
        self._armed.pop(machine.number, None)
        self._see(machine)

    def blind(self, machine: Machine, number: int, random: Random) -> None:
        """Something on its disk can be named and not looked at, until it is calm again."""
        places = list(machine.files.walk())
        if places:
            machine.files.blind[random.choice(places).inode] = number

    def _arm(self, machine: Machine, fault: Fault) -> None:
        self._armed.setdefault(machine.number, []).append(fault)

    # ------------------------------------------------------------ striking

    def read_back(self, files: FileSystem, data: bytes, offset: int, is_proof: bool) -> bytes:
        """What a disk gives for a range that holds these bytes. What is read to prove a file right
        is never some other file whole: nobody finds two faults that hide each other.
        """
        if not self._rotten or not data:
            return data
        machine = next(m for m in self._town.machines if m.files is files)
        reads, random = self._rotten.pop(machine.number, (0, self._town.random))
        if not reads:
            return data
        if reads > 1:
            self._rotten[machine.number] = (reads - 1, random)
        if random.random() < 0.5:
            at = random.randrange(len(data))
            wrong = data[:at] + bytes([data[at] ^ 1 << random.randrange(8)]) + data[at + 1 :]
        else:
            other = random.choice(sorted(files.contents(Kind.FILE)))
            wrong = other[offset : offset + len(data)].ljust(len(data), b"\0")
        if is_proof and HASHER.chunk_id(wrong) in self._town.account.by_hash:
            return data
        self._town.note("wrong bytes", machine.name, wrong)
        return wrong

    def before_call(self, machine: Machine, call: str, name: str) -> None:
        """A system call of Holdfast's is about to be made."""
        if call in WRITES:
            self._town.note("call", machine.name, call, name)
            self._disturb(machine)
        if machine.number in self._armed:
            self._strike(machine, call)

    def _disturb(self, machine: Machine) -> None:
        chance, random = self._disturbers.get(machine.number, (0.0, self._town.random))
        if not chance or random.random() >= chance:
            return
        self._disturbances[machine.number] += 1
        if self._disturbances[machine.number] == DISTURBANCES_MAX:
            del self._disturbers[machine.number]
        self._town.act(machine, random, "disturb")

    def before_statement(self, machine: Machine, word: str) -> None:
        """A statement that writes is about to be carried out."""
        self._strike(machine, word)

    def after_commit(self, machine: Machine) -> None:
        """A transaction is durable, and nobody has been told."""
        self._strike(machine, "committed")

    def _strike(self, machine: Machine, call: str) -> None:
        for fault in self._armed.get(machine.number, ()):
            if call in fault.calls:
                if fault.passes > 0:
                    fault.passes -= 1
                    continue
                fault.times -= 1
                if fault.times <= 0:
                    self._armed[machine.number].remove(fault)
                fault.strike()
                return


DISK_ERRORS: Final = (
    (frozenset({"fsync"}), errno.EIO),
    (TAKES_SPACE, errno.ENOSPC),
    (WRITES, errno.EIO),
    (frozenset({"read", "open", "list", "stat"}), errno.EIO),
    (frozenset({"rename", "unlink", "mkdir"}), errno.EACCES),
)
