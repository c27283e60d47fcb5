"""The table of what is promised against attacks and faults, and of the tests that hold us to it.

    python -m tests.trust               writes tests/TRUST.md from the marks of the tests
    python -m tests.trust A07 F01 ...   runs the tests of these rows too, and notes their figures
    python -m tests.trust all           runs the tests of every row
    python -m tests.trust report.xml    takes the figures from a run of any tests, which was given
                                        `--junitxml=report.xml`, of rows that were run whole there

A test names its rows by `@pytest.mark.row("A07")`, and may tell what it measured by
`record_property("figure", "...")`. Figures stay in the table until their row is run again.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from defusedxml import ElementTree

TESTS = Path(__file__).parent
TABLE = TESTS / "TRUST.md"
SWEPT = TESTS / "end_to_end" / "SWEPT.md"
NONE = "none"

PROMISES = {
    "A01": "No key is taken for one's own that one's own devices did not sign for.",
    "A02": "No key is taken for another's that the other did not prove at the pairing.",
    "A03": "Whatever wraps a key is refused with one error when a byte or its place is changed.",
    "A04": "No empty, foreign, older or unsigned folder key replaces the one that counts.",
    "A05": "An older version, suite, cipher or cost is refused, before anything that a password"
    " gave leaves the device.",
    "A06": "No key and nonce seal two things, and every format has frozen vectors.",
    "A07": "A flipped bit, at rest or on its way, is found; the file is not written and comes from"
    " another holder.",
    "A08": "Chunks that are left out, doubled, swapped, reordered or cut are refused.",
    "A09": "A changed name, place or attribute is refused, whoever changed it.",
    "A10": "What a stranger, a reader or a removed member injects changes no tree.",
    "A11": "Nothing of one type passes for another, and no file's content for a message.",
    "A12": "Nothing that was accepted is rolled back, and a new device begins where the one that"
    " let it in was.",
    "A13": "A history that is shown in two versions, or in part, is noticed at the first contact;"
    " both versions are kept. Who hears of nobody says since when it may be stale.",
    "A14": "A device that signs two changesets for one position is proved to have done so;"
    " one counts, the same everywhere, and the other is kept.",
    "A15": "Who guesses a file's bytes finds nothing at a node that confirms the guess.",
    "A16": "A node sees sizes of few classes, the same for most files of about one size.",
    "A17": "A relay sees what the list in THREATS.md says, and nothing of what it carries.",
    "A18": "What a relay keeps for a folder is listed, given, taken and dropped for nobody who does"
    " not prove the capability; who was removed has none for what comes after.",
    "A19": "Who was removed or revoked writes nothing into the past, and no backdated entry brings"
    " anybody back.",
    "A20": "A role does what it may and nothing more, at devices and at nodes.",
    "A21": "Changes of membership that meet come to one state everywhere, and the root stays.",
    "A22": "Nothing sealed opens under two keys, or two secrets, as two things.",
    "A23": "A guess at a passphrase costs 256 MiB and three passes; a cheaper file is refused.",
    "A24": "Who pairs in the middle or guesses has three tries of one code, and no way to test"
    " guesses off line.",
    "A25": "Who proves no known, live device is heard not one message.",
    "A26": "No early data and no resumption.",
    "A27": "An address that is not shown gets three times its bytes at most; a flood fills no"
    " memory and keeps no friend out.",
    "A28": "A link holds no more than its window, whatever is sent.",
    "A29": "Who stops at any step, or trickles, costs its own place for seconds and nobody else's"
    " work.",
    "A30": "Bytes outside the CBOR profile are refused, and cost little.",
    "A31": "Nothing inflates or allocates beyond what it declared and what is allowed.",
    "A32": "What is announced on a LAN is a hint of an address: bounded, and nobody is believed by"
    " it.",
    "A33": "A frame's length is unsigned and bounded, and broken framing ends its own link only.",
    "A34": "No name leads out of the folder; what cannot be shown here is reported, and the rest"
    " syncs.",
    "A35": "No symlink and no race leads a read or a write out of the folder.",
    "A36": "The control API answers no browser and nobody without the token.",
    "A37": "No secret in arguments, logs or reprs, and no control character on a terminal.",
    "A38": "A share link's secret reaches no server, no storage and no other site, and nothing that"
    " it opens is run in the page.",
    "A39": "Who has not the secret of a share link, or not its password, opens nothing of it.",
    "A40": "Every file of the page has a published hash, and what is served is what was published.",
    "A41": "A node that lies about what it stores is found out: nothing is believed that is not"
    " shown.",
    "F01": "A receiver killed at any instant shows the old or the new, nothing torn, nothing"
    " acknowledged lost.",
    "F02": "The same for a device that scans, sends or compacts.",
    "F03": "After a power loss what was acknowledged is there, and no name has another's bytes.",
    "F04": "One EIO of fsync: not acknowledged, not tried again as if it were well.",
    "F05": "A record is durable in the database before it is told.",
    "F06": "A full disk is said, tears nothing, and deletions still work.",
    "F07": "What one file's error stops is that file, with its reason.",
    "F08": "What rotted on a device's or a node's disk is served to nobody under its chunk's name.",
    "F09": "A damaged or lost database is rebuilt under a new incarnation; old bytes win over no"
    " new ones.",
    "F10": "A block that belongs elsewhere is found out by its hash.",
    "F11": "After a partition all show one tree, with every byte that was written in it.",
    "F12": "Loss, reordering, doubling and damage of datagrams change nothing but the time.",
    "F13": "Links that clog and unclog in any order: all converge.",
    "F14": "One-way links and new addresses: it goes on, and not from the start.",
    "F15": "Of edits of one file at once one wins, the same everywhere, and the others are copies.",
    "F16": "An edit beats a deletion.",
    "F17": "What was deleted while a device was away stays deleted, unless it was edited there.",
    "F18": "Moves that meet make no cycle and no orphan.",
    "F19": "File, directory and symlink may take each other's place.",
    "F20": "A save at the last moment is never overwritten.",
    "F21": "How editors save makes no copies and syncs nothing half-saved.",
    "F22": "No clock decides what is right.",
    "F23": "Any n - k nodes may be gone; with more gone it is said, and no wrong byte is given.",
    "F24": "A lost share is rebuilt by the nodes themselves, without any key of the folder.",
    "F25": "A wrong, old or short share is known by its hash, and counts as lost.",
    "F26": "Two shares of a pack are not with one owner while another one is free.",
    "F27": "A relay that dies stops nobody for good: what it carried goes on when it is back, or"
    " another one is.",
    "F28": "A slow or evil device among good ones costs its own share only.",
    "F29": "What is collected or deleted is never what somebody still needs: it waits first.",
    "F30": "A rotation that ends in the middle, or beside another, leaves all data readable.",
    "F31": "A device that was put back or cloned is noticed and reuses no position.",
    "F32": "A second daemon on one home is refused.",
    "F33": "Another version of the format is refused politely and rewritten by nobody.",
    "F34": "A million files scan within bounded memory.",
    "F35": "Deep trees, full directories and long names sync or are refused in words.",
    "F36": "Memory is bounded by the window, however large the file.",
    "F37": "What the watcher missed is found.",
    "F38": "How long ago the byte that was not looked at longest was verified is told.",
    "F39": "A seed is a history: the same twice.",
    "F40": "Planted bugs are caught.",
}
"""Rows of the lists of attacks (A) and faults (F) that concern devices, their disks and links."""

SWEEP = "swept: "
SWEPT_ROWS = {"EIO once": "F04", "ENOSPC from then on": "F06"}
"""The rows that a sweep's fault belongs to; a kill is F01 or F02, by the scenario."""

HEADER = """\
# What is promised, and what holds us to it

Made by `python -m tests.trust` from the marks of the tests; `python -m tests.trust all` runs
them and notes the figures. A: attacks, F: faults; rows that concern super-nodes and share
links come with these. *Last figure*: how many cases passed when the row was last run, and what
they measured; of the sweep what `end_to_end/SWEPT.md` sums up to.

| row | promise | tests | last figure |
|---|---|---|---|
"""


class UnknownRow(Exception):
    """A test is marked with a row that is none."""


def proofs(base: Path = TESTS) -> dict[str, list[str]]:
    """The tests of each row, as `folder/test_file.py::test_name`."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(base.rglob("test_*.py")):
        text = path.read_text()
        if "mark.row(" not in text:
            continue
        for name, rows in marked(ast.parse(text)):
            for row in rows:
                if row not in PROMISES:
                    raise UnknownRow(f"{path.name}::{name} is marked with {row}")
                found[row].append(f"{path.relative_to(base).as_posix()}::{name}")
    return dict(found)


def marked(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Each test of a file with the rows that it names itself, and those that the file names."""
    of_all: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            of_all += rows_in(ast.walk(node.value))
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        rows = of_all + rows_in(node.decorator_list)
        if node.name.startswith("test_") and rows:
            yield node.name, list(dict.fromkeys(rows))


def rows_in(nodes: Iterable[ast.AST]) -> list[str]:
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    of_rows = [call for call in calls if ast.unparse(call.func) == "pytest.mark.row"]
    return [ast.literal_eval(argument) for call in of_rows for argument in call.args]


def render(tests: Mapping[str, list[str]], figures: Mapping[str, str]) -> str:
    lines = []
    for row, promise in PROMISES.items():
        names = "<br>".join(f"`{name}`" for name in tests.get(row, [])) or NONE
        lines.append(f"| {row} | {promise} | {names} | {figures.get(row, '')} |\n")
    count = sum(row in tests for row in PROMISES)
    return HEADER + "".join(lines) + f"\n{count} of {len(PROMISES)} rows have a test.\n"


def cells(text: str) -> list[list[str]]:
    """The table's rows; their last cells vary."""
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def figures_in(text: str) -> dict[str, str]:
    figures = {row: figure.partition(SWEEP)[0] for row, _, _, figure in cells(text)}
    return {row: figure.removesuffix("; ") for row, figure in figures.items() if figure}


def swept(text: str) -> dict[str, str]:
    """What the sweep of real daemons came to, by row: its own table, summed up."""
    sums: dict[str, list[int]] = {}
    for scenario, _, fault, rounds, lost, *_ in cells(text):
        row = SWEPT_ROWS.get(fault) or ("F01" if scenario.startswith("receiving") else "F02")
        counts = sums.setdefault(row, [0, 0])
        counts[0] += int(rounds)
        counts[1] += int(lost)
    return {row: f"{SWEEP}{rounds} rounds, {lost} lost" for row, (rounds, lost) in sums.items()}


class Figures:
    """A plugin of pytest that counts the cases of each test and keeps what they measured."""

    def __init__(self) -> None:
        self.passed: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)
        self.told: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("[")[0].removeprefix("tests/")
        if report.failed:
            self.failed[name] += 1
        elif report.when == "call":
            self.passed[name] += 1
            self.told[name] += [
                str(value) for key, value in report.user_properties if key == "figure"
            ]

    def take(self, report: Path) -> None:
        """The same from a report of pytest."""
        for case in ElementTree.parse(report).iter("testcase"):
            module, name = case.attrib["classname"], case.attrib["name"].split("[")[0]
            name = f"{module.removeprefix('tests.').replace('.', '/')}.py::{name}"
            if case.find("failure") is not None or case.find("error") is not None:
                self.failed[name] += 1
            elif case.find("skipped") is None:
                self.passed[name] += 1
            told = (one.attrib for one in case.iter("property"))
            self.told[name] += [one["value"] for one in told if one["name"] == "figure"]

    def has_all(self, names: Iterable[str]) -> bool:
        """Whether all of these were run."""
        return all(self.passed[name] or self.failed[name] for name in names)

    def of(self, names: Iterable[str]) -> str:
        """What a row's tests came to, in a line."""
        names = list(names)
        failed, passed = (sum(count[n] for n in names) for count in (self.failed, self.passed))
        counts = [f"**{failed} failed**"] if failed else []
        told = dict.fromkeys(figure for name in names for figure in self.told[name])
        return "; ".join([*counts, f"{passed} passed", *told]).replace("|", "/")


def run(rows: Iterable[str], tests: Mapping[str, list[str]]) -> tuple[int, dict[str, str]]:
    """Runs the tests of these rows; pytest's exit code, and the rows' figures."""
    rows = [row for row in rows if row in tests]
    names = dict.fromkeys(name for row in rows for name in tests[row])
    figures = Figures()
    if not names:
        return 0, {}
    arguments = ["-q", "-p", "no:cacheprovider", *(f"{TESTS}/{name}" for name in names)]
    code = int(pytest.main(arguments, plugins=[figures]))
    return code, {row: figures.of(tests[row]) for row in rows}


def main(arguments: list[str]) -> int:
    reports = [Path(one) for one in arguments if one.endswith(".xml")]
    arguments = [one for one in arguments if not one.endswith(".xml")]
    if unknown := [row for row in arguments if row not in PROMISES and row != "all"]:
        print(f"No such row: {', '.join(unknown)}.", file=sys.stderr)
        return 2
    tests = proofs()
    figures = figures_in(TABLE.read_text()) if TABLE.exists() else {}
    code, new = run(PROMISES if "all" in arguments else arguments, tests)
    figures |= new
    of_reports = Figures()
    for report in reports:
        of_reports.take(report)
    figures |= {r: of_reports.of(names) for r, names in tests.items() if of_reports.has_all(names)}
    for row, sweep in swept(SWEPT.read_text()).items():
        figures[row] = "; ".join(filter(None, (figures.get(row), sweep)))
    TABLE.write_text(render(tests, figures))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
