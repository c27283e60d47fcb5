"""Tests of sans-IO parts that read like a screenplay: what goes in, and all that comes out.

    playbook = Playbook(stage.play)
    playbook >> Ping(7) << Pong(7)
    assert playbook

A mismatch prints a diff of the two screenplays; a playbook that nobody asserts fails its test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import ndiff
from typing import Any


class Playbook:
    """`>>` goes in, each `<<` after it must come out, in this order and nothing else."""

    def __init__(self, play: Callable[[Any], Iterable[Any]]) -> None:
        self._play = play
        self._expected: list[tuple[str, Any]] = []
        self._actual: list[tuple[str, Any]] = []
        self._is_asserted = True

    def __rshift__(self, stimulus: Any) -> Playbook:
        self._is_asserted = False
        self._expected.append((">>", stimulus))
        self._actual.append((">>", stimulus))
        self._actual += (("<<", reaction) for reaction in self._play(stimulus))
        return self

    def __lshift__(self, reaction: Any) -> Playbook:
        self._expected.append(("<<", reaction))
        return self

    def __bool__(self) -> bool:
        self._is_asserted = True
        if self._actual != self._expected:
            lines = ndiff(_lines(self._expected), _lines(self._actual))
            raise AssertionError("the play went another way:\n" + "\n".join(lines))
        return True

    def __del__(self) -> None:
        if not self._is_asserted:
            raise AssertionError("a playbook that was never asserted")


def _lines(play: list[tuple[str, Any]]) -> list[str]:
    return [f"{direction} {what}" for direction, what in play]
