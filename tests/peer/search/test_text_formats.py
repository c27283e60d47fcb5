"""The text of files of every kind that is read, made here by hand."""

from __future__ import annotations

import io
import zipfile

import fpdf
import pytest
from defusedxml import EntitiesForbidden
from hypothesis import given
from hypothesis import strategies as st

from peer.search import text_formats
from peer.search.text_formats import bytes_wanted, ending_of, text_of, words_of

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def office(**parts: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in parts.items():
            archive.writestr(name.replace("__", "/") + ".xml", text)
    return out.getvalue()


def pdf(*pages: str) -> bytes:
    document = fpdf.FPDF()
    document.set_font("helvetica")
    for page in pages:
        document.add_page()
        document.cell(text=page)
    return bytes(document.output())


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.txt", "Über den Fluß".encode(), "Über den Fluß"),
        ("a.txt", "Über".encode("cp1252"), "Über"),
        ("a.txt", "Über".encode("utf-16"), "Über"),
        ("a.txt", b"\xef\xbb\xbfx", "x"),
        ("a.py", b"def walrus(): ...", "def walrus(): ..."),
        ("README", b"hello", "hello"),
        ("a.txt", b"\x7fELF\0\0", ""),
        ("a.html", b"<p>One&amp;<b>two</b><script>no</script><style>no</style>", "One& two"),
        ("a.pdf", pdf("An invoice", "of two pages"), "An invoice of two pages"),
        (
            "a.docx",
            office(word__document=f"<w:d {W}><w:p><w:t>Dear </w:t><w:t>Ann</w:t></w:p>"
                   "<w:p><w:t>Bye</w:t></w:p></w:d>", word__styles=f"<w:t {W}>no</w:t>"),
            "Dear Ann Bye",
        ),
        (
            "a.xlsx",
            office(xl__sharedStrings="<sst><si><t>Rent</t></si></sst>", xl__worksheets__sheet1=
                   '<w><row><c t="s"><v>0</v></c><c><v>740</v></c></row></w>'),
            "Rent 740",
        ),
        (
            "a.pptx",
            office(ppt__slides__slide10="<s><t>last</t></s>",
                   ppt__slides__slide2="<s><t>2</t></s>"),
            "2 last",
        ),
        (
            "a.odt",
            office(content="<d><p>One <b>bold</b> word</p><h>End</h></d>"),
            "One bold word End",
        ),
    ],
)  # fmt: skip
def test_what_a_file_says_is_read(name: str, data: bytes, words: str) -> None:
    assert bytes_wanted(name, len(data)) == len(data)
    assert text_of(name, data).split() == words.split()


def test_a_file_that_is_no_text_costs_nothing() -> None:
    assert bytes_wanted("a.jpeg", 10) == bytes_wanted("a", 10) == bytes_wanted(".bashrc", 10) == 0
    assert bytes_wanted("a.pdf", (16 << 20) + 1) == 0
    assert bytes_wanted("a.log", 1 << 40) == 4 << 20
    assert (ending_of("a.tar.GZ"), ending_of(".x"), ending_of("x")) == ("gz", "", "")


def test_entities_are_not_expanded() -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><d><p>&b;</p></d>'
    with pytest.raises(EntitiesForbidden):
        text_of("a.odt", office(content=bomb))


def test_a_part_that_expands_too_far_is_given_up() -> None:
    with pytest.raises(ValueError, match="expands"):
        text_of("a.odt", office(content=" " * (33 << 20)))


def test_a_text_is_no_longer_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_formats, "TEXT_LENGTH_MAX", 10)
    assert text_of("a.txt", b"x" * 50) == "x" * 10
    assert len(text_of("a.pdf", pdf("twelve words", "more"))) == 10


@given(st.binary(max_size=300))
def test_any_bytes_are_a_text_of_some_kind(data: bytes) -> None:
    assert isinstance(text_of("a.txt", data), str)
    assert isinstance(text_of("a.html", data), str)


def test_words_are_what_can_be_suggested() -> None:
    assert words_of("The Größe of x1 is 400 px_b, O'Hara") == {
        "the", "größe", "of", "x1", "is", "px", "hara",
    }  # fmt: skip
