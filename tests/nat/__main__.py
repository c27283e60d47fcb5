"""`python -m tests.nat`: the matrix of all pairs of homes; `python -m tests.nat times`: times."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.nat.devices import Site
from tests.nat.lab import World
from tests.nat.matrix import pairs, play_all, table
from tests.nat.measure import measure
from tests.nat.namespaces import NoLab
from tests.nat.theory import expected

PREFIX: Final = "holdfast-lab-"


def sweep() -> None:
    """Removes the files of runs that were killed; of networks and processes nothing is left."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = left.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)


def main() -> int:
    """Prints the matrix; the exit code is 1 if a pair found another way than it should."""
    sweep()
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-") as directory:
        try:
            World().close()
        except NoLab as error:
            print(error, file=sys.stderr)
            return 2
        site = Site(Path(directory))
        try:
            if sys.argv[1:] == ["times"]:
                for line in measure(site):
                    print(line, flush=True)
                return 0
            outcomes = play_all(site, pairs())
        finally:
            site.close()
    print("\n".join(table(outcomes)))
    wrong = [pair for pair, found in outcomes.items() if found.path != expected(*pair).path]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
