"""The text in a file, by the ending of its name: plain, source, HTML, PDF and office documents.

Pure functions over bytes that nobody vouches for: they run in a process of their own, which is
ended when one takes too long or too much (text_child.py).
"""

from __future__ import annotations

import codecs
import io
import re
import zipfile
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from typing import Final

TEXT_LENGTH_MAX: Final = 1 << 20
"""Characters of one file that are kept: a book has some 600,000."""
PLAIN_BYTES_MAX: Final = 4 << 20
"""Of a text file no more is read: what is longer is a log or data, and its start says what it is.
"""
WHOLE_BYTES_MAX: Final = 16 << 20
"""A PDF or office document must be read whole; what is larger is found by its name alone."""
XML_BYTES_MAX: Final = 32 << 20
"""One part of an office document, expanded."""
PARTS_MAX: Final = 500
PAGES_MAX: Final = 2_000
WORD: Final = re.compile(r"[^\W\d_][^\W_]{1,23}")
"""What is offered as a completion: letters first, so that no numbers fill the vocabulary."""

PLAIN: Final = frozenset(
    "txt text md markdown rst org tex bib adoc csv tsv log json jsonl yaml yml toml ini cfg conf"
    " xml svg srt vtt eml ics vcf diff patch py pyi rs c h cc cpp hpp go js mjs ts tsx jsx java kt"
    " swift rb pl php lua r jl hs ml scala cs fs dart sh bash zsh fish ps1 bat sql css scss less"
    " vue proto graphql tf cmake mk gradle el clj ex exs erl nix".split()
)
MARKUP: Final = frozenset(("html", "htm", "xhtml"))
OFFICE: Final = frozenset(("docx", "xlsx", "pptx", "odt", "ods", "odp"))
NAMES: Final = frozenset(("readme", "makefile", "dockerfile", "license", "copying", "changelog"))
"""Files that are text and have no ending."""


def ending_of(name: str) -> str:
    """What stands behind the last dot, in small letters; empty if there is none."""
    stem, dot, ending = name.rpartition(".")
    return ending.lower() if dot and stem else ""


def bytes_wanted(name: str, size: int) -> int:
    """How many bytes of a file are needed for its text; 0 if it has none that is known."""
    ending = ending_of(name)
    if ending in PLAIN or ending in MARKUP or (not ending and name.lower() in NAMES):
        return min(size, PLAIN_BYTES_MAX)
    if ending in OFFICE or ending == "pdf":
        return size if size <= WHOLE_BYTES_MAX else 0
    return 0


def text_of(name: str, data: bytes) -> str:
    """The text; raises whatever a broken file makes its format's reader raise."""
    ending = ending_of(name)
    read = _READERS.get(ending, _plain)
    pieces, length = [], 0
    for piece in read(data):
        pieces.append(piece)
        length += len(piece)
        if length >= TEXT_LENGTH_MAX:
            break
    return "".join(pieces)[:TEXT_LENGTH_MAX].replace("\0", " ")


def words_of(text: str) -> set[str]:
    """The words that can be offered while somebody types."""
    return set(WORD.findall(text.lower()))


def _decoded(data: bytes) -> str:
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    ):
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    if b"\0" in data[:8192]:
        return ""  # no text, whatever it is called
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        if error.start > len(data) - 4:  # cut in the middle of a character
            return data[: error.start].decode()
        return data.decode("cp1252", "replace")


def _plain(data: bytes) -> Iterator[str]:
    yield _decoded(data)


class _Visible(HTMLParser):
    """Gathers what a reader of the page would see."""

    HIDDEN: Final = frozenset(("script", "style", "template", "noscript"))

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Counts what is not shown."""
        self._hidden += tag in self.HIDDEN
        self.pieces.append(" ")

    def handle_endtag(self, tag: str) -> None:
        """Counts it down."""
        self._hidden = max(0, self._hidden - (tag in self.HIDDEN))
        self.pieces.append(" ")

    def handle_data(self, data: str) -> None:
        """Text of the page."""
        if not self._hidden:
            self.pieces.append(data)


def _markup(data: bytes) -> Iterator[str]:
    parser = _Visible()
    parser.feed(_decoded(data))
    parser.close()
    yield "".join(parser.pieces)


def _pdf(data: bytes) -> Iterator[str]:
    from pypdf import PdfReader

    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        return
    for number, page in enumerate(reader.pages):
        if number == PAGES_MAX:
            return
        yield page.extract_text() + "\n"


_PARTS: Final[dict[str, re.Pattern[str]]] = {
    "docx": re.compile(r"word/(document|footnotes|endnotes|comments|header\d*|footer\d*)\.xml"),
    "xlsx": re.compile(r"xl/(sharedStrings|worksheets/sheet\d+)\.xml"),
    "pptx": re.compile(r"ppt/(slides/slide|notesSlides/notesSlide)\d+\.xml"),
    "odt": re.compile(r"content\.xml"),
    "ods": re.compile(r"content\.xml"),
    "odp": re.compile(r"content\.xml"),
}
_ENDS_LINE: Final = frozenset(("p", "h", "row", "si", "br", "table-row"))
_ENDS_WORD: Final = frozenset(("tab", "s", "c", "table-cell"))


def _office(ending: str) -> Callable[[bytes], Iterator[str]]:
    def read(data: bytes) -> Iterator[str]:
        is_open = ending.startswith("o")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if _PARTS[ending].fullmatch(name)]
            for name in sorted(names, key=_in_order)[:PARTS_MAX]:
                with archive.open(name) as part:
                    xml = part.read(XML_BYTES_MAX + 1)
                if len(xml) > XML_BYTES_MAX:
                    raise ValueError(f"{name} expands to more than is read")
                yield from _texts(xml, takes_all=is_open)
                yield "\n"

    return read


def _in_order(name: str) -> tuple[int, str]:
    """Slides and sheets by their numbers."""
    digits = re.search(r"(\d+)\.xml$", name)
    return (int(digits[1]) if digits else 0, name)


class _Gathered:
    """What XML's parser tells becomes text: in OpenDocument all there is, in Office that of `t` and
    a sheet's plain values.
    """

    def __init__(self, *, takes_all: bool) -> None:
        self.pieces: list[str] = []
        self._takes_all, self._is_shared, self._takes = takes_all, False, takes_all

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """An element begins."""
        name = tag.rpartition("}")[2]
        if name == "c":
            self._is_shared = attributes.get("t") == "s"  # its value is a shared string's number
        self._takes = self._takes_all or name == "t" or (name == "v" and not self._is_shared)

    def data(self, data: str) -> None:
        """Text in the element that began last."""
        if self._takes:
            self.pieces.append(data)

    def end(self, tag: str) -> None:
        """An element ends."""
        name = tag.rpartition("}")[2]
        self._takes = self._takes_all
        if name in _ENDS_LINE:
            self.pieces.append("\n")
        elif name in _ENDS_WORD:
            self.pieces.append(" ")

    def close(self) -> str:
        """The document ends."""
        return "".join(self.pieces)


def _texts(xml: bytes, *, takes_all: bool) -> Iterator[str]:
    from defusedxml.ElementTree import DefusedXMLParser

    parser = DefusedXMLParser(target=_Gathered(takes_all=takes_all))
    parser.feed(xml)
    yield parser.close()


_READERS: Final[dict[str, Callable[[bytes], Iterator[str]]]] = {
    "pdf": _pdf,
    **dict.fromkeys(MARKUP, _markup),
    **{ending: _office(ending) for ending in OFFICE},
}
