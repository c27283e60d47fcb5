"""A file that hangs, unfolds or breaks its reader costs itself and nothing else."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator

import pytest

from peer.search.text_reader import TextReader, TextUnreadable


@pytest.fixture
def reader() -> Iterator[TextReader]:
    one = TextReader()
    yield one
    one.close()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_text_comes_with_its_words(reader: TextReader) -> None:
    assert reader.read("a.txt", b"Two words, two") == ("Two words, two", ["two", "words"])
    first = reader.pid
    assert reader.read("n" * 5000 + ".txt", b"") == ("", [])
    assert reader.pid == first


def test_what_is_broken_is_told_and_the_process_goes_on(reader: TextReader) -> None:
    with pytest.raises(TextUnreadable):
        reader.read("a.pdf", b"%PDF-1.7 and no more")
    first = reader.pid
    assert reader.read("a.txt", b"x").text == "x"
    assert reader.pid == first


def bomb() -> bytes:
    """An archive whose one part unfolds to 256 MiB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("content.xml", "w", force_zip64=True) as part:
            for _ in range(256):
                part.write(bytes(1 << 20))
    return out.getvalue()


def test_a_bomb_is_not_unfolded(reader: TextReader) -> None:
    with pytest.raises(TextUnreadable):
        reader.read("a.odt", bomb())
    assert reader.read("a.txt", b"x").text == "x"


def test_what_takes_too_long_is_ended(reader: TextReader) -> None:
    reader.read("a.txt", b"")
    first = reader.pid
    assert first is not None
    impatient = reader._wall_s_max
    reader._wall_s_max = 0.0
    with pytest.raises(TextUnreadable, match="too long"):
        reader.read("a.txt", b"x" * (1 << 22))
    reader._wall_s_max = impatient
    assert not is_alive(first)
    assert reader.read("a.txt", b"x").text == "x"
    assert reader.pid != first


def test_a_process_that_ended_is_started_again(reader: TextReader) -> None:
    reader.read("a.txt", b"")
    assert reader.pid is not None
    os.kill(reader.pid, 9)
    with pytest.raises(TextUnreadable):
        reader.read("a.txt", b"x")
    assert reader.read("a.txt", b"x").text == "x"


def test_closing_leaves_no_process() -> None:
    reader = TextReader()
    reader.read("a.txt", b"")
    pid = reader.pid
    assert pid is not None
    reader.close()
    reader.close()
    assert not is_alive(pid)
