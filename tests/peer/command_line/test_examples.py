"""Examples that people copy are commands that there are."""

from __future__ import annotations

import re
import shlex

import pytest

from crypto.ids import RelayId
from peer.command_line.cli import main, make_parser
from peer.command_line.examples import EXAMPLES, text_of
from peer.command_line.manual import commands
from protocol.relay_address import RelayAddress


def test_every_command_has_examples() -> None:
    parser = make_parser()
    assert {path for path, _ in commands(parser)} - {"link"} == set(EXAMPLES) - {""}


@pytest.mark.parametrize(
    ("path", "line"), [(path, line) for path, some in EXAMPLES.items() for line, _ in some]
)
def test_each_is_understood(path: str, line: str) -> None:
    address = str(RelayAddress("relay.example", 4433, RelayId(bytes(32))))
    line = re.sub(r"\$RELAY\d?", address, line)
    for part in line.split(" && "):
        words = shlex.split(part.partition(" > ")[0])
        words = words[1:] if words[0] == "holdfast" else words
        make_parser().parse_args(words)
        if path:
            assert words[: len(path.split())] == path.split()


@pytest.mark.parametrize("path", EXAMPLES)
def test_they_fit_a_terminal(path: str) -> None:
    text = text_of(path)
    assert text is not None
    assert max(map(len, text.splitlines())) <= 80
    assert all(what in text for _, what in EXAMPLES[path])


def test_help_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["folder", "add", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        shown = capsys.readouterr().out
        text = text_of(" ".join(words[:-1]))
        assert text is not None
        assert text in shown
