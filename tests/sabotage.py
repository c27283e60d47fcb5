"""Plants the bugs of `tests/planted_bugs.py` one at a time and says which the tests notice.

    nice python -m tests.sabotage [ID...] [--jobs N]

Each is planted into a copy of the tree, and the tests that it names are run there. It is caught if
one of them fails with the bug and passes without it. The table of `tests/SABOTAGE.md` is written
anew, rows of bugs that were not run stay as they were. The exit code is 1 if less than nine of ten
are caught.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Final, NamedTuple

from tests.planted_bugs import BUGS, Bug

ROOT: Final = Path(__file__).parents[1]
TABLE: Final = ROOT / "tests" / "SABOTAGE.md"
RUN_TIMEOUT_S: Final = 180.0
TEST_TIMEOUT_S: Final = 60
"""A test that hangs by the bug fails after this."""
CAUGHT_SHARE_MIN: Final = 0.9
CAUGHT, SURVIVED = "caught", "survived"
UNSOUND = "unsound: the test fails without the bug"
BROKEN = "not run: no test could be collected"
TOO_SLOW = "not run to its end"
NOT_RUN = "not run yet"
_LEFT_OUT: Final = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
_PYTEST: Final = """
import os, sys, pytest
code = pytest.main(sys.argv[1:])
sys.stdout.flush()
os._exit(code)  # a test that failed may leave threads that the process would wait for
"""
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", re.MULTILINE)


class Verdict(NamedTuple):
    """What became of one planted bug."""

    outcome: str
    test: str = ""
    """The first test that failed."""


def changed(bug: Bug, source: str) -> str:
    """The source with the bug in it; ValueError unless the old text is there exactly once."""
    count = source.count(bug.old)
    if count != 1:
        raise ValueError(f"{bug.id}: the old text is {count} times in {bug.file}")
    return source.replace(bug.old, bug.new)


@contextmanager
def planted(bug: Bug, tree: Path) -> Iterator[None]:
    """The bug is in this copy of the tree, as long as this lasts."""
    path = tree / bug.file
    source = path.read_text()
    path.write_text(changed(bug, source))
    try:
        yield
    finally:
        path.write_text(source)


def run_tests(tree: Path, tests: Sequence[str]) -> tuple[int | None, str]:
    """pytest's exit code (None if it took too long) and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [
        sys.executable, "-c", _PYTEST, "-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly",
        "--tb=no", "-rfE", f"--timeout={TEST_TIMEOUT_S}", f"--basetemp={tree}.tmp", *tests,
    ]  # fmt: skip
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            printed, _ = process.communicate(timeout=RUN_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None, ""
    return process.returncode, printed


def try_bug(bug: Bug, tree: Path) -> Verdict:
    """Plants one bug into a copy of the tree, and runs its tests there."""
    with planted(bug, tree):
        code, printed = run_tests(tree, [f"tests/{test}" for test in bug.tests])
    if code is None:
        return Verdict(TOO_SLOW)
    if code == 0:
        return Verdict(SURVIVED)
    failed = _FAILED.search(printed)
    if code != 1 or failed is None:
        return Verdict(BROKEN)
    test = failed.group(1)
    code, _ = run_tests(tree, [test])
    return Verdict(CAUGHT if code == 0 else UNSOUND, test.removeprefix("tests/"))


def try_bugs(bugs: Iterable[Bug], jobs: int) -> Iterator[tuple[Bug, Verdict, float]]:
    """Tries them, with the seconds that each took; `jobs` copies of the tree are in use."""
    with tempfile.TemporaryDirectory(prefix="holdfast-sabotage-") as directory:
        copies: SimpleQueue[Path] = SimpleQueue()
        for number in range(jobs):
            copies.put(Path(shutil.copytree(ROOT, f"{directory}/{number}", ignore=_LEFT_OUT)))

        def one(bug: Bug) -> tuple[Bug, Verdict, float]:
            tree, started = copies.get(), time.monotonic()
            try:
                return bug, try_bug(bug, tree), time.monotonic() - started
            finally:
                copies.put(tree)

        with ThreadPoolExecutor(jobs) as executor:
            yield from executor.map(one, bugs)


# ---------------------------------------------------------------- the table

_HEAD: Final = "| bug | goal, row | what it breaks | file | verdict | first test that fails |"


def read_verdicts(text: str) -> dict[str, Verdict]:
    """The verdicts that the table holds, by bug."""
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and len(cells) == 6:
            found[cells[0].strip("`")] = Verdict(cells[4], cells[5].strip("`"))
    return found


def score(verdicts: Mapping[str, Verdict]) -> tuple[int, int]:
    """(caught, planted)."""
    outcomes = Counter(verdict.outcome for verdict in verdicts.values())
    return outcomes[CAUGHT], outcomes.total()


def render(text: str, verdicts: Mapping[str, Verdict]) -> str:
    """The document with its score and table anew; the rest of it stays."""
    caught, total = score(verdicts)
    lines = [_HEAD, "|---|---|---|---|---|---|"]
    for bug in BUGS:
        outcome, test = verdicts[bug.id]
        name = f"`{test}`" if test else ""
        lines.append(
            f"| `{bug.id}` | {bug.row} | {bug.what} | {bug.file} | {outcome} | {name} |".replace(
                "|  |", "| |"
            )
        )
    before, _, rest = text.partition("<!-- table -->\n")
    _, _, after = rest.partition("<!-- end of table -->\n")
    table = "\n".join(lines)
    return (
        f"{before}<!-- table -->\n**{caught} of {total} caught.**\n\n{table}\n"
        f"<!-- end of table -->\n{after}"
    )


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("ids", nargs="*", metavar="ID", help="only these")
    parser.add_argument("--jobs", type=int, default=1)
    arguments = parser.parse_args()
    unknown = set(arguments.ids) - {bug.id for bug in BUGS}
    if unknown:
        parser.error(f"no such bug: {', '.join(sorted(unknown))}")
    chosen = [bug for bug in BUGS if not arguments.ids or bug.id in arguments.ids]
    known = read_verdicts(TABLE.read_text())
    verdicts = {bug.id: known.get(bug.id, Verdict(NOT_RUN)) for bug in BUGS}
    for bug, verdict, took_s in try_bugs(chosen, arguments.jobs):
        verdicts[bug.id] = verdict
        print(f"{bug.id}: {verdict.outcome} ({took_s:.0f} s) {verdict.test}", flush=True)
        TABLE.write_text(render(TABLE.read_text(), verdicts))
    caught, total = score({bug.id: verdicts[bug.id] for bug in chosen})
    print(f"{caught} of {total} caught")
    return 0 if caught >= CAUGHT_SHARE_MIN * total else 1


if __name__ == "__main__":
    sys.exit(main())
