"""The scripts of the shells: a real bash completes with its own, the others say the same words."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from peer.command_line.cli import make_parser
from peer.command_line.completion import levels, script


def completed(directory: Path, *words: str) -> set[str]:
    """What bash offers for the last of these words."""
    file = directory / "holdfast.bash"
    file.write_text(script("bash", make_parser()))
    line = " ".join(f"'{word}'" for word in words)
    program = (
        f"source {file}; COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _holdfast;"
        ' printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program], capture_output=True, text=True, check=True, cwd=directory
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("holdfast", "rest"), {"restore", "restore-folder"}),
        (("holdfast", "folder", "a"), {"add", "attach"}),
        (("holdfast", "--json", "folder", "re"), {"remove"}),
        (("holdfast", "resolve", "x", "o"), {"original"}),
        (("holdfast", "log", "--si"), {"--since"}),
        (("holdfast", "completion", "f"), {"fish"}),
        (("holdfast", "folder", "add", "some"), {"some-file"}),
    ],
)
def test_bash_offers_what_can_follow(
    tmp_path: Path, words: tuple[str, ...], found: set[str]
) -> None:
    (tmp_path / "some-file").touch()
    assert completed(tmp_path, *words) == found


def test_every_shell_knows_every_command() -> None:
    parser = make_parser()
    commands = [level for level in levels(parser) if level.path]
    assert len(commands) > 30
    for shell in ("bash", "zsh", "fish"):
        text = script(shell, parser)
        for level in commands:
            assert level.path.rpartition(" ")[2] in text
        assert "\x1b" not in text


def test_no_help_breaks_out_of_its_quotes() -> None:
    for shell in ("zsh", "fish"):
        for line in script(shell, make_parser()).splitlines():
            told = line.replace("'\\''", "").replace("\\'", "")
            assert told.count("'") % 2 == 0
