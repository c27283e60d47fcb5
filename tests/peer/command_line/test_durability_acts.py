"""`holdfast durability`, as it is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from peer.backup.durability_model import TRIALS, System, loss_in_a_year, table
from peer.command_line import durability_acts
from peer.command_line.cli import main
from peer.errors import NoPlotting

WORDS = ["durability", "--nodes", "9", "--scheme", "4/7", "--annual-loss", "5%", "--repair", "48"]


@pytest.fixture(autouse=True)
def fewer_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    assert TRIALS > 2000
    monkeypatch.setattr(durability_acts, "table", lambda s, r: table(s, r, 2000))


def test_both_ways_stand_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    row = made["rows"][1]
    assert row["formula"] == loss_in_a_year(System(4, 7, 9, 0.05, 48))
    mean, low, high = row["chance"]
    assert 0 < low < mean < high
    assert main(WORDS) == 0
    shown = capsys.readouterr().out
    for said in ("48 h", "95 % interval", f"{row['formula']:.3g}", "for ever", "on its own"):
        assert said in shown, said


def test_what_comes_together_makes_it_worse(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["rows"][1]["formula"]
    assert main([*WORDS, "--json", "--correlated", "1%/4"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][1]["formula"] > 100 * alone


def test_a_plot_is_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--plot", str(tmp_path / "a.png")]) == 0
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert main([*WORDS, "--plot", str(tmp_path / "a.svg")]) == 0
    assert "hours until a lost share is rebuilt" in (tmp_path / "a.svg").read_text()
    assert main([*WORDS, "--plot", str(tmp_path / "none" / "a.png")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_without_matplotlib_it_is_said_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([*WORDS, "--plot", str(tmp_path / "a.png")]) == NoPlotting.exit_code
    assert "uv tool install '.[plot]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--scheme", "4/10"], ["--correlated", "1%/10"], ["--correlated", "3"], ["--annual-loss", "1"],
     ["--annual-loss", "x"], ["--repair", "0"], ["--nodes", "0"], ["--repair", "soon"]],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(words: list[str]) -> None:
    assert main([*WORDS, *words]) == 2
