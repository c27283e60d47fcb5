"""Random histories, of whole towns and of engines alone: nothing is lost, all come to rest on the
same tree.

500 whole towns of three machines and 200 steps are played here, each twice, and their traces
compared. So are 100 histories of engines alone, whose deliveries, scans and plans are cut finer.
Some more of both, of two to five machines and fewer steps, are played once, and towns with tricks.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path as SystemPath

import pytest

from tests.sim.chronicle import live, whole
from tests.sim.history import play
from tests.sim.steps import KINDS
from tests.sim.town import Town

ROOT = SystemPath(__file__).parents[2]
TOWNS = 500
HISTORIES = 100
STEPS = 200
"""Of each. The towns may take six minutes of two cores."""
AT_ONCE = 5
"""In one test: a dozen seconds, so that two processes end at about the same time."""


PLAYED_ELSEWHERE = "4 8 --machines 3 --once --traces"
"""Twice as many more would take minutes where the machine is busy. In that of seed 9 a disk fills
while several files come: what could not be written was once asked for in the order of a set.
"""


STRIKES = {"power cut", "killed", "error", "database error", "wrong bytes"}


def told(monkeypatch: pytest.MonkeyPatch) -> Counter[object]:
    """How often each thing happens in towns from now on; of the steps, each kind."""
    counts: Counter[object] = Counter()
    note = Town.note

    def count(town: Town, *what: object) -> None:
        counts[what[2] if what[0] == "step" else what[0]] += 1
        note(town, *what)

    monkeypatch.setattr(Town, "note", count)
    return counts


@pytest.mark.row(
    "F01", "F02", "F03", "F04", "F06", "F08", "F10", "F11", "F13", "F14", "F20", "F22", "F39"
)
@pytest.mark.parametrize("first", range(0, TOWNS, AT_ONCE))
def test_towns(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    happened = None if first else told(monkeypatch)
    for seed in range(first, first + AT_ONCE):
        command = f"python -m tests.sim --machines 3 --shrink {seed}"
        try:
            traces = [live(whole(seed, STEPS, machines=3)) for _ in range(2)]
        except Exception as error:
            raise AssertionError(command) from error
        assert traces[0] == traces[1], f"seed {seed} is two towns"
    if happened is not None:  # a thousand steps, in which everything that may happen does
        assert {*STRIKES, *(kind.removeprefix("_") for kind in KINDS)} <= happened.keys()


@pytest.mark.row("F01", "F02", "F03", "F04", "F11", "F13", "F15", "F18", "F22", "F39")
@pytest.mark.parametrize("first", range(0, HISTORIES, AT_ONCE))
def test_histories_of_engines_alone(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        command = f"python -m tests.sim 1 {seed} --engines --machines 3 --steps {STEPS} --verbose"
        try:
            traces = [play(seed, STEPS, devices=3) for _ in range(2)]
        except Exception as error:
            raise AssertionError(command) from error
        assert traces[0] == traces[1], f"seed {seed} is two histories"


@pytest.mark.row("F11", "F15")
@pytest.mark.parametrize("first", range(1000, 1060, 20))
def test_histories_of_other_sizes(first: int) -> None:
    for seed in range(first, first + 20):
        play(seed)


@pytest.mark.row("F11", "F15")
@pytest.mark.parametrize("first", range(0, 60, 20))
def test_histories_with_a_disk_that_folds_case(first: int) -> None:
    for seed in range(first, first + 20):
        play(seed, STEPS, folds_case=True)


@pytest.mark.row("F11", "F15")
@pytest.mark.parametrize("machines", [2, 4, 5])
def test_towns_of_other_sizes(machines: int) -> None:
    for seed in range(1000, 1004):
        live(whole(seed, 100, machines))


@pytest.mark.row("F04", "F11", "F18", "F22")
@pytest.mark.parametrize("first", range(0, 12, 4))
def test_towns_with_tricks(first: int) -> None:
    """Times that are set back, backups that are copied over, conflicts settled by hand; times in
    seconds, listings that leave something out, and what cannot be looked at.
    """
    for seed in range(first, first + 4):
        command = f"python -m tests.sim --machines 3 --steps 100 --tricks --shrink {seed}"
        try:
            live(whole(seed, 100, machines=3, has_tricks=True))
        except Exception as error:
            raise AssertionError(command) from error


@pytest.mark.row("F39")
@pytest.mark.parametrize("what", [(), ("--engines", "--steps", "200")])
def test_a_history_is_the_same_in_another_process(what: tuple[str, ...]) -> None:
    traces = set()
    for hash_seed in ("1", "2"):  # the order of sets must not matter
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", *PLAYED_ELSEWHERE.split(), *what],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert len(traces.pop().split()) == 4
