"""One random history from a seed: who takes part, what happens, and the checks at its end."""

from __future__ import annotations

from random import Random

from peer.core.disk_types import Kind
from tests.sim.checkers import check_mirror, check_settled
from tests.sim.disk import ROOT_INODE, Inode
from tests.sim.world import World

STEPS = 60
MIRROR_ROUNDS = 4


def play(
    seed: int,
    steps: int = STEPS,
    *,
    devices: int = 0,
    folds_case: bool = False,
    is_verbose: bool = False,
    is_tame: bool = False,
) -> str:
    """Plays it; raises Broken where a promise does not hold; returns the trace's hash.

    `devices`: how many, 0 leaves it to the seed; `folds_case`: the first device's disk does;
    `is_tame`: nobody acts while the engine writes, and no machine crashes.
    """
    choice = Random(f"history {seed}")
    count = choice.choice([2, 2, 3, 4, 5])
    world = World(
        seed,
        devices or count,
        folding=(0,) if folds_case else (),
        bias=choice.choice(["any", "any", "moves", "edits"]),
        is_wild=not is_tame,
    )
    world.is_verbose = is_verbose
    _prepare(world, choice.choice(["empty", "shared", "filled"]))
    for _ in range(steps):
        world.step()
    world.note("settle")
    check_settled(world)
    check_mirror(world, MIRROR_ROUNDS)
    check_settled(world)
    return world.trace.hexdigest()


def _prepare(world: World, start: str) -> None:
    """Where the story begins: empty, with one shared tree, or with folders filled apart."""
    if start == "empty":
        return
    names = world.names
    for number, device in enumerate(world.devices):
        if number == 0 or start == "filled":
            disk, fresh = device.disk, world.account.fresh
            same, yours = world.account.note(b"same"), world.account.note(b"yy")
            top = disk.make(ROOT_INODE, names[0], Inode(Kind.DIRECTORY))
            low = disk.make(top, names[-1], Inode(Kind.DIRECTORY))
            disk.make(ROOT_INODE, names[1] + "2", Inode(Kind.DIRECTORY))
            disk.make(low, "x", Inode(Kind.FILE, same))
            disk.make(top, "y", Inode(Kind.FILE, yours if number < 2 else fresh(world.random)))
            disk.make(ROOT_INODE, "z", Inode(Kind.FILE, fresh(world.random)))
            world.clock.pass_()
    if start == "shared":
        world.exchange()
