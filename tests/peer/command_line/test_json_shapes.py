"""JSON.md says of every command what it prints, and that is what it prints."""

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from peer.command_line import json_shapes
from peer.command_line.cli import main, make_parser
from peer.command_line.json_shapes import PRINTED, RelayInvitation, Settings, text
from peer.command_line.kit_input import KIT_VARIABLE
from peer.command_line.manual import commands
from protocol.kit import encode_kit
from relay.admissions import InvitationRow
from tests.peer.fake_daemon import RELAY, running

NODES = f"--nodes {RELAY}"
ASKED = (
    "invite", "folder add /data/photos --name photos", "folder list", "folder attach photos /p",
    "folder remove photos", f"relay add {RELAY}", "relay list", f"relay remove {RELAY}",
    f"backup add photos {NODES}", "backup remove photos", "backup repair photos", "backup status",
    "kit print", "kit print --out {tmp}/kit.pdf", "status", "devices", "devices remove x",
    "conflicts", "resolve /data/photos/a both", "search a", "versions /data/photos/a",
    "restore /data/photos/a", "restore-folder /data/photos --at 1h", "pause", "resume",
    "answer photos accept", "notifications", "notifications read", "link create /data/a",
    "link request /data", "link list", "link revoke x", "stop",
    "durability --nodes 9 --scheme 4/7 --annual-loss 5% --repair 48",
    "config", "config get search.text", "config set search.text false", "completion fish",
    "service status", "log", "log verify",
)  # fmt: skip
"""Commands that are answered without a second device."""


def names_of(words: Sequence[str]) -> str:
    """The command without what it is given."""
    two = " ".join(words[:2])
    return two if two in PRINTED else words[0]


def fits(shape: Any, value: Any) -> None:
    """Raises if a value is not what a type says, to the letter: unknown keys included."""
    if shape is Settings:
        assert isinstance(value, dict)
        return
    msgspec.convert(value, shape, strict=True)
    hints = get_type_hints(shape)
    assert value.keys() <= hints.keys()
    for name, inner in value.items():
        listed = next(iter(get_args(hints[name])), None)
        for one in inner if isinstance(inner, list) else ():
            if hasattr(listed, "__total__"):
                fits(listed, one)
        if hasattr(hints[name], "__total__"):
            fits(hints[name], inner)


def test_the_page_is_made_from_the_types() -> None:
    page = Path(json_shapes.__file__).with_name("JSON.md")
    assert page.read_text() == text(), "`make man` makes it anew"


def test_every_command_is_in_it() -> None:
    every = {" ".join(path) if not isinstance(path, str) else path for path, command
             in commands(make_parser()) if command.get_default("act") is not None}  # fmt: skip
    assert PRINTED.keys() == every - {"tui"}


async def test_commands_print_what_it_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KIT_VARIABLE, encode_kit(bytes(range(32))))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with running(tmp_path):
        (tmp_path / "key").touch(mode=0o600)
        for line in ASKED:
            words = line.replace("{tmp}", str(tmp_path)).split()
            code = await asyncio.to_thread(main, ["--home", str(tmp_path), *words, "--json"])
            said = capsys.readouterr()
            assert code in (0, 42, 48), (line, said.err)
            shapes = PRINTED[names_of(words)]
            fits(shapes[-1] if "--out" in words else shapes[0], json.loads(said.out))


def test_a_relay_prints_its_invitations_so() -> None:
    assert tuple(get_type_hints(RelayInvitation)) == InvitationRow._fields
