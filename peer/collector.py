"""How often Python looks for cycles of objects.

Rows and records are many small tuples, next to none of them in a cycle. To look through them after
every 700 new ones, as Python does by itself, takes a tenth of the processor time of a first sync.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 10_000


def spare_rows() -> None:
    """Looks for cycles rarely, and never again among what is there now. Once for a process."""
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, 10, 10)
