"""What the whole sweep has come to is told as it is: which N, at which state of the product."""

import json
from pathlib import Path

import pytest

from tests.end_to_end.inject import FULL, KILL
from tests.end_to_end.rounds import NOT_REACHED, RECEIVING, SCANNING_LARGE
from tests.end_to_end.sweep import LOST, Key, Results, is_whole

CELL: Key = (RECEIVING, "rename", KILL)
WHOLE = {1: "in sync", 2: "in sync", 3: NOT_REACHED, 4: NOT_REACHED}


def note(path: Path, commit: str, rounds: dict[int, str], cell: Key = CELL) -> Results:
    results = Results(path, commit)
    for n, outcome in rounds.items():
        results.add(cell, n, outcome, "it was gone" if outcome == LOST else "", 1.0)
    return results


def rows(results: Results) -> list[str]:
    return [line for line in results.report().splitlines() if line.startswith("| receiving")]


@pytest.mark.parametrize("missing", WHOLE)
def test_whole_is_every_n_and_two_that_nobody_reached(missing: int) -> None:
    assert is_whole(WHOLE)
    assert is_whole({**WHOLE, 9: "in sync"})
    assert not is_whole({n: outcome for n, outcome in WHOLE.items() if n != missing})


def test_a_cell_is_of_the_last_state_at_which_it_was_played_whole(tmp_path: Path) -> None:
    path = tmp_path / "results"
    note(path, "a1", WHOLE)
    assert rows(note(path, "b2", {1: "in sync"})) == [
        "| receiving | rename | kill | 2 | 0 | whole | a1 |"
    ]
    more = {2: "in sync", 3: "in sync", 4: NOT_REACHED, 5: NOT_REACHED}
    assert rows(note(path, "b2", more)) == ["| receiving | rename | kill | 3 | 0 | whole | b2 |"]


def test_what_no_state_was_played_whole_of_says_so(tmp_path: Path) -> None:
    path = tmp_path / "results"
    note(path, "a1", {1: "in sync", 2: "in sync"})
    some = note(path, "a1", {1: "in sync"}, (RECEIVING, "sync", FULL))
    assert [row.split(" | ")[-2:] for row in rows(some)] == [["in part", "a1 |"]] * 2
    both = note(path, "b2", {3: NOT_REACHED, 4: NOT_REACHED})
    assert "| receiving | rename | kill | 2 | 0 | whole | a1, b2 |" in rows(both)


def test_what_was_lost_counts_until_it_has_passed(tmp_path: Path) -> None:
    path = tmp_path / "results"
    note(path, "a1", WHOLE)
    lost = note(path, "b2", {2: LOST})
    assert lost.failures == {(CELL, 2): "it was gone"}
    assert rows(lost) == ["| receiving | rename | kill | 2 | 1 | whole | a1 |"]
    assert rows(note(path, "b2", {2: "in sync"})) == [
        "| receiving | rename | kill | 2 | 0 | whole | a1 |"
    ]


def test_a_sweep_goes_on_where_it_was_and_begins_anew_with_another_state(tmp_path: Path) -> None:
    path = tmp_path / "results"
    note(path, "a1", {1: "in sync", 2: LOST})
    assert [json.loads(line)["commit"] for line in path.read_text().splitlines()] == ["a1", "a1"]
    assert [Results(path, "a1").known(CELL, n) for n in (1, 2, 3)] == ["in sync", None, None]
    assert Results(path, "b2").known(CELL, 1) is None


def test_what_stands_of_other_cells_or_of_all_of_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "results"
    other: Key = (SCANNING_LARGE, "read of a large file", KILL)
    before = note(path, "a1", {1: "in sync"}).report()
    before = note(tmp_path / "others", "a1", WHOLE, other).report(before)
    assert before.splitlines()[-2:] == [
        "| receiving | rename | kill | 1 | 0 | in part | a1 |",
        "| scanning large files | read of a large file | kill | 2 | 0 | whole | a1 |",
    ]
    assert note(tmp_path / "b", "b2", {1: "in sync"}, other).report(before) == before
    lost = note(tmp_path / "b", "b2", {2: LOST}, other).report(before)
    assert "| 2 | 1 | in part | b2 |" in lost.splitlines()[-1]
    whole = note(tmp_path / "c", "c3", WHOLE).report(before)
    assert whole.splitlines()[-2:] == [
        "| receiving | rename | kill | 2 | 0 | whole | c3 |",
        before.splitlines()[-1],
    ]
