"""Names for what strangers put in."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.share_links.upload_names import (
    DEPTH_MAX,
    directory_name,
    numbered,
    safe_names,
    shown_label,
)
from protocol.names import NAME_BYTES_MAX, name_problem

WHEN = datetime(2026, 11, 27)


@pytest.mark.row("A34")
@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("a.jpg", ("a.jpg",)),
        ("Trip/Day 1/a.jpg", ("Trip", "Day 1", "a.jpg")),
        ("../../etc/passwd", ("etc", "passwd")),
        ("/etc/passwd", ("etc", "passwd")),
        ("..\\..\\boot.ini", ("boot.ini",)),
        ("C:\\x", ("C_", "x")),
        ("", ("file",)),
        ("/", ("file",)),
        ("..", ("file",)),
        (".holdfast/folder-id", ("_holdfast", "folder-id")),
        (".holdfastignore", ("_holdfastignore",)),
        ("CON", ("_CON",)),
        ("nul.txt", ("_nul.txt",)),
        ("a\x00b\x1b[2J", ("ab[2J",)),
        ("fdp.exe\u202egpj", ("fdp.exegpj",)),
        ("trailing. ", ("trailing",)),
        ('a"b*c:d<e>f?g|h', ("a_b_c_d_e_f_g_h",)),
        ("e\u0301", ("\u00e9",)),
        ("\ud800", ("file",)),
    ],
)
def test_a_sender_s_path_leads_nowhere_else(path: str, names: tuple[str, ...]) -> None:
    assert safe_names(path) == names


@given(st.text(st.characters(), max_size=400))
def test_every_name_is_safe_whatever_was_sent(text: str) -> None:
    for name in (*safe_names(text), directory_name(text, WHEN)):
        assert name_problem(name) is None
        assert not name.startswith(".")
        assert len(numbered(name, 9999).encode()) <= NAME_BYTES_MAX
        assert name_problem(numbered(name, 9999)) is None


def test_long_names_keep_their_ending_and_deep_paths_their_last_name() -> None:
    (name,) = safe_names("x" * 400 + ".jpg")
    assert name.endswith("x.jpg")
    (plain,) = safe_names("x" * 200 + "." + "y" * 200)
    assert plain.startswith("x" * 200 + ".y")
    deep = safe_names("d/" * 100 + "a.jpg")
    assert deep == ("d",) * DEPTH_MAX + ("a.jpg",)


def test_a_directory_says_who_and_when() -> None:
    assert directory_name("Ada", WHEN) == "From Ada (2026-11-27)"
    assert directory_name("  ", WHEN) == "Received 2026-11-27"
    assert shown_label(" A\n\x1b b\u202e ") == "A b"


def test_numbers_stand_before_the_ending() -> None:
    assert [numbered("a.jpg", n) for n in (1, 2)] == ["a.jpg", "a (2).jpg"]
    assert numbered("README", 3) == "README (3)"
