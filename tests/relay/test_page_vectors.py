"""The page's cryptography, as Node runs it, against the vectors that hold our own; and its parts
alone. What a browser does with them is in test_page.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.relay.page_sums import PAGE

VECTORS = Path(__file__).parents[1] / "vectors"
HERE = Path(__file__).parent
NOT_THE_PAGE_S = {
    "share link public",
    "share link token hash",
    "check share link revocation",
}
"""What a maker and a relay do."""
TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's folder as Node takes it, which has to be told that scripts are modules."""
    folder = tmp_path_factory.mktemp("page") / "page"
    shutil.copytree(PAGE, folder)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


def is_of_links(vector: dict[str, Any]) -> bool:
    operation = vector["operation"]
    if operation == "decompress":
        return bool(vector["input"]["codec"] == 1)
    return any(
        word in operation
        for word in ("share link", "shared chunk", "link manifest", "link pages", "upload")
    )


def link_vectors() -> dict[str, Any]:
    vectors = {}
    for folder in ("crypto", "link_manifest", "link_pages"):
        for path in sorted((VECTORS / folder).glob("*.toml")):
            vector = tomllib.loads(path.read_text())
            if is_of_links(vector) and vector["operation"] not in NOT_THE_PAGE_S:
                vectors[f"{folder}/{path.stem}"] = vector
    return vectors


@pytest.mark.row("A06")
@pytest.mark.row("A39")
def test_the_page_computes_what_the_vectors_say(modules: Path) -> None:
    vectors = link_vectors()
    done = subprocess.run(
        ["node", HERE / "page_vectors.mjs"],
        input=json.dumps({"page": str(modules), "vectors": vectors}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert {vector["operation"] for vector in vectors.values()} == set(said["operations"])
    wrong = {
        name: said["results"][name]
        for name, vector in vectors.items()
        if not is_as_expected(vector, said["results"][name])
    }
    assert wrong == {}


def is_as_expected(vector: dict[str, Any], result: dict[str, Any]) -> bool:
    if vector["expect"] != "success":
        return "error" in result
    if vector["operation"] in ("decode link manifest", "expand link pages"):
        return bool(result.get("output") == sorted(vector["output"]))
    return bool(result.get("output") == vector["output"])


def test_the_parts_of_the_page_alone(modules: Path) -> None:
    done = subprocess.run(
        ["node", "--test", HERE / "page_parts.mjs"],
        env={"PAGE": str(modules), "PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
