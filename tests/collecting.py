"""Plays a node's sweep, and nodes that rebuild, beside everybody else in many orders by chance:
`python -m tests.collecting 1000` plays a thousand for each beginning, from those seeds on that the
test run does not play. That plays all orders of few actors too (`tests/relay/test_collecting.py`,
`tests/relay/test_rebuilding.py`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

from tests.interleaving import some_orders
from tests.relay import collecting_stage as stage
from tests.relay import rebuilding_stage as rebuilding

TESTED: Final = 60
"""Seeds that the test run plays."""
REBUILT: Final = 10
"""The same of nodes that rebuild, of which a history has five."""


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="orders for each beginning")
    count = parser.parse_args().count
    for setting in (stage.leased, stage.in_trash, stage.begun):
        with tempfile.TemporaryDirectory() as directory:
            histories = stage.Histories(Path(directory) / "node", setting, stage.everybody)
            some_orders(histories.play, range(TESTED, TESTED + count))
        print(f"{setting.__name__}: {count} orders, nothing lost and nothing left")
    for actors in (rebuilding.everybody, rebuilding.nobody_gives_up):
        with tempfile.TemporaryDirectory() as directory:
            rebuilds = rebuilding.Histories(Path(directory), actors, standing_by=2)
            some_orders(rebuilds.play, range(REBUILT, REBUILT + count))
        print(f"rebuilt, {actors.__name__}: {count} orders, nothing lost and nothing left")


if __name__ == "__main__":
    main()
