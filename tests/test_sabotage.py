"""The list of planted bugs does not rot: each can still be planted, and is in the table."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.planted_bugs import BUGS, Bug
from tests.sabotage import CAUGHT, ROOT, TABLE, Verdict, changed, planted, read_verdicts, render


@pytest.mark.row("F40")
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.id)
def test_a_bug_can_be_planted(bug: Bug) -> None:
    source = (ROOT / bug.file).read_text()
    sabotaged = changed(bug, source)
    assert sabotaged != source
    ast.parse(sabotaged)
    assert bug.tests
    for test in bug.tests:
        assert (ROOT / "tests" / test.split("::")[0]).is_file()


def test_there_are_thirty_and_no_two_are_the_same() -> None:
    assert len(BUGS) >= 30
    assert max(Counter(bug.id for bug in BUGS).values()) == 1
    assert max(Counter((bug.file, bug.old, bug.new) for bug in BUGS).values()) == 1


def test_what_is_planted_is_taken_out_again(tmp_path: Path) -> None:
    bug = Bug("x", "1", "it breaks", "a.py", "1 + 1", "1 + 2", ("a",))
    path = tmp_path / "a.py"
    path.write_text("print(1 + 1)\n")
    with planted(bug, tmp_path):
        assert path.read_text() == "print(1 + 2)\n"
    assert path.read_text() == "print(1 + 1)\n"


@pytest.mark.parametrize("source", ["print(2)\n", "print(1 + 1, 1 + 1)\n"])
def test_a_text_that_is_not_there_once_is_told(source: str) -> None:
    with pytest.raises(ValueError, match="x: the old text is"):
        changed(Bug("x", "1", "it breaks", "a.py", "1 + 1", "1 + 2", ("a",)), source)


def test_the_table_reads_back() -> None:
    verdicts = {bug.id: Verdict(CAUGHT, f"a.py::test_{n}") for n, bug in enumerate(BUGS)}
    text = render("before\n<!-- table -->\nstale\n<!-- end of table -->\nafter\n", verdicts)
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "stale" not in text
    assert read_verdicts(text) == verdicts


@pytest.mark.row("F40")
def test_the_table_is_of_these_bugs() -> None:
    text = TABLE.read_text()
    assert render(text, {bug.id: read_verdicts(text)[bug.id] for bug in BUGS}) == text
