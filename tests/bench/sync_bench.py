"""The same work for every peer, side by side, on one machine.

    python -m tests.bench.sync_bench --only syncthing,holdfast,holdfast_quic --runs 3 --ratio

Syncthing is the `syncthing` on the PATH (Debian's package), or the program that SYNCTHING names;
ours is what HOLDFAST names (default `holdfast`). A row is the median of the runs, value by value.
`--ratio` says at the end how many times quicker ours is than the best Syncthing.
"""

import argparse
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from tests.bench.our_peer import Holdfast
from tests.bench.syncthing_peer import Syncthing
from tests.bench.works import WORKS, Pair, Row

DEFAULT_WORKS = "latency,big,small,src,insert,rename"

Measured = dict[tuple[str, str], list[Row]]
"""All runs' rows by peer and work."""


def make_pair(name: str, root: Path) -> Pair:
    """`syncthing`, `syncthing_quic`, `holdfast` (its own choice), `holdfast_tls` or
    `holdfast_quic`.
    """
    program, _, link = name.partition("_")
    if program == "syncthing":
        return Syncthing(root / name, "quic" if link == "quic" else "tcp")
    assert program == "holdfast", f"there is no peer {name}"
    return Holdfast(root / name, link or None)


def show(title: str, row: Row) -> None:
    """One line a row."""
    values = " ".join(f"{key}={value:.3g}" for key, value in row.items())
    print(f"{title:32} {values}", flush=True)


def median_of(rows: list[Row]) -> Row:
    """Value by value."""
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def measure(name: str, works: list[str], scale: float, root: Path, measured: Measured) -> None:
    """One run of one peer, from a fresh start."""
    pair = make_pair(name, root)
    pair.start()
    try:
        for work in works:
            for title, row in WORKS[work](pair, scale).items():
                measured[name, title].append(row)
                show(f"{name} {title}", row)
    finally:
        pair.stop()


def show_ratios(medians: dict[tuple[str, str], Row]) -> None:
    """Ours against the quickest Syncthing, work by work."""
    for (name, work), row in medians.items():
        theirs = [
            other["time_s"]
            for (other_name, other_work), other in medians.items()
            if other_name.startswith("syncthing") and other_work == work and "time_s" in other
        ]
        if theirs and not name.startswith("syncthing"):
            print(f"{name} {work}: {min(theirs) / row['time_s']:.2f} times the best Syncthing")


def main() -> None:
    """Measure what the command line asks for, and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="syncthing,holdfast,holdfast_quic", help="peers")
    parser.add_argument("--work", default=DEFAULT_WORKS, help=f"of {','.join(WORKS)}")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="of the works' sizes")
    parser.add_argument("--root", type=Path, default=Path(tempfile.gettempdir()) / "holdfast-bench")
    parser.add_argument("--ratio", action="store_true")
    arguments = parser.parse_args()
    measured: Measured = defaultdict(list)
    for _ in range(arguments.runs):
        for name in arguments.only.split(","):
            works = arguments.work.split(",")
            measure(name, works, arguments.scale, arguments.root, measured)
    medians = {title: median_of(rows) for title, rows in measured.items()}
    if arguments.runs > 1:
        print(f"\nMedians of {arguments.runs} runs:")
        for (name, work), row in medians.items():
            show(f"{name} {work}", row)
    if arguments.ratio:
        print()
        show_ratios(medians)


if __name__ == "__main__":
    main()
