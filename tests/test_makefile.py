"""What a fresh clone shows while its virtual environment is made, with a Python in its place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit; fi
echo "Collecting aioquic<2,>=1.2 (from holdfast==0.1.0)"
echo "  Downloading aioquic-1.2.0.whl (1.5 MB)"
exit {exit_code}
"""


def make(directory: Path, exit_code: int) -> subprocess.CompletedProcess[str]:
    """Runs the rule that installs; pip ends with this exit code."""
    for name in ("Makefile", "pyproject.toml"):
        (directory / name).write_text((ROOT / name).read_text())
    python = directory / "python"
    python.write_text(PYTHON.format(exit_code=exit_code))
    python.chmod(0o755)
    # `make test` may have started this: what it hands down is for its own rules.
    environment = {name: value for name, value in os.environ.items() if "MAKE" not in name}
    return subprocess.run(
        ["make", f"PYTHON={python}", ".venv/installed-from-pyproject"],
        cwd=directory, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip


def test_it_says_what_takes_so_long(tmp_path: Path) -> None:
    done = make(tmp_path, 0)
    assert done.returncode == 0
    told, package = done.stdout.splitlines()
    assert "in a minute or a few" in told
    assert package == "  aioquic"


@pytest.mark.parametrize("times", [1, 2])
def test_what_could_not_be_installed_is_not_taken_for_installed(tmp_path: Path, times: int) -> None:
    for _ in range(times):
        assert make(tmp_path, 1).returncode != 0
        assert not (tmp_path / ".venv" / "installed-from-pyproject").exists()
