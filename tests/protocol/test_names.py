"""Names that a hostile member, another platform or an old disk can come up with (ATTACKS A34)."""

from __future__ import annotations

import itertools
import unicodedata
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import BadName
from protocol.names import (
    LABEL_LENGTH_MAX,
    NAME_BYTES_MAX,
    check_label,
    check_name,
    conflict_name,
    exact_key,
    fold_key,
    name_problem,
    without_conflict_mark,
)

DEVICES = ["con", "prn", "aux", "nul"] + [
    f"{port}{digit}" for port in ("com", "lpt") for digit in "0123456789¹²³"
]
CONTROLS = [chr(i) for i in (*range(0x20), *range(0x7F, 0xA0))]
REFUSED = [
    "", ".", "..", "/", "\\", "a/b", "/a", "a/", "../a", "..\\a", "a\\b", "\\\\server\\share",
    "C:\\a", "C:/a", "//a", "a/../../b", "./a", ".holdfast",
    # What Windows strips or keeps for itself.
    *("a.", "a ", "a. ", "a .", "...", ". .", " ", "   ", "a.txt.", "a.txt "),
    *DEVICES, *(d.upper() for d in DEVICES), *(d.capitalize() for d in DEVICES),
    *(d + ".txt" for d in DEVICES), *(d.upper() + ".tar.gz" for d in DEVICES),
    *(d + " .txt" for d in DEVICES), *(d + "." for d in DEVICES),
    # What a terminal obeys, at every place of a name.
    *CONTROLS, *("a" + c for c in CONTROLS), *(c + "a" for c in CONTROLS),
    *("a" + c + "b.txt" for c in CONTROLS),
    "\x1b]0;title\x07", "a\x00.txt", "a\nb", "a\rb", "\x9b31m",
    # Longer than a disk takes, counted in bytes.
    "a" * 256, "a" * 1000, "é" * 128, "😀" * 64, "a" * 252 + "😀", "a" * 251 + ".txtx",
    # Not NFC: decomposed, singletons, Hangul jamo, wrong order of marks.
    *(unicodedata.normalize("NFD", n) for n in ("é", "Å", "ö.txt", "ñandú", "한", "ệ")),
    "\u212b", "\u2126", "\u212a", "a\u0301", "q\u0307\u0323", "\u1100\u1161", "\uf900", "\u0374",
    # Not Unicode: what os.fsdecode makes of other bytes.
    "\ud800", "a\udcffb", "\udc80.txt", "\udfff",
]  # fmt: skip
ALLOWED = [
    "a", "A", "ab", "con1", "CON1", "conf", "co", "com", "COM", "lpt", "com10", "null",
    "auxiliary",
    "nul_", "_con", "a.con", "a con", "com1x", "Console.app", "prnt", "lptx", "com¼",
    *(f"{a}{b}{c}" for a, b, c in itertools.product("aZ9", repeat=3)),
    *("a" * n for n in (1, 2, 3, 4, 5, 199, 200, 201, 254, 255)),
    "é", "ö.txt", "한글", "日本語.txt", "é" * 127, "😀" * 63, "ß", "İ", "\u0131",
    "\u017f", "ﬁ", "K",
    "👩‍👩‍👧",
    "a b", " a", "  a", "-", "--help", "-rf", "~", "~a", "#a#", ".a", ".git", ".profile", "..a",
    "...a",
    ".holdfast2", ".holdfas", "holdfast", ".Holdfast ".strip() + "x", "*", "?", "a:b",
    "a|b", '"', "<a>",
    "$HOME", "`id`", "$(id)", ";", "&", "'", "!", "%00", "%2e%2e", "a%2fb", "{}", "[a]", "@",
    "=1+1",
    "\u202egnp.exe", "a\u200bb", "\ufeffa", "\u2028x", "a\u00a0b", "\u2215", "\uff0f",
    "\u2024\u2024",
    "index.html", "archive.tar.gz", "Thumbs.db", "desktop.ini", ".DS_Store", "a (conflict)",
    "a(b)",
]  # fmt: skip


@pytest.mark.row("A34")
@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_could_do_harm_is_refused_with_a_sentence(name: str) -> None:
    problem = name_problem(name)
    assert problem is not None
    assert problem.startswith("the name ")
    assert problem.isprintable()
    with pytest.raises(BadName, match="the name"):
        check_name(name)


@pytest.mark.parametrize("name", ALLOWED, ids=ascii)
def test_a_name_that_a_person_may_choose_is_allowed(name: str) -> None:
    check_name(name)


@pytest.mark.row("A34")
def test_the_corpus_is_large_enough() -> None:
    assert len({*REFUSED, *ALLOWED}) >= 400
    assert not {*REFUSED} & {*ALLOWED}


@pytest.mark.row("A34")
@given(st.text(max_size=300))
def test_an_allowed_name_stays_in_its_directory_and_fits_every_disk(name: str) -> None:
    if name_problem(name) is None:
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\\0")
        assert len(name.encode()) <= NAME_BYTES_MAX
        assert exact_key(name) == name
        assert not any(unicodedata.category(c) == "Cc" for c in name)


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_keys_are_stable_and_folding_is_the_coarser_one(name: str) -> None:
    assert exact_key(exact_key(name)) == exact_key(name)
    assert fold_key(fold_key(name)) == fold_key(name)
    assert exact_key(unicodedata.normalize("NFD", name)) == exact_key(name)
    assert fold_key(exact_key(name)) == fold_key(name)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("A", "a"),
        ("É", "é"),
        ("STRASSE", "straße"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
        ("ﬁ", "FI"),
        ("\u212b", "å"),
    ],
)
def test_names_that_clash_on_a_folding_disk_only(left: str, right: str) -> None:
    assert fold_key(left) == fold_key(right)
    assert exact_key(left) != exact_key(right)


def test_two_spellings_of_one_name_are_one_name() -> None:
    assert exact_key("e\u0301") == exact_key("é")
    assert fold_key("E\u0301") == fold_key("é")


# ---------------------------------------------------------------- conflict names

labels = (
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=64)
    .map(exact_key)
    .filter(lambda label: not label_problem(label))
)
names = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=260).map(exact_key), st.sampled_from(ALLOWED)
).filter(lambda name: name_problem(name) is None)


def label_problem(label: str) -> str | None:
    try:
        check_label(label)
    except BadName as error:
        return str(error)
    return None


def test_the_form_of_a_conflict_name() -> None:
    time_s = int(datetime(2024, 2, 29, 23, 59, tzinfo=UTC).timestamp())
    assert conflict_name("a.txt", "Laptop", time_s) == "a (conflict Laptop 2024-02-29 2359).txt"
    assert conflict_name("a.tar.gz", "L", 0) == "a.tar (conflict L 1970-01-01 0000).gz"
    assert conflict_name("a", "L", 0) == "a (conflict L 1970-01-01 0000)"
    assert conflict_name(".profile", "L", 0) == ".profile (conflict L 1970-01-01 0000)"
    assert conflict_name("a", "L", 0, "beef") == "a (conflict L 1970-01-01 0000 beef)"


@given(names, labels, st.integers(-(1 << 63), 1 << 63), st.sampled_from(["", "beef", "0" * 64]))
def test_a_conflict_name_is_a_name_and_never_nested(
    name: str, label: str, time_s: int, tag: str
) -> None:
    first = conflict_name(name, label, time_s, tag)
    assert name_problem(first) is None
    assert len(first.encode()) <= NAME_BYTES_MAX
    assert f" (conflict {label} " in first
    second = conflict_name(first, "Other", 0, tag)
    assert second.count("(conflict Other ") == 1
    assert second.count(" (conflict ") == 1 + without_conflict_mark(name).count(" (conflict ")
    assert without_conflict_mark(second) == without_conflict_mark(without_conflict_mark(second))


@given(names.filter(lambda n: len(n.encode()) < 100 and " (" not in n), labels)
def test_the_mark_can_be_taken_out_again(name: str, label: str) -> None:
    assert without_conflict_mark(conflict_name(name, label, 0)) == name


@pytest.mark.parametrize(
    "name", ["a" * 255, "é" * 127, "😀" * 63, "a." + "x" * 253, "." + "x" * 254]
)
def test_a_long_name_gives_way_to_the_mark(name: str) -> None:
    made = conflict_name(name, "L" * 64, 0, "0" * 64)
    assert len(made.encode()) <= NAME_BYTES_MAX
    assert name_problem(made) is None
    assert "(conflict " in made


def test_different_tags_give_different_names_however_long_the_name() -> None:
    made = {conflict_name("é" * 127, "L", 0, "0" * length) for length in (0, 4, 8, 16, 64)}
    assert len(made) == 5


def test_every_mark_goes() -> None:
    assert without_conflict_mark("a (conflict X 1) (conflict Y 2).txt") == "a.txt"
    assert without_conflict_mark("a (conflict).txt") == "a (conflict).txt"


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize(
    "label", ["Laptop", "Anna's laptop", "日本", "a" * LABEL_LENGTH_MAX, "a.b-c_d", "é"]
)
def test_a_device_may_call_itself_so(label: str) -> None:
    check_label(label)


@pytest.mark.parametrize(
    "label",
    ["", " ", "a ", " a", "a.", ".a", "a" * (LABEL_LENGTH_MAX + 1), "e\u0301",
     *(f"a{c}b" for c in '()/\\<>:"|?*\n\x1b\x00\x7f\x9b\ud800')],
    ids=ascii,
)  # fmt: skip
def test_a_device_may_not_call_itself_so(label: str) -> None:
    with pytest.raises(BadName, match="device"):
        check_label(label)
