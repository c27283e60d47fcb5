"""The manual page says what the command line knows."""

from __future__ import annotations

import argparse
import tomllib
from pathlib import Path

from peer.command_line.cli import make_parser
from peer.command_line.manual import commands, page

ROOT = Path(__file__).parents[3]


def test_the_page_in_the_package_is_current() -> None:
    """`make man` writes it again."""
    assert (ROOT / "peer" / "holdfast.1").read_text() == page(make_parser())


def test_the_wheel_puts_it_where_man_looks() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert wheel["targets"]["wheel"]["shared-data"] == {
        "peer/holdfast.1": "share/man/man1/holdfast.1"
    }


def test_every_command_and_option_is_on_it() -> None:
    parser = make_parser()
    text = page(parser).replace("\\-", "-").replace("\\&", "")
    for path, command in commands(parser):
        assert f".SS holdfast {path}" in text
        for action in command._actions:
            for option in action.option_strings[-1:]:
                assert option in text or option == "--help"


def test_what_roff_would_take_for_itself_is_shown() -> None:
    parser = argparse.ArgumentParser(description="x")
    one = parser.add_subparsers().add_parser("one", description="a\\b")
    one.set_defaults(act=print)
    one.add_argument("--no", action="store_true", help=".hidden 'x' 100%%")
    shown = page(parser)
    assert "A\\eb." in shown
    assert "\\&.hidden 'x' 100%" in shown
    assert r"\fB\-\-no\fR" in shown
