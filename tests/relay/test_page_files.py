"""The page's files: what may be in them, whose they are, and that they come with the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.relay.page_sums import PAGE, SUMS, page_files, sums

ROOT = Path(__file__).parents[2]
VENDORED = {
    "vendor-argon2.js": "acfe11b015852f593aaddc51116f71dc7850e4551e6b34d42c1f88cf39635f03",
    "vendor-client-zip.js": "28c957c53d8e5290951d4b45ccff8ab8c9c37219da08b9d537bbdd595a75706d",
    "vendor-fzstd.js": "1a901fc5a58c349bbdb4f2aa1e688637ef56891ec58243a9f0cd863166b0d2a4",
}
OURS = [path for path in page_files() if not path.name.startswith("vendor-")]
LINES_MAX = 300


@pytest.mark.row("A40")
def test_the_published_hashes_are_those_of_the_files() -> None:
    assert SUMS.read_text() == sums(), "write them anew: python -m tests.relay.page_sums"


def test_what_is_others_work_is_as_it_was_published() -> None:
    lines = [line.split("  ") for line in SUMS.read_text().splitlines()]
    vendored = {name: hashed for hashed, name in lines if name.startswith("vendor-")}
    assert vendored == VENDORED
    licences = (PAGE / "LICENSES.txt").read_text()
    for name in VENDORED:
        assert re.search(rf"^{re.escape(name)}: \S+ \d+\.\d+\.\d+, package/", licences, re.M)


@pytest.mark.row("A38")
def test_the_page_asks_nobody_but_its_own_relay() -> None:
    for path in OURS:
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        if path.name != "LICENSES.txt":
            assert re.findall(r"(?:https?:|[\"'`])//", text) == [], path.name


@pytest.mark.row("A38")
def test_nothing_is_inline_and_nothing_becomes_markup() -> None:
    page = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|javascript:", page)
    markup = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|srcdoc|\beval\b|new Function"
    storage = r"localStorage|sessionStorage|indexedDB|document\.cookie|\bcaches\b"
    for path in OURS:
        if path.suffix == ".js":
            text = path.read_text()
            if path.name == "upload_begun.js":
                # What it keeps, test_upload_page looks at: no secret of the link, and no name.
                text = text.replace("indexedDB", "")
            assert not re.search(f"{markup}|{storage}", text), path.name


def test_the_page_s_modules_stay_short() -> None:
    scripts = [path for path in OURS if path.suffix == ".js"]
    assert [p.name for p in scripts if len(p.read_text().splitlines()) > LINES_MAX] == []
    assert [p.name for p in scripts if not p.read_text().startswith("/**")] == []


def test_every_file_of_the_page_comes_with_the_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "relay" in wheel["packages"]
    assert wheel["exclude"] == ["*.md"]
    assert [path.name for path in page_files() if path.suffix == ".md"] == []
