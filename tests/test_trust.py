"""The table of promises is what the tests say, and every attack has a test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import trust


def test_the_table_is_what_the_tests_say() -> None:
    """Else: `python -m tests.trust`."""
    committed = [row[:3] for row in trust.cells(trust.TABLE.read_text())]
    assert committed == [row[:3] for row in trust.cells(trust.render(trust.proofs(), {}))]


def test_every_attack_has_a_test() -> None:
    attacks = {row for row in trust.PROMISES if row.startswith("A")}
    assert attacks == {f"A{n:02}" for n in range(1, 42)}
    assert attacks - set(trust.proofs()) == set()


def test_every_fault_has_a_test() -> None:
    assert set(trust.PROMISES) - set(trust.proofs()) == set()


SAMPLE = """
import pytest
pytestmark = [pytest.mark.row("F01")]

@pytest.mark.row("A07", "A08")
@pytest.mark.parametrize("x", [1])
def test_one(x): ...

@pytest.mark.row("F01")
async def test_two(): ...

def stage(): ...
"""


def test_marks_are_found_on_tests_and_on_files(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "test_sample.py").write_text(SAMPLE)
    one, two = (f"inner/test_sample.py::test_{name}" for name in ("one", "two"))
    assert trust.proofs(tmp_path) == {"F01": [one, two], "A07": [one], "A08": [one]}
    (tmp_path / "test_other.py").write_text(SAMPLE.replace("A08", "A99"))
    with pytest.raises(trust.UnknownRow, match="A99"):
        trust.proofs(tmp_path)


def test_a_row_without_a_test_shows_none_and_figures_stay() -> None:
    text = trust.render({"A07": ["a.py::test_b", "a.py::test_c"]}, {"A07": "3 passed; 2 MB"})
    rows = {row[0]: row[1:] for row in trust.cells(text)}
    assert rows["A07"][1:] == ["`a.py::test_b`<br>`a.py::test_c`", "3 passed; 2 MB"]
    assert rows["A08"][1] == trust.NONE
    assert trust.figures_in(text) == {"A07": "3 passed; 2 MB"}
    assert text.endswith(f"\n1 of {len(trust.PROMISES)} rows have a test.\n")


def test_a_sweep_is_summed_up_by_row_and_once() -> None:
    head = "| scenario | call | fault | rounds | lost | extent | commits |\n|---|\n"
    kills = "| receiving | sync | kill | 22 | 0 | whole | a1 |\n| scanning | sync | kill | 3 | 1 | "
    rest = "whole | a1 |\n| scanning | sync | EIO once | 2 | 0 | in part | a1, b2 |\n"
    rest += "| receiving large files | sync | kill | 4 | 0 | whole | a1 |\n"
    sums = trust.swept(head + kills + rest)
    assert sums == {
        "F01": "swept: 26 rounds, 0 lost",
        "F02": "swept: 3 rounds, 1 lost",
        "F04": "swept: 2 rounds, 0 lost",
    }
    shown = trust.render({}, {"F01": f"3 passed; {sums['F01']}", "F02": sums["F02"]})
    assert trust.figures_in(shown) == {"F01": "3 passed"}


def report(name: str, outcome: str, *figures: str, when: str = "call") -> pytest.TestReport:
    return pytest.TestReport(
        f"tests/{name}", ("", 0, ""), {}, outcome, None, when,  # type: ignore[arg-type]
        user_properties=[("figure", figure) for figure in figures],
    )  # fmt: skip


def test_a_row_s_figure_counts_cases_and_names_failures() -> None:
    figures = trust.Figures()
    for each in (
        report("a.py::test_b[1]", "passed", when="setup"),
        report("a.py::test_b[1]", "passed", "2 | 3"),
        report("a.py::test_b[2]", "passed", "2 | 3"),
        report("a.py::test_c", "passed"),
        report("a.py::test_d", "failed", when="setup"),
    ):
        figures.pytest_runtest_logreport(each)
    assert figures.of(["a.py::test_b", "a.py::test_c"]) == "3 passed; 2 / 3"
    assert figures.of(["a.py::test_c", "a.py::test_d"]) == "**1 failed**; 1 passed"


def test_figures_come_from_the_report_of_any_run(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_a(n, record_property): record_property('figure', '5 MB')\n"
        "def test_b(): assert False\n"
    )
    report = tmp_path / "report.xml"
    words = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", "--rootdir", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pytest", *words, str(tmp_path)], capture_output=True)
    figures = trust.Figures()
    figures.take(report)
    assert figures.of(["test_it.py::test_a"]) == "2 passed; 5 MB"
    assert figures.of(["test_it.py::test_b"]) == "**1 failed**; 0 passed"
    assert figures.has_all(["test_it.py::test_a", "test_it.py::test_b"])
    assert not figures.has_all(["test_it.py::test_c"])
