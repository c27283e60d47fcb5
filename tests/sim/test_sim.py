"""Random histories of whole devices: nothing is lost, all come to rest on the same tree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path as SystemPath

import pytest

from tests.sim.history import play

ROOT = SystemPath(__file__).parents[2]
SEEDS = 240
AT_ONCE = 20


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_random_histories(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        try:
            play(seed)
        except Exception as error:
            raise AssertionError(f"python -m tests.sim 1 {seed} --verbose") from error


@pytest.mark.parametrize("seed", [3, 8])
def test_one_seed_is_one_history(seed: int) -> None:
    assert play(seed) == play(seed)


def test_a_history_is_the_same_in_another_process() -> None:
    traces = set()
    for hash_seed in ("1", "2"):  # the order of sets must not matter
        done = subprocess.run(
            [sys.executable, "-m", "tests.sim", "6", "0", "--traces"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        traces.add(done.stdout)
    assert len(traces) == 1
    assert len(traces.pop().split()) == 6
