"""What the daemon says of its own accord names keys on the screen, and no command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from peer.errors import DaemonNotRunning
from peer.journal.notices import KINDS
from tui.in_keys import in_keys

PEER = Path(__file__).parents[2] / "peer"
SAID = [words("photos", count, "a.txt") for _, words in KINDS.values() for count in (1, 2)]
QUOTED = [
    re.sub(r"\{[^}]*\}", "x", found)
    for found in re.findall(
        r"`holdfast [^`]*`", re.sub(r'"\s+f?"', "", (PEER / "reporting.py").read_text())
    )
]


@pytest.mark.parametrize("text", [*SAID, *QUOTED, str(DaemonNotRunning())])
def test_no_command_is_left(text: str) -> None:
    assert "`holdfast" not in in_keys(text)


def test_they_are_sentences_still() -> None:
    assert len(QUOTED) >= 3
    joined = KINDS["joined"][1]("", 1, "lap\x1btop")
    assert in_keys(joined).endswith("If that was not you: remove it by d on tab 2.")
    assert "\x1b" not in in_keys(joined)
    assert in_keys(KINDS["conflict"][1]("f", 1, "a")).endswith(" Tab 4 lists it.")
    assert in_keys("See `holdfast conflicts`.") == "See tab 4."
    assert in_keys("x. `holdfast devices remove y` does.") == "x. d on tab 2 does."
    assert in_keys(str(DaemonNotRunning())) == "The daemon is not running. Press r to run it."
