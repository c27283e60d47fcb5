"""`python -m tests.sim SEEDS [FIRST]`: so many random histories, from a first seed on."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.sim.history import STEPS, play


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("seeds", type=int)
    parser.add_argument("first", type=int, nargs="?", default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--folding", action="store_true", help="one of the disks folds case")
    parser.add_argument("--verbose", action="store_true", help="say what happens")
    parser.add_argument("--keep-going", action="store_true", help="count the seeds that fail")
    parser.add_argument("--traces", action="store_true", help="print the traces and nothing else")
    arguments = parser.parse_args()
    failed = 0
    began = time.monotonic()
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        try:
            trace = play(
                seed,
                arguments.steps,
                folds_case=arguments.folding,
                is_verbose=arguments.verbose,
            )
            if arguments.traces:
                print(trace)
        except Exception as error:  # noqa: BLE001 - every failing seed is told
            failed += 1
            if not arguments.keep_going:
                traceback.print_exc()
            print(f"seed {seed} fails: {type(error).__name__}: {str(error)[:400]}", flush=True)
            if not arguments.keep_going:
                return 1
    if not arguments.traces:
        print(f"{arguments.seeds} seeds, {failed} failed, {time.monotonic() - began:.1f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
