"""The cycle collector as the daemon has it, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

from peer.collector import YOUNG_MAX

_ASK = """
import gc
from peer.collector import spare_rows
spare_rows()
print(gc.get_threshold()[0], gc.get_freeze_count() > 0, gc.isenabled())
"""


def test_rows_are_spared_and_cycles_still_found() -> None:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(YOUNG_MAX), "True", "True"]
