"""The page's files: their kinds, their version, and those of this installation."""

from __future__ import annotations

from relay.web_files import CONTENT_TYPES, PAGE_NAME, PageFiles


def test_any_change_of_any_file_is_another_version() -> None:
    files = {"index.html": b"@VERSION@", "a.js": b"1", "b.css": b"2"}
    versions = {
        PageFiles(files).version,
        PageFiles({**files, "a.js": b"2"}).version,
        PageFiles({**files, "c.js": b""}).version,
        PageFiles({"index.html": b"@VERSION@", "b.js": b"1", "b.css": b"2"}).version,
    }
    assert len(versions) == 4
    assert PageFiles(dict(reversed(files.items()))).version == PageFiles(files).version


def test_the_page_names_its_version_and_has_no_address_of_its_own() -> None:
    files = PageFiles({"index.html": b"<script src=/s/-/@VERSION@/a.js>", "a.js": b""})
    assert files.page.content == f"<script src=/s/-/{files.version}/a.js>".encode()
    assert files.get("index.html") is None


def test_a_kind_that_is_not_in_the_table_is_not_served() -> None:
    files = PageFiles({"a.js": b"", "a.exe": b"", "a": b"", ".htaccess": b""})
    assert files.get("a.js") is not None
    for name in ("a.exe", "a", ".htaccess", "", "../a.js"):
        assert files.get(name) is None


def test_without_a_page_there_is_a_plain_one() -> None:
    page = PageFiles({}).page
    assert b"holdfast get" in page.content
    assert page.content_type == CONTENT_TYPES[".html"]


def test_the_files_of_this_installation_are_read() -> None:
    files = PageFiles.load()
    assert files.page.content
    assert PAGE_NAME == "index.html"
    assert len(files.version) == 16


def test_two_contents_have_two_tags() -> None:
    files = PageFiles({"a.js": b"1", "b.js": b"2"})
    tags = {file.etag for name in ("a.js", "b.js") if (file := files.get(name))}
    assert len(tags) == 2
