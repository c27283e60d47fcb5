"""What is said of command lines that cannot be meant so."""

import pytest

from peer.command_line.cli import main
from peer.command_line.mistakes import nearest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "A command is missing. `holdfast --help`"),
        (("stats",), "There is no command 'stats'. Did you mean `status`?"),
        (
            ("folder", "ad"),
            "There is no command 'ad'. Did you mean `add`? `holdfast folder --help`",
        ),
        (("xyz",), "There is no command 'xyz'. `holdfast --help`"),
        (("get",), "What is missing: URL. `holdfast get --help`"),
        (
            ("resolve", "a", "orginal"),
            "It has to be original or copy or both, not 'orginal'. Did you mean `original`?",
        ),
        (("relay", "add", "x"), "#FINGERPRINT. `holdfast relay add --help`"),
        (("config", "get", "history.day"), "Did you mean `history.days`?"),
    ],
)
def test_it_is_one_sentence_that_helps(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) != 0
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert ".." not in error
    assert "invalid choice" not in error


def test_nothing_is_guessed_that_is_not_near() -> None:
    assert nearest("qqqq", ["status", "get"]) == ""
