"""An event loop without a clock of its own: when nobody has anything to do, time moves on to the
next deadline. What is handed to a thread is done by the loop, after a delay from the seed.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random
from typing import Any
from weakref import WeakKeyDictionary

TURNS_MAX = 30_000
TURN_S = 2e-5
"""Work takes time too: a clock that stood still would keep who waits for a moment waiting."""
DELAYS_S = [0.0, 0.0, 0.0, 0.001, 0.02]


class PowerCut(BaseException):
    """The machine is off: nothing that was going on in it goes on."""


@dataclass(eq=False)
class Life:
    """One run of a machine's process."""

    is_over: bool = False


LIFE: contextvars.ContextVar[Life] = contextvars.ContextVar("life")
"""Whose work it is: what a process gave to its threads ends with it."""


class Stuck(AssertionError):
    """Everybody waits and nobody has a deadline."""


class SimTask(asyncio.Task[Any]):
    """A task that lies in sets where its number says: task groups keep theirs in a set."""

    number: int

    def __hash__(self) -> int:
        return self.number

    def __eq__(self, other: object) -> bool:
        return self is other


class Call:
    """A callback that is due: asyncio's handle without what it keeps for debugging, which is a
    tenth of what a turn costs.
    """

    __slots__ = ("_when", "arguments", "callback", "context", "is_cancelled")

    def __init__(
        self,
        callback: Callable[..., object],
        arguments: tuple[Any, ...],
        context: contextvars.Context | None,
        when: float = 0.0,
    ) -> None:
        self.callback, self.arguments, self._when = callback, arguments, when
        self.context = contextvars.copy_context() if context is None else context
        self.is_cancelled = False

    def cancel(self) -> None:
        """It will not be called; until its time it lies where it is."""
        self.is_cancelled = True
        self.callback, self.arguments = _nothing, ()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self._when


def _nothing(*_: object) -> None:
    pass


class SimExecutor:
    """A thread pool of one that has no thread."""

    def __init__(self, *_: object) -> None:
        pass

    def submit(self, func: Callable[..., Any], *args: Any) -> object:
        return asyncio.get_running_loop().run_in_executor(self, func, *args)  # type: ignore[arg-type]

    def shutdown(self, wait: bool = True) -> None:
        pass


class SimLoop(asyncio.BaseEventLoop):
    """One thread, one seed, one order."""

    _stopping: bool

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.now_s = 0.0
        self.turns = 0
        """Since time moved on."""
        self.defects: list[BaseException] = []
        self._due: deque[Call] = deque()
        self._timers: list[tuple[float, int, Call]] = []
        self._timers_made = 0
        self._busy_until: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._readers: dict[int, tuple[Callable[[], None], contextvars.Context]] = {}
        self._tasks_made = 0
        self.set_exception_handler(self._note_defect)

    def _note_defect(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        defect = context.get("exception") or RuntimeError(context["message"])
        if not isinstance(defect, PowerCut):
            self.defects.append(defect)

    def create_task(
        self, coro: Any, *, name: Any = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[Any]:
        SimTask.number = self._tasks_made = (
            self._tasks_made + 1
        )  # it is looked up before we have it
        task = SimTask(coro, loop=self, name=name, context=context)
        task.number = self._tasks_made
        return task

    def time(self) -> float:
        return self.now_s

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Call:
        call = Call(callback, args, context)
        self._due.append(call)
        return call

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Call:
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> Call:
        timer = Call(callback, args, context, when)
        self._timers_made += 1
        heappush(self._timers, (when, self._timers_made, timer))
        return timer

    def _run_once(self) -> None:
        """One turn, as the base loop makes it, in a third of the time: half of what happens in a
        history is a call that is ready or a timer that is due.
        """
        self.turns += 1
        self.now_s += TURN_S
        if self.turns > TURNS_MAX:
            raise Stuck("somebody is busy for ever")
        timers, due = self._timers, self._due
        while timers and timers[0][2].is_cancelled:
            heappop(timers)
        if not due and not self._stopping:
            if not timers:
                raise Stuck("nothing is left to happen")
            if timers[0][0] > self.now_s:
                self.now_s = timers[0][0]
                self.turns = 0
        while timers and timers[0][0] <= self.now_s:
            timer = heappop(timers)[2]
            if not timer.is_cancelled:
                due.append(timer)
        for _ in range(len(due)):
            call = due.popleft()
            if call.is_cancelled:
                continue
            try:
                call.context.run(call.callback, *call.arguments)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as error:  # noqa: BLE001 - as asyncio's own handles do
                what = f"in {call.callback}"
                self.call_exception_handler({"message": what, "exception": error})

    def _asyncgen_finalizer_hook(self, agen: Any) -> None:
        """When the collector finds a generator is no part of a history."""

    def end(self) -> None:
        """Cancels what is left, and closes."""
        self.turns = 0
        tasks = sorted(asyncio.all_tasks(self), key=asyncio.Task.get_name)
        for task in tasks:
            task.cancel()
        self.run_until_complete(asyncio.wait(tasks, timeout=1.0) if tasks else asyncio.sleep(0))
        self.close()

    def advance(self, seconds: float) -> None:
        """Somebody sleeps in a thread."""
        self.now_s += seconds

    def _write_to_self(self) -> None:
        pass

    # ------------------------------------------------------------ threads

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Does the call later, those of one thread in their order."""
        future = self.create_future()
        context = contextvars.copy_context()
        life = context[LIFE]
        if life.is_over:
            return future  # nobody will ever be told
        delay_s = self.random.choice(DELAYS_S)
        at = max(self.now_s + delay_s, self._busy_until.get(executor, 0.0))
        self._busy_until[executor] = at

        def work() -> None:
            if life.is_over:
                return
            try:
                result = func(*args)
            except PowerCut:
                pass
            except BaseException as error:  # noqa: BLE001 - handed to whoever waits
                if not future.done():
                    future.set_exception(error)
            else:
                if not future.done():
                    future.set_result(result)

        if at > self.now_s:
            self.call_at(at, work, context=context)
        else:
            self.call_soon(work, context=context)
        return future

    # ------------------------------------------------------------ watchers

    def add_reader(  # type: ignore[override]
        self, fd: Any, callback: Callable[..., Any], *args: Any
    ) -> None:
        self._readers[fd] = (callback, contextvars.copy_context())

    def remove_reader(self, fd: Any) -> bool:
        return self._readers.pop(fd, None) is not None

    def has_news(self, fd: int) -> None:
        """What is watched can be read."""
        reader = self._readers.get(fd)
        if reader is not None:
            self.call_soon(reader[0], context=reader[1])
