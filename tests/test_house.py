"""The rules of the house that no linter knows: each test is one of them."""

import argparse
import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from enum import IntEnum
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import tomlkit

from peer.command_line.cli import make_parser
from peer.device.config import KEYS, Config
from peer.errors import every_error
from protocol import errors as protocol_errors
from protocol import messages

ROOT = Path(__file__).parent.parent
PACKAGES = ("crypto", "peer", "protocol", "relay", "tui")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
TEXTS = [
    *MODULES,
    *TESTS,
    *(ROOT / package / name for package in PACKAGES for name in ("SPEC.md", "THREATS.md")),
    *ROOT.glob("*.md"),
    ROOT / "Makefile",
    ROOT / "pyproject.toml",
    ROOT / ".ci" / "run",
]
README = (ROOT / "README.md").read_text()

MODULE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc", "impl"}
BROAD_DOORS = {
    "peer/command_line/cli.py": "the command line's door",
    "peer/control/control.py": "the control API's door: one request's defect is that request's",
    "peer/connectivity/network.py": "the session's edge: a defect with a peer is that link's",
    "peer/journal/desktop.py": "the desktop: whatever its bus answers, it is that notice's failure",
    "peer/search/text_child.py": "a file's text: whatever a broken file does, it is that file's",
    "peer/folders/openings.py": "a folder's task: a defect in one folder is that folder's",
    "relay/web_server.py": "a visitor's connection: what it breaks in hypercorn ends it alone",
    "relay/http3_server.py": "HTTP/3's door: what a visitor breaks there is that connection's",
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def trees(paths: list[Path]) -> Iterator[tuple[Path, ast.Module]]:
    for path in paths:
        yield path, parse(path)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


TESTED_WHOLE = {
    "peer/backup/backup_settings.py": "tests/peer/backup/test_backups.py",
    "peer/folders/progress.py": "tests/peer/test_daemon.py",
}
"""Wiring that has no test of its own yet: what runs it whole."""


def test_every_module_has_its_test() -> None:
    missing = [test for test in TESTED_WHOLE.values() if not (ROOT / test).exists()]
    for path in MODULES:
        if path.name in ("__init__.py", "__main__.py"):
            continue
        test = ROOT / "tests" / path.relative_to(ROOT).parent / f"test_{path.name}"
        if not test.exists() and name_of(path) not in TESTED_WHOLE:
            missing.append(name_of(path))
    assert missing == []


def test_the_code_map_names_every_module_of_a_device() -> None:
    map_ = (ROOT / "ARCHITECTURE.md").read_text().split("## Code map")[1].split("\n## ")[0]
    modules = [path.stem for path in MODULES if "peer" in path.parts and path.stem[0] != "_"]
    assert modules
    assert [module for module in modules if f"`{module}`" not in map_] == []


def test_every_folder_of_tests_is_a_package() -> None:
    """Without it, `tests/crypto` would be imported as `crypto`."""
    folders = {path.parent for path in TESTS}
    assert {name_of(folder) for folder in folders if not (folder / "__init__.py").exists()} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_distribution_brings_our_packages(package: str) -> None:
    """Two wheels with one folder overwrite each other silently, so a rival has to be noticed."""
    owners = importlib.metadata.packages_distributions().get(package, [])
    assert set(owners) <= {"holdfast"}


def test_modules_and_functions_stay_short() -> None:
    long = [
        name_of(path) for path in MODULES if len(path.read_text().splitlines()) > MODULE_LINES_MAX
    ]
    for path, tree in trees(MODULES):
        for function in functions(tree):
            assert function.end_lineno is not None
            if function.end_lineno - function.lineno >= FUNCTION_LINES_MAX:
                long.append(f"{name_of(path)}:{function.name}")
    assert long == []


def test_names_say_something() -> None:
    vague = [name_of(path) for path in MODULES if set(path.stem.split("_")) & VAGUE_NAMES]
    assert vague == []


def test_module_docstrings_are_sentences() -> None:
    silent = []
    for path, tree in trees(MODULES):
        first = (ast.get_docstring(tree) or "").split("\n\n")[0]
        if not re.match(r"\S.*[.:]$", " ".join(first.split())):
            silent.append(name_of(path))
    assert silent == []


def passes_on(handler: ast.ExceptHandler) -> bool:
    """Whether the handler only cleans up and raises again, or tells who waits for it."""
    last = ast.unparse(handler.body[-1])
    return last == "raise" or last.endswith(f".set_exception({handler.name})")


def test_defects_are_caught_at_the_doors_only() -> None:
    broad = []
    for path, tree in trees(MODULES):
        for node in ast.walk(tree):
            if not isinstance(node, ast.ExceptHandler) or passes_on(node):
                continue
            names = (
                {"BaseException"}
                if node.type is None
                else {name.id for name in ast.walk(node.type) if isinstance(name, ast.Name)}
            )
            if names & {"Exception", "BaseException"}:
                if name_of(path) not in BROAD_DOORS:
                    broad.append(f"{name_of(path)}:{node.lineno}")
    assert broad == []


def test_no_task_without_a_group() -> None:
    """A task that nobody holds can be collected while it runs, and its error is seen by nobody."""
    loose = []
    for path, tree in trees(MODULES):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (
                node.attr == "ensure_future"
                or (node.attr == "create_task" and "loop" in ast.unparse(node.value))
            ):
                loose.append(f"{name_of(path)}:{node.lineno}")
    assert loose == []


def test_what_grows_meanwhile_is_not_walked() -> None:
    """Who waits in the middle of a dictionary of an object's lets others change it: that ends the
    walk, and with it the daemon.
    """
    walks = []
    for path, tree in trees(MODULES):
        for node in ast.walk(tree):
            if isinstance(node, ast.For):
                walked, inside = node.iter, list[ast.AST](node.body)
            elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp):
                walked, inside = node.generators[0].iter, [node]
            else:
                continue
            is_live = (
                isinstance(walked, ast.Call)
                and isinstance(walked.func, ast.Attribute)
                and walked.func.attr in ("keys", "values", "items")
                and isinstance(walked.func.value, ast.Attribute)
            )
            if is_live and any(isinstance(n, ast.Await) for part in inside for n in ast.walk(part)):
                walks.append(f"{name_of(path)}:{node.lineno}")
    assert walks == []


def test_no_test_is_left_out() -> None:
    left_out = re.compile(r"pytest\.(mark\.)?(skip|xfail|importorskip)" + r"|@unittest\.skip")
    found = [name_of(path) for path in TESTS if left_out.search(path.read_text())]
    assert found == []


def test_texts_hold_nothing_unfinished_and_nothing_of_one_machine() -> None:
    unfinished = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error"))
    machine = r"/(work|root|farm)/" + r"|/home/\w+/|/Users/\w+/"
    found = []
    for path in TEXTS:
        if not path.exists():
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(rf"\b({unfinished})\b|{machine}", line):
                found.append(f"{name_of(path)}:{number}")
    assert found == []


def table_rows(text: str, heading: str) -> list[list[str]]:
    """The rows of the table under a heading; a cell's ends and its code marks taken off."""
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_the_readme_lists_every_error() -> None:
    expected = [
        [str(error.exit_code), f"`{error.code}`", error.sentence()]
        for error in every_error()
        if error.__module__ == "peer.errors"
    ]
    assert table_rows(README, "Exit codes") == expected


def every_command(parser: argparse.ArgumentParser, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        for name, command in action.choices.items():
            if command.get_default("act") is not None:
                yield f"{prefix}{name}", command
            yield from every_command(command, f"{prefix}{name} ")


def usage_of(name: str, parser: argparse.ArgumentParser) -> str:
    """The command as the README writes it: what every command takes is left out."""
    words = [name]
    for action in parser._actions:
        if action.dest in ("help", "home", "json", "verbose"):
            continue
        if isinstance(action, argparse._SubParsersAction):
            continue  # they are commands of their own
        value = "{" + ",".join(action.choices) + "}" if action.choices else action.metavar
        if action.option_strings:
            value = "" if action.nargs == 0 else f" {value or action.dest.upper()}"
            word = f"{action.option_strings[0]}{value}"
            words.append(word if action.required else f"[{word}]")
        else:
            words.append(f"[{value}]" if action.nargs == "?" else str(value))
    return " ".join(words)


def test_the_readme_lists_every_command() -> None:
    expected = [
        [f"`holdfast {usage_of(name, parser)}`", parser.description]
        for name, parser in every_command(make_parser())
    ]
    assert table_rows(README, "Commands") == expected


def test_the_readme_lists_every_key_of_the_configuration() -> None:
    defaults = Config()
    expected = [
        [
            f"`{key.dotted}`",
            f"`{tomlkit.item(key.write(getattr(defaults, field))).as_string()}`",
            key.allowed,
        ]
        for field, key in KEYS.items()
    ]
    assert table_rows(README, "Configuration") == expected


def classes_of(module: ModuleType) -> list[type]:
    found = [value for value in vars(module).values() if isinstance(value, type)]
    return [value for value in found if value.__module__ == module.__name__]


def test_the_specification_names_every_message_and_every_code() -> None:
    specification = (ROOT / "protocol" / "SPEC.md").read_text()
    names = [
        member.name
        for module in (messages, protocol_errors)
        for enum in classes_of(module)
        if issubclass(enum, IntEnum)
        for member in enum
    ]
    assert names
    assert [name for name in names if not re.search(rf"\b{name}\b", specification)] == []


def test_the_layers_are_checked_for_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert (
        sorted(wheel)
        == sorted(settings["tool"]["importlinter"]["root_packages"])
        == sorted(PACKAGES)
    )


def test_the_changelog_starts_with_what_is_unreleased() -> None:
    headings = re.findall(r"^## .*$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "## [Unreleased]"
