"""Plays a node's sweep beside everybody else in many orders by chance: `python -m tests.collecting
1000` plays a thousand for each beginning, from seed 60 on. The test run plays those before, and all
orders of few actors (`tests/relay/test_collecting.py`).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Final

from tests.interleaving import some_orders
from tests.relay import collecting_stage as stage

TESTED: Final = 60
"""Seeds that the test run plays."""


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


if __name__ == "__main__":
    main()
