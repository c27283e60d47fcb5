"""THREATS.md quotes numbers; they are the code's."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "crypto" / "THREATS.md"


@pytest.mark.row("A23")
def test_every_number_in_the_table_is_the_codes() -> None:
    rows = re.findall(r"\| `(\w+)\.(\w+)` \| (\d+) \|", PAGE.read_text())
    assert len(rows) >= 14
    for module, name, value in rows:
        assert getattr(importlib.import_module(f"crypto.{module}"), name) == int(value), name
