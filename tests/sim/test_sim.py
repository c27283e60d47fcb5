"""Random histories, of engines alone and of whole towns: nothing is lost, all come to rest on the
same tree.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as SystemPath

import pytest

from tests.sim.chronicle import live, whole
from tests.sim.history import play

ROOT = SystemPath(__file__).parents[2]
SEEDS = 240
AT_ONCE = 20
TOWNS = 20
TOWNS_AT_ONCE = 10
TOWN_STEPS = 60


@pytest.mark.row("F01", "F02", "F03", "F04", "F11", "F13", "F15", "F18", "F22")
@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_random_histories(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        try:
            play(seed)
        except Exception as error:
            raise AssertionError(f"python -m tests.sim 1 {seed} --verbose") from error


@pytest.mark.row("F01", "F02", "F03", "F04", "F06", "F11", "F13", "F14", "F20", "F22")
@pytest.mark.parametrize("first", range(0, TOWNS, TOWNS_AT_ONCE))
def test_towns(first: int) -> None:
    for seed in range(first, first + TOWNS_AT_ONCE):
        try:
            live(whole(seed, TOWN_STEPS))
        except Exception as error:
            command = f"python -m tests.sim --shrink {seed} --steps {TOWN_STEPS}"
            raise AssertionError(command) from error


@pytest.mark.row("F39")
def test_one_seed_is_one_town() -> None:
    assert live(whole(3, TOWN_STEPS)) == live(whole(3, TOWN_STEPS))


@pytest.mark.row("F39")
@pytest.mark.parametrize("seed", [3, 8])
def test_one_seed_is_one_history(seed: int) -> None:
    assert play(seed) == play(seed)


@pytest.mark.row("F39")
def test_a_history_is_the_same_in_another_process() -> None:
    traces = set()
    for hash_seed in ("1", "2"):  # the order of sets must not matter
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "6", "0", "--steps", "60", "--traces"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert len(traces.pop().split()) == 6
