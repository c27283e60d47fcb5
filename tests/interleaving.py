"""Every order in which several actors can take their steps, each played as a history of its own.

An actor is a coroutine of the code under test. It comes to a step where it hands something to a
thread, and where a test's seam awaits `step`: there another may go first. Nothing else is left to
chance: one loop, no threads, no clock. `every_order` plays all orders, or, where they are too many,
those with at most so many delays (Emmi, Qadeer and Rakamaric, "Delay-bounded scheduling", 2011:
bugs of interleaving take few), a delay being that another goes than whose turn it would be;
`some_orders` draws from a seed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from tests.sim.loop import SimLoop

_ACTOR: contextvars.ContextVar[str] = contextvars.ContextVar("actor", default="")
Order = tuple[str, ...]
"""Who takes the next step, step by step."""


class Turn(NamedTuple):
    """One step of a history: who could have taken it, who did, and who took the last one."""

    ready: Sequence[str]
    taken: str
    last: str

    @property
    def is_delay(self) -> bool:
        """Whether another could have gone on, or was there first."""
        return self.taken != self.due

    @property
    def due(self) -> str:
        """Whose turn it would be."""
        return self.last if self.last in self.ready else self.ready[0]


class Choosing:
    """Follows an order to its end; from there on whoever is at work goes on."""

    def __init__(self, order: Order = (), random: Random | None = None) -> None:
        self.turns: list[Turn] = []
        self._order, self._random = order, random

    def choose(self, ready: Sequence[str]) -> str:
        """Who of these takes the next step."""
        at, last = len(self.turns), self.turns[-1].taken if self.turns else ""
        if at < len(self._order):
            taken = self._order[at]
            assert taken in ready, f"{taken} was ready when this order was tried before"
        elif self._random is not None:
            taken = self._random.choice(ready)
        else:
            taken = Turn(ready, "", last).due
        self.turns.append(Turn(tuple(ready), taken, last))
        return taken

    @property
    def order(self) -> Order:
        """All that was chosen."""
        return tuple(turn.taken for turn in self.turns)


class SteppedLoop(SimLoop):
    """Lets one actor take one step, and the next when nobody has anything left to do."""

    def __init__(self, choosing: Choosing, after: Callable[[], None]) -> None:
        super().__init__(Random(0))
        self._choosing, self._after = choosing, after
        self._steps: dict[str, deque[Callable[[], None]]] = {}
        self.is_free = True
        """Nobody waits for anybody, before the actors begin and after they have ended."""
        self.is_over = False

    def _run_once(self) -> None:
        if not self._due and not self._stopping and any(self._steps.values()):
            self.turns = 0
            if not self.is_over:
                self._after()
            ready = [actor for actor, steps in self._steps.items() if steps]
            self.call_soon(self._steps[self._choosing.choose(ready)].popleft())
        super()._run_once()

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        future, context = self.create_future(), contextvars.copy_context()

        def work() -> None:
            if future.done():
                return
            try:
                future.set_result(context.run(func, *args))
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                future.set_exception(error)

        self.later(work)
        return future

    def later(self, work: Callable[[], None]) -> None:
        """Does this when it is the turn of the actor that asks for it."""
        actor = _ACTOR.get()
        if self.is_free or not actor:
            self.call_soon(work)
        else:
            self._steps.setdefault(actor, deque()).append(work)


async def step() -> None:
    """Here others may go first."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    future = loop.create_future()

    def go() -> None:
        if not future.done():
            future.set_result(None)

    loop.later(go)
    await future


def acting(name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Has a task be an actor, or a part of one: all that it begins is its own too."""
    context = contextvars.copy_context()
    context.run(_ACTOR.set, name)
    return asyncio.get_running_loop().create_task(work, context=context)


async def together(actors: Mapping[str, Coroutine[Any, Any, Any]]) -> None:
    """Has all of these take their steps; raises what any of them raises."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SteppedLoop)
    loop.is_free = False
    try:
        async with asyncio.TaskGroup() as group:
            for task in [acting(name, work) for name, work in actors.items()]:
                group.create_task(_joined(task))
    finally:
        loop.is_free = True


async def _joined(task: asyncio.Task[Any]) -> None:
    await task


def played(
    history: Callable[[], Coroutine[Any, Any, None]], choosing: Choosing, after: Callable[[], None]
) -> None:
    """One history; `after` looks at the world before each step."""
    loop = SteppedLoop(choosing, after)
    try:
        try:
            loop.run_until_complete(history())
        finally:
            loop.is_over = True
            loop.end()
        for defect in loop.defects:
            raise defect
    except BaseException as error:
        error.add_note(f"in this order: {' '.join(choosing.order)}")
        raise


def every_order(play: Callable[[Choosing], None], delays: int | None = None) -> int:
    """Plays each order once, of those with at most so many delays; says how many."""
    untried: list[Order] = [()]
    count = 0
    while untried:
        order = untried.pop()
        choosing = Choosing(order)
        play(choosing)
        count += 1
        untried += _others(choosing.turns, len(order), delays)
    return count


def _others(turns: Sequence[Turn], first: int, most: int | None) -> Iterator[Order]:
    """The orders that leave this one at a step from the `first` on: there it has no delay."""
    taken = tuple(turn.taken for turn in turns)
    delays = sum(turn.is_delay for turn in turns[:first])
    for at in range(first, len(turns) if most is None or delays < most else 0):
        for other in turns[at].ready:
            if other != taken[at]:
                yield (*taken[:at], other)


def some_orders(play: Callable[[Choosing], None], seeds: range) -> None:
    """Plays an order by chance for each seed."""
    for seed in seeds:
        try:
            play(Choosing(random=Random(seed)))
        except BaseException as error:
            error.add_note(f"seed {seed}")
            raise
