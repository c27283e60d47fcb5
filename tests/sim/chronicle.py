"""A whole history of a town from a seed: its beginning, its steps, and the checks at its end."""

from __future__ import annotations

import asyncio
import ctypes
import gc
from dataclasses import dataclass
from random import Random

from peer.core.disk_types import Kind
from peer.core.rows import FOLDED
from tests.sim.checkers import Broken, difference
from tests.sim.database import give_back
from tests.sim.disk import ROOT_INODE, Inode
from tests.sim.promises import check_at_rest, paths_of, rows_of
from tests.sim.steps import take
from tests.sim.system import installed
from tests.sim.town import Town

STEPS = 200
COUNTS = [2, 3, 3, 3, 4, 5]
"""How many machines a town has."""
MIRROR_EVERY = 4
"""So many seeds to one that goes on after it came to rest; that costs a fifth of the time."""
TRIM_EVERY = 8
"""Histories leave their memory in pieces, some megabytes each; looking for them takes 1 %."""
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", lambda pad: None)
"""Gives free memory back to the system, where the C library has it."""


@dataclass(frozen=True)
class Chronicle:
    """A seed, and which of its steps are taken."""

    seed: int
    steps: tuple[int, ...]
    disallowed: frozenset[str] = frozenset()
    machines: int = 0
    """How many; 0 leaves it to the seed."""
    has_tricks: bool = False
    """People's programs, and disks, do what few do."""


def whole(
    seed: int, steps: int = STEPS, machines: int = 0, *, has_tricks: bool = False
) -> Chronicle:
    """All steps of a seed."""
    return Chronicle(seed, tuple(range(steps)), machines=machines, has_tricks=has_tricks)


def live(chronicle: Chronicle, *, is_verbose: bool = False) -> str:
    """Plays it; raises what goes wrong; returns the trace's hash."""
    choice = Random(f"chronicle {chronicle.seed}")
    count = choice.choice(COUNTS)
    folding = (0,) if choice.random() < 0.15 else ()
    town = Town(chronicle.seed)
    town.is_verbose, town.has_tricks = is_verbose, chronicle.has_tricks
    town.bias = choice.choice(["any", "any", "moves", "edits"])
    start = choice.choice(["empty", "shared", "filled"])
    with installed(town.system, town.time, choice.random() < 0.5):
        town.populate(chronicle.machines or count, folding)
        gc.disable()  # what it ends, it ends at moments of its own
        gc.freeze()  # what was there before is none of the history's rubbish
        try:
            town.loop.run_until_complete(_live(town, chronicle, start))
            return town.trace.hexdigest()
        finally:
            town.loop.end()
            _tear_down(town)
            gc.collect()  # now, lest what is left be closed in the next history
            gc.enable()
            gc.unfreeze()
            if chronicle.seed % TRIM_EVERY == 0:
                _TRIM(0)


def _tear_down(town: Town) -> None:
    """Cuts all ties, so that nothing of the town is left to be frozen with what was there before
    the next one: after a hundred towns a process had gigabytes.
    """
    for machine in town.machines:
        give_back(machine.index)
    for part in (*town.machines, town):
        vars(part).clear()


async def _live(town: Town, chronicle: Chronicle, start: str) -> None:
    _prepare(town, start)
    async with town:
        await asyncio.sleep(0.1)
        if start == "shared":
            await town.settle()
        for number in chronicle.steps:
            await take(town, number, chronicle.disallowed)
        town.note("settle")
        await town.settle()
        check_at_rest(town)
        if chronicle.seed % MIRROR_EVERY == 1:
            await _mirror(town)


def _prepare(town: Town, start: str) -> None:
    """Where the story begins: empty, with one shared tree, or with folders filled apart."""
    if start == "empty":
        return
    names, account = town.names, town.account
    for machine in town.machines[: 1 if start == "shared" else None]:
        files = machine.files
        same, yours = account.note(b"same"), account.note(b"yy")
        top = files.make(ROOT_INODE, names[0], Inode(Kind.DIRECTORY))
        low = files.make(top, names[-1], Inode(Kind.DIRECTORY))
        files.make(ROOT_INODE, names[1] + "2", Inode(Kind.DIRECTORY))
        files.make(low, "x", Inode(Kind.FILE, same))
        mine = yours if machine.number < 2 else account.fresh(town.random)
        files.make(top, "y", Inode(Kind.FILE, mine))
        files.make(ROOT_INODE, "z", Inode(Kind.FILE, account.fresh(town.random)))
        town.save_safely(machine)


async def _mirror(town: Town) -> None:
    """One person acts, all in touch: every other disk becomes exactly the actor's."""
    machine = town.random.choice(town.machines)
    is_folded = any(row.shown.flags & FOLDED for row in rows_of(machine).values())
    town.act(machine, town.random)
    want = paths_of(machine)
    await town.settle()
    check_at_rest(town)
    if town.is_anybody_bereft() or is_folded:  # it may give a name back that it alone had taken
        return
    for other in town.machines:
        if other.files.folds_case == machine.files.folds_case and paths_of(other) != want:
            wrong = difference(paths_of(other), want)
            raise Broken(f"{other.name} does not show what {machine.name} did: {wrong}")
