"""What may happen in a town: one step, drawn from its own seed."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING, Final

from tests.sim.faults import DISK_ERRORS
from tests.sim.machine import Machine

if TYPE_CHECKING:
    from tests.sim.town import Town

Step = Callable[["Town", Machine, Random], object]
YEAR_NS: Final = 365 * 86_400 * 10**9


def _act(town: Town, machine: Machine, random: Random) -> None:
    for _ in range(random.choice([1, 1, 2, 4])):
        town.act(machine, random)


def _flush(town: Town, machine: Machine, random: Random) -> None:
    if machine.is_powered:
        town.save_safely(machine)


def _cut(town: Town, machine: Machine, random: Random) -> None:
    town.down(machine, True)


def _cut_in_plan(town: Town, machine: Machine, random: Random) -> None:
    town.faults.end_within(machine, random.randrange(30), True, "disk")


def _cut_in_commit(town: Town, machine: Machine, random: Random) -> None:
    calls = random.choice(["COMMIT", "committed", "INSERT"])
    town.faults.end_within(machine, random.randrange(4), True, calls)


def _kill_in_plan(town: Town, machine: Machine, random: Random) -> None:
    town.faults.end_within(machine, random.randrange(30), False, random.choice(["disk", "COMMIT"]))


def _kill(town: Town, machine: Machine, random: Random) -> None:
    town.down(machine, False)


def _disk_error(town: Town, machine: Machine, random: Random) -> None:
    calls, number = random.choice(DISK_ERRORS)
    town.faults.fail(machine, calls, number, random.choice([1, 1, 2, 20]), random.randrange(12))


def _database_error(town: Town, machine: Machine, random: Random) -> None:
    town.faults.fail_statement(machine, random.randrange(6))


def _disturb(town: Town, machine: Machine, random: Random) -> None:
    town.faults.disturb(machine, random.choice([0.02, 0.2]), Random(random.random()))


def _rot(town: Town, machine: Machine, random: Random) -> None:
    town.faults.rot(machine, random.choice([1, 3, 10]), Random(random.random()))


def _blind(town: Town, machine: Machine, random: Random) -> None:
    number = random.choice([errno.EIO, errno.EIO, errno.ESTALE, errno.EACCES])
    town.faults.blind(machine, number, random)


def _tear(town: Town, machine: Machine, random: Random) -> None:
    machine.files.tears = random.choice([1, 3, 10])


def _calm(town: Town, machine: Machine, random: Random) -> None:
    town.faults.calm(machine)


def _break(town: Town, machine: Machine, random: Random) -> None:
    town.break_links(machine)


def _partition(town: Town, machine: Machine, random: Random) -> None:
    for other in town.machines:
        if other is not machine and random.random() < 0.7:
            town.wall(machine.number, other.number)
            town.wall(other.number, machine.number)


def _one_way(town: Town, machine: Machine, random: Random) -> None:
    town.wall(machine.number, random.choice(town.machines).number)


def _heal(town: Town, machine: Machine, random: Random) -> None:
    town.heal()


async def _swizzle(town: Town, machine: Machine, random: Random) -> None:
    """Clogs some machines one by one, and lets them go in another order."""
    chosen = random.sample(town.machines, random.randint(1, len(town.machines)))
    for one in chosen:
        for other in town.machines:
            town.wall(one.number, other.number)
            town.wall(other.number, one.number)
        await asyncio.sleep(random.choice([0.1, 2.0]))
    random.shuffle(chosen)
    for one in chosen:
        town.unwall(one.number)
        await asyncio.sleep(random.choice([0.1, 2.0]))


def _clock(town: Town, machine: Machine, random: Random) -> None:
    jump_ns = random.choice([-10 * YEAR_NS, -3600 * 10**9, -(10**9), 5 * 10**9, 10 * YEAR_NS])
    machine.skew_ns += jump_ns
    if not -20 * YEAR_NS < machine.skew_ns < 20 * YEAR_NS:
        machine.skew_ns = 0


def _rescan(town: Town, machine: Machine, random: Random) -> None:
    if machine.is_up and machine.folder is not None:
        machine.folder.rescan()


def _pause(town: Town, machine: Machine, random: Random) -> None:
    machine.is_paused = not machine.is_paused
    if machine.is_up and machine.folder is not None:
        machine.folder.pause(machine.is_paused)


def _compact(town: Town, machine: Machine, random: Random) -> None:
    if machine.is_up and machine.folder is not None:
        machine.folder.upkeep.compact_now()
        machine.folder.wake()


def _lose_index(town: Town, machine: Machine, random: Random) -> None:
    town.down(machine, False)
    if machine.life.is_over:
        machine.lose_index()


_WEIGHTS: Final[list[tuple[Step, int]]] = [
    (_act, 60),
    (_flush, 4),
    (_cut, 3),
    (_cut_in_plan, 6),
    (_cut_in_commit, 3),
    (_kill_in_plan, 3),
    (_kill, 1),
    (_disk_error, 6),
    (_database_error, 2),
    (_disturb, 4),
    (_rot, 3),
    (_calm, 4),
    (_break, 4),
    (_partition, 3),
    (_one_way, 2),
    (_heal, 6),
    (_swizzle, 1),
    (_clock, 2),
    (_rescan, 3),
    (_pause, 2),
    (_lose_index, 1),
    (_compact, 4),
]
_TRICKS: Final[list[tuple[Step, int]]] = [*_WEIGHTS, (_blind, 6), (_tear, 4)]
"""What is played in towns that have tricks."""
_STEPS: Final = [step for step, _ in _WEIGHTS]
_SHARES: Final = [weight for _, weight in _WEIGHTS]
PAUSES_S: Final = [0.0, 0.001, 0.02, 0.02, 0.3, 0.3, 2.0, 10.0]


async def take(town: Town, number: int, disallowed: frozenset[str] = frozenset()) -> None:
    """The step of this number."""
    random = Random(f"{town.seed} step {number}")
    if town.has_tricks:
        (step,) = random.choices([s for s, _ in _TRICKS], [share for _, share in _TRICKS])
    else:
        (step,) = random.choices(_STEPS, _SHARES)
    machine = random.choice(town.machines)
    if step.__name__ in disallowed:
        return
    town.note("step", number, step.__name__[1:], machine.name)
    done = step(town, machine, random)
    if isinstance(done, Awaitable):
        await done
    await asyncio.sleep(random.choice(PAUSES_S))
    town.check()


KINDS: Final = tuple(step.__name__ for step in _STEPS)
