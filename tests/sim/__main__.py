"""`python -m tests.sim SEEDS [FIRST]`: so many histories of whole towns, each played twice.

`--shrink SEED` plays one, makes it short if it fails, and tells it; `--engines` plays the histories
of engines alone, whose deliveries, scans and plans are cut finer.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from tests.sim.chronicle import STEPS, Chronicle, live, whole
from tests.sim.history import STEPS as ENGINE_STEPS
from tests.sim.history import play as play_engines
from tests.sim.shrinker import shrink

AT_ONCE = 5


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=1)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--machines", type=int, default=0, help="how many; 0: as the seed says")
    parser.add_argument("--once", action="store_true", help="each once, not twice")
    parser.add_argument("--engines", action="store_true", help="engines alone")
    parser.add_argument("--folding", action="store_true", help="engines: one disk folds case")
    parser.add_argument("--tricks", action="store_true", help="programs and disks with tricks")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    parser.add_argument("--traces", action="store_true", help="print the traces and nothing else")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--shrink", type=int, metavar="SEED", help="make a failing seed short")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    steps = arguments.steps or (ENGINE_STEPS if arguments.engines else STEPS)
    if arguments.shrink is not None:
        tricks, machines = arguments.tricks, arguments.machines
        return _shrink(whole(arguments.shrink, steps, machines, has_tricks=tricks))
    player: Callable[[int], str] = partial(
        _town, steps, arguments.machines, arguments.tricks, arguments.verbose
    )
    if arguments.engines:
        player = partial(_engines, steps, arguments.machines, arguments.folding, arguments.verbose)
    return _play_all(player, arguments)


def _town(steps: int, machines: int, has_tricks: bool, is_verbose: bool, seed: int) -> str:
    return live(whole(seed, steps, machines, has_tricks=has_tricks), is_verbose=is_verbose)


def _engines(steps: int, devices: int, folds_case: bool, is_verbose: bool, seed: int) -> str:
    return play_engines(seed, steps, devices=devices, folds_case=folds_case, is_verbose=is_verbose)


def _play_all(player: Callable[[int], str], arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    failed = []
    for seed, trace, error in _results(player, arguments):
        if error:
            failed.append(seed)
            print(f"seed {seed} fails: {error}", flush=True)
        elif arguments.traces:
            print(trace)
    if not arguments.traces:
        took_s = time.monotonic() - began
        times = "each once" if arguments.once else "each twice"
        print(f"{arguments.seeds} seeds, {times}, {len(failed)} failed, {took_s:.0f} s")
    return 1 if failed else 0


def _results(
    player: Callable[[int], str], arguments: argparse.Namespace
) -> Iterator[tuple[int, str, str]]:
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    play = partial(_play, player, 1 if arguments.once else 2)
    if arguments.jobs == 1 or arguments.seeds == 1 or arguments.verbose:
        yield from map(play, seeds)
        return
    with ProcessPoolExecutor(arguments.jobs) as pool:
        yield from pool.map(play, seeds, chunksize=AT_ONCE)


def _play(player: Callable[[int], str], times: int, seed: int) -> tuple[int, str, str]:
    logging.disable(logging.WARNING)
    try:
        traces = {player(seed) for _ in range(times)}
    except Exception as error:  # noqa: BLE001 - every failing seed is told
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        return seed, "", f"{type(error).__name__}: {str(error)[:400]}"
    return seed, min(traces), "" if len(traces) == 1 else "two traces"


def _shrink(chronicle: Chronicle) -> int:
    try:
        short = shrink(chronicle, lambda line: print(line, flush=True))
    except ValueError as error:
        print(error)
        return 0
    print(f"({short.seed}, {short.steps!r}),  # to be kept in test_kept_seeds.py")
    _tell(short)
    return 1


def _tell(chronicle: Chronicle) -> None:
    try:
        live(chronicle, is_verbose=True)
    except Exception as error:  # noqa: BLE001 - whatever it is
        print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    sys.exit(main())
