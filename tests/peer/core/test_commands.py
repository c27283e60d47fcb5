"""Commands are awaited by the engine and answered by whoever drives it."""

from __future__ import annotations

from typing import Any

import pytest

from peer.core import commands as c
from peer.core.rows import Row
from protocol.nodes import ROOT


async def engine() -> list[Any]:
    rows = await c.LoadRows([ROOT])
    if ROOT not in rows:
        return ["nothing"]
    return [rows[ROOT].id, await c.StatPaths([("a",)]), await nested()]


async def nested() -> object:
    return await c.LoadInodes([7])


def test_the_driver_sees_each_command_and_gives_its_answer() -> None:
    seen: list[c.Command[Any]] = []
    answers = iter([{ROOT: Row(ROOT)}, [None], "inner"])

    def perform(command: c.Command[Any]) -> Any:
        seen.append(command)
        return next(answers)

    assert c.run(engine(), perform) == [ROOT, [None], "inner"]
    assert seen == [c.LoadRows([ROOT]), c.StatPaths([("a",)]), c.LoadInodes([7])]


def test_the_same_answers_give_the_same_run() -> None:
    assert c.run(engine(), lambda command: {}) == c.run(engine(), lambda command: {}) == ["nothing"]


def test_a_routine_that_asks_nothing_just_ends() -> None:
    async def quiet() -> int:
        return 5

    def perform(command: c.Command[Any]) -> Any:
        raise AssertionError(command)

    assert c.run(quiet(), perform) == 5


def test_what_the_world_raises_ends_the_run() -> None:
    def perform(command: c.Command[Any]) -> Any:
        raise OSError("no disk")

    routine = engine()
    with pytest.raises(OSError, match="no disk"):
        c.run(routine, perform)
    routine.close()


def test_commands_are_plain_values() -> None:
    assert c.Commit() == c.Commit((), (), (), ())
    assert c.LoadDirty((0, ROOT), 5) != c.LoadDirty((1, ROOT), 5)
    with pytest.raises(AttributeError):
        c.LoadDirty((0, ROOT), 5).limit = 1  # type: ignore[misc]
