"""`holdfast tui` ends up here: a program of its own, which knows of the daemon what it answers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tui.first_frame import shown_first


def main(argv: Sequence[str] | None = None) -> int:
    """Shows the screen until the person leaves."""
    parser = argparse.ArgumentParser(prog="holdfast tui", allow_abbrev=False)
    parser.add_argument("--home", type=Path, required=True)
    home = parser.parse_args(argv).home
    with shown_first(home) as frame:
        from tui.app import HoldfastApp  # it takes 0.3 s to load, and the picture is there by then

        app = HoldfastApp(home, frame)
        app.run()
    return app.return_code or 0


if __name__ == "__main__":
    sys.exit(main())
