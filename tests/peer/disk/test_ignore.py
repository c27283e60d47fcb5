import re

import pytest

from peer.core.disk_types import Path
from peer.disk.ignore import IGNORE_BYTES_MAX, TRANSIENT, IgnoreRules


def as_path(text: str) -> Path:
    return tuple(text.rstrip("/").split("/"))


def ignored(rules: IgnoreRules, text: str) -> bool:
    return rules.is_ignored(as_path(text), text.endswith("/"))


def test_without_a_file_only_ours_and_editors_own_are_ignored() -> None:
    rules = IgnoreRules()
    for text in (".holdfast/", ".holdfast/x", ".a.txt.swp", "d/.~lock.b.odt#", "~$c.docx", ".#d"):
        assert ignored(rules, text)
    for text in (
        "a",
        ".swp",
        "a.swp",
        ".hidden",
        "~",
        "a~",
        "#a#",
        ".DS_Store",
        "d/.holdfast",
        "4913",
    ):
        assert not ignored(rules, text)
    assert not rules.is_ignored((), is_directory=True)
    assert not rules.has_patterns


def test_the_list_of_transient_names_is_the_whole_of_them() -> None:
    rules = IgnoreRules()
    for pattern in TRANSIENT:
        assert rules.is_name_ignored(pattern.replace("*", "some thing\n")), pattern
    listed = re.compile("|".join(re.escape(p).replace(r"\*", ".*") for p in TRANSIENT), re.DOTALL)
    for name in (".swp", "x.swp", ".x.swq", ".~lock.x", "~", "$x", "#x", ".goutputstream"):
        assert bool(listed.fullmatch(name)) == rules.is_name_ignored(name)


@pytest.mark.parametrize(
    ("text", "is_it"),
    [
        ("a.log", True),
        ("d/e/a.log", True),
        ("keep.log", False),
        ("build/", True),
        ("build", False),
        ("x/build/deep/f", True),
        ("build/keep.log", True),
        ("top", True),
        ("d/top", False),
        ("docs/a/b/f.tmp", True),
        ("docs/f.tmp", True),
        ("f.tmp", False),
        ("#odd", True),
    ],
)
def test_gitignore_syntax(text: str, is_it: bool) -> None:
    rules = IgnoreRules.decode(
        b"\xef\xbb\xbf# a comment\n\n*.log\r\n!keep.log\nbuild/\n/top\ndocs/**/*.tmp\n\\#odd\n"
    )
    assert rules.has_patterns
    assert ignored(rules, text) == is_it
    assert ignored(rules, text) == is_it


def test_nothing_comes_back_out_of_an_ignored_directory() -> None:
    rules = IgnoreRules(["cache/", "!cache/keep", "!cache/sub/"])
    assert ignored(rules, "cache/keep")
    assert ignored(rules, "cache/sub/")
    assert ignored(rules, "cache/sub/f")


def test_what_cannot_be_understood_is_an_error_and_not_no_rules() -> None:
    for data in (b"\xff\xfe", b"a" * (IGNORE_BYTES_MAX + 1)):
        with pytest.raises(ValueError, match=r"^\.holdfastignore is .*\.$"):
            IgnoreRules.decode(data)


def test_memory_is_bounded() -> None:
    rules = IgnoreRules(["*.log"])
    for number in range(10_000):
        rules.is_ignored((f"d{number}", "f"), is_directory=False)
    assert len(rules._directories) <= 4_096
