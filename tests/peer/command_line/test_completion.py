"""The scripts of the shells, each run by its shell, which has to be there: bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import time
from pathlib import Path

import pytest

from peer.command_line.cli import make_parser
from peer.command_line.completion import levels, script

SHELLS = ("bash", "zsh", "fish")
DEADLINE_S = 60.0
BASH = (
    'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _holdfast;'
    ' printf "%s\\n" "${COMPREPLY[@]}"'
)
ZSH = """
_describe() { [[ $1 != -o ]] || shift; shift; for each in "${(@P)1}"; print -r -- "${each%%:*}" }
_files() { if [[ $1 == -/ ]] { print -rl -- *(N/) } else { print -rl -- *(N) } }
compadd() { shift; print -rl -- "${(@P)1}" }
file=$1; shift; words=("$@"); CURRENT=$#; set --; source $file
"""
"""What zsh itself does with what is offered is in the place of the functions that do it; whether
these take it, a terminal shows below.
"""


def offered(shell: str, directory: Path, *words: str) -> set[str]:
    """What a shell offers for the last of these words."""
    file = directory / f".completion.{shell}"
    file.write_text(script(shell, make_parser()))
    match shell:
        case "bash":
            command = ["bash", "--norc", "-c", BASH, "bash", str(file), *words]
        case "zsh":
            command = ["zsh", "-f", "-c", ZSH, "zsh", str(file), *words]
        case _:
            line = " ".join(words)
            command = ["fish", "--no-config", "-c", f"source {file}; complete -C '{line}'"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=directory,
        env=os.environ | {"HOME": str(directory)},
    )  # fmt: skip
    assert done.stderr == ""
    found = {line.partition("\t")[0].rstrip("/") for line in done.stdout.splitlines()}
    return {word for word in found if word.startswith(words[-1]) and word}


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("rest",), {"restore", "restore-folder"}),
        (("folder", ""), {"add", "list", "attach", "remove"}),
        (("--json", "folder", "re"), {"remove"}),
        (("--home", "relay", "folder", "re"), {"remove"}),
        (("--home", "re"), {"relay"}),  # the directory: it is no command there
        (("--home", ""), {"relay", "some"}),
        (("folder", "add", ""), {"relay", "some"}),
        (("versions", "so"), {"some", "some-file"}),
        (("folder", "add", "--na"), {"--name"}),
        (("relay", "run", "--l"), {"--listen"}),  # and not --links, which is of `run`
        (("relay", "run", "--config", "so"), {"some", "some-file"}),
        (("run", "--links", ""), set()),
        (("resolve", "so"), {"some", "some-file"}),
        (("resolve", "x", ""), {"original", "copy", "both"}),
        (("answer", "docs", "a"), {"accept"}),
        (("config", "get", "history."), {"history.days", "history.thinned_days"}),
        (("config", "set", "history.days", ""), set()),
        (("log", "--si"), {"--since"}),
        (("log", ""), {"verify"}),
        (("completion", "f"), {"fish"}),
        (("invite", ""), set()),
    ],
)
def test_each_shell_offers_what_can_follow(
    tmp_path: Path, shell: str, words: tuple[str, ...], found: set[str]
) -> None:
    (tmp_path / "some-file").touch()
    (tmp_path / "some").mkdir()
    (tmp_path / "relay").mkdir()
    assert offered(shell, tmp_path, "holdfast", *words) == found


def test_bash_breaks_words_at_colons(tmp_path: Path) -> None:
    words = ("relay", "run", "--listen", "127.0.0.1", ":", "80", "--we")
    assert offered("bash", tmp_path, "holdfast", *words) == {"--web"}


def test_zsh_completes_at_a_terminal(tmp_path: Path) -> None:
    """The line is completed, and what there is to choose from is listed with what it does."""
    (tmp_path / "_holdfast").write_text(script("zsh", make_parser()))
    settings = "PROMPT='ready> '; fpath=($ZDOTDIR $fpath); autoload -Uz compinit; compinit -u -D\n"
    (tmp_path / ".zshrc").write_text(settings)
    terminal, its_end = pty.openpty()
    zsh = subprocess.Popen(
        ["zsh", "-i"], stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
        env=os.environ | {"ZDOTDIR": str(tmp_path), "TERM": "dumb", "COLUMNS": "100"},
    )  # fmt: skip
    os.close(its_end)
    shown, deadline = "", time.monotonic() + DEADLINE_S

    def until(text: str) -> None:
        nonlocal shown
        while text not in shown:
            assert time.monotonic() < deadline, shown
            if select.select([terminal], [], [], 1)[0]:
                shown += os.read(terminal, 65536).decode()

    try:
        until("ready> ")
        os.write(terminal, b"holdfast durab\t")
        until("holdfast durability")
        os.write(terminal, b"--annual\t")
        until("--annual-loss")
        os.write(terminal, b"\x15holdfast folder \t")
        until("attach  -- put a folder of yours on a path here")
    finally:
        zsh.kill()
        zsh.wait()
        os.close(terminal)


def test_every_shell_knows_every_command() -> None:
    parser = make_parser()
    commands = [level for level in levels(parser) if level.path]
    assert len(commands) > 30
    for shell in SHELLS:
        text = script(shell, parser)
        for level in commands:
            assert level.path in text
        assert "\x1b" not in text
        assert "%%" not in text.replace("%%:*", "").replace("%%=*", "")  # argparse's own escape


def test_no_help_breaks_out_of_its_quotes() -> None:
    for shell in ("zsh", "fish"):
        for line in script(shell, make_parser()).splitlines():
            told = line.replace("'\\''", "").replace("\\'", "")
            assert told.count("'") % 2 == 0
