"""How copies at super-nodes stand, in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from textual.widgets import Input

from peer.status import BackupEntry
from tests.peer.fake_daemon import BACKUP, FOLDER_ID, RELAY
from tests.tui.stage import screen
from tui.backups import NO_BACKUPS, backup_lines, scheme_of, summary
from tui.dialogs import Ask, Confirm
from tui.rows import Tone


def test_a_folder_stands_above_its_nodes() -> None:
    folder, node = backup_lines([BACKUP])
    assert folder.cells[:6] == (
        "!", "photos (4/7)", "at risk", "up to date", "9 packs", "16.8 MB",
    )  # fmt: skip
    assert folder.tone is Tone.BAD
    assert "1 at risk" in folder.detail
    assert "Only 2 owners\\x1b." in folder.detail
    assert node.cells[1:3] == ("  relay.example:443", "away")
    assert "Nobody answers." in node.detail


@pytest.mark.row("F38")
def test_how_old_the_last_look_at_everything_is_and_what_samples_came_to_are_shown() -> None:
    folder = backup_lines([BACKUP])[0]
    assert "found right within 2 h" in folder.detail
    assert "samples" not in folder.detail
    sampled: BackupEntry = {**BACKUP, "sampled_leaves": 12, "sampled_wrong": 2}
    assert "12 samples were fetched back, 2 of them wrong." in backup_lines([sampled])[0].detail
    sampled["sampled_wrong"] = 0
    assert "12 samples were fetched back, all right." in backup_lines([sampled])[0].detail


def test_what_is_at_risk_is_said_first() -> None:
    assert summary([], has_kit=True) == ""
    assert summary([BACKUP], has_kit=True) == "At risk: photos."
    well: BackupEntry = {**BACKUP, "health": "healthy", "warnings": []}
    assert summary([well], has_kit=False).startswith("Nothing is at risk. This device keeps no")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"warnings": ["3 shares of 3 are with one network."]}, "is stored as asked, but"),
        ({"health": "degraded"}, "but copies are missing of photos"),
        ({"state": "storing"}, "not all of photos may be stored yet"),
    ],
)
def test_nothing_is_said_to_be_well_that_the_line_of_a_folder_says_otherwise(
    changes: dict[str, Any], said: str
) -> None:
    well = {**BACKUP, "health": "healthy", "warnings": []}
    assert said in summary([cast(BackupEntry, well | changes)], has_kit=True)


async def test_it_is_asked_for_when_somebody_looks(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        assert ("backups",) not in stage.daemon.calls
        assert stage.listing("backup-list").told != NO_BACKUPS  # nobody knows yet
        await stage.press("8")
        await stage.until(lambda: len(stage.cells("backup-list")) == 2)
        await stage.until(lambda: "1 at risk" in stage.text("line-detail"))


def test_a_scheme_is_what_was_typed_or_what_suits() -> None:
    assert scheme_of("", 7) == (4, 7)
    assert scheme_of("2/3", 7) == (2, 3)
    assert [scheme_of(text, 7) for text in ("2", "2/", "/3", "a/b", "-1/3")] == [None] * 5


async def test_a_folder_is_kept_mended_and_kept_no_more_by_keys(tmp_path: Path) -> None:
    async with screen(tmp_path) as stage:
        await stage.press("8")
        await stage.until(lambda: {"Add", "Mend", "Remove"} <= stage.keys())
        await stage.press("a")
        await stage.shows(Ask)
        assert stage.app.screen.query_one("#field-folder", Input).value == "photos"
        nodes = stage.app.screen.query_one("#field-nodes", Input)
        assert nodes.value == str(RELAY)  # those that this device knows
        await stage.press("enter", "enter", *"x/3", "enter")
        await stage.until(lambda: any("K/N" in n.message for n in stage.app._notifications))
        await stage.press("a")
        await stage.shows(Ask)
        await stage.press("enter", "enter", "enter")
        await stage.acts(("add_backup", "photos", [RELAY], 1, 1))
        await stage.press("down", "m")  # a node is its folder's
        await stage.acts(("repair_backup", FOLDER_ID))
        await stage.until(lambda: any("3 shares" in n.message for n in stage.app._notifications))
        await stage.press("d", "enter")
        await stage.closed()
        await stage.acts()  # Enter is no
        await stage.press("d")
        await stage.shows(Confirm)
        await stage.press("y")
        await stage.acts(("remove_backup", FOLDER_ID))
