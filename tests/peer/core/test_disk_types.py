import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.core.disk_types import Kind, Stat, is_unchanged, name_problem, symlink_leaves
from protocol import names

FILE = Stat(Kind.FILE, 7, 0, 100, 5_000, 6_000, False)


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "a/b", "a\\b", "a\0b", "a\nb", "a\x7f", "a\x85b", "end.", "end ", "...",
        "CON", "con.txt", "Prn", "aux.tar.gz", "nul", "COM1", "lpt9.log", "com¹",
        ".holdfast", "a" * 256, "ä" * 128, "bad\udcff",
    ],
)  # fmt: skip
def test_hostile_names_are_refused_with_a_sentence(name: str) -> None:
    reason = name_problem(name)
    assert reason is not None
    assert reason.endswith(".")


@pytest.mark.parametrize(
    "name",
    [
        "a", ".hidden", "..a", "package.json", "console", "Concert.mp3", "com10", "lpt", "12:30",
        "größe", "файл", "e\u0301", "a" * 255, "ä" * 127, "what?", 'say "so"', ".holdfastignore",
    ],
)  # fmt: skip
def test_ordinary_names_are_not(name: str) -> None:
    assert name_problem(name) is None


@given(st.text(st.sampled_from("aA.: \\/~\x00\x1f\x7fcCoOnN1é\u0301\ud800"), max_size=6))
def test_what_is_listed_is_what_may_be_told(name: str) -> None:
    """One rule: a name that is listed here and refused elsewhere, or the reverse, never settles."""
    assert (name_problem(name) is None) == (names.name_problem(names.exact_key(name)) is None)


@given(st.text())
def test_a_good_name_is_one_plain_component(name: str) -> None:
    if name_problem(name) is None:
        assert name not in ("", ".", "..")
        assert not set(name) & set("/\\\0")
        assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (("a",), "/etc/passwd"),
        (("a",), ".."),
        (("a",), "../x"),
        (("d", "a"), "../../x"),
        (("d", "a"), "x/../../.."),
        (("d", "e", "a"), "link/.."),
        (("a",), ""),
    ],
)
def test_symlinks_that_leave(path: tuple[str, ...], target: str) -> None:
    assert symlink_leaves(path, target)


@pytest.mark.parametrize(
    ("path", "target"),
    [(("a",), "b"), (("a",), "./b/c"), (("d", "a"), "../b"), (("d", "e", "a"), "../../b//c")],
)
def test_symlinks_that_stay(path: tuple[str, ...], target: str) -> None:
    assert not symlink_leaves(path, target)


def test_any_field_that_tells_of_a_change_counts() -> None:
    assert is_unchanged(FILE, FILE)
    assert not is_unchanged(FILE, None)
    for changed in (
        FILE._replace(inode=8),
        FILE._replace(device=1),
        FILE._replace(size=101),
        FILE._replace(mtime_ns=5_001),
    ):
        assert not is_unchanged(FILE, changed, is_renamed=True)
    assert not is_unchanged(FILE, FILE._replace(kind=Kind.SYMLINK))


def test_a_new_ctime_is_a_change_but_for_our_own_rename() -> None:
    touched = FILE._replace(ctime_ns=6_001)
    assert not is_unchanged(FILE, touched)
    assert is_unchanged(FILE, touched, is_renamed=True)


def test_a_directory_is_its_inode() -> None:
    directory = FILE._replace(kind=Kind.DIRECTORY)
    assert is_unchanged(directory, directory._replace(size=1, mtime_ns=1, ctime_ns=1))
    assert not is_unchanged(directory, directory._replace(inode=8))
