"""The newest lines of the daemon's log: so many, safe, and without a secret."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from peer.errors import UsageError
from peer.journal import daemon_log
from peer.journal.daemon_log import LINE_LENGTH_MAX, LINES_MAX, PAGE, DaemonLog
from peer.log_format import PACKAGES
from protocol.kit import encode_kit
from protocol.relay_token import format_token
from tests.peer.device_stage import devices, shows, until


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, DaemonLog]]:
    """A logger that goes there alone."""
    kept, logger = DaemonLog(), logging.getLogger("tests.daemon_log")
    logger.propagate = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(kept)
    yield logger, kept
    logger.removeHandler(kept)


Pair = tuple[logging.Logger, DaemonLog]


def texts(kept: DaemonLog, after: str | None = None) -> list[str]:
    return [line["text"] for line in kept.page(after)["lines"]]


def test_a_line_says_when_how_grave_and_who(logger: Pair) -> None:
    logger[0].warning("%s is full", "the disk")
    (line,) = logger[1].page()["lines"]
    assert (line["number"], line["level"], line["name"]) == (1, "warning", "tests.daemon_log")
    assert line["text"] == "the disk is full"
    assert line["time"] > 10**9


def test_who_asks_again_hears_only_what_came_since(logger: Pair) -> None:
    log, kept = logger
    first = kept.page()
    assert first["lines"] == []
    log.info("one")
    log.info("two")
    assert texts(kept, first["cursor"]) == ["one", "two"]
    cursor = kept.page()["cursor"]
    assert texts(kept, cursor) == []
    log.info("three")
    assert texts(kept, cursor) == ["three"]
    assert texts(kept, DaemonLog().page()["cursor"]) == ["one", "two", "three"]  # of another run
    for wrong in ("", "x", "-", f"{cursor}x", "a-" + "9" * 16, "a-²"):
        with pytest.raises(UsageError):
            kept.page(wrong)


def test_there_are_so_many_lines_and_no_more(logger: Pair) -> None:
    log, kept = logger
    for number in range(LINES_MAX + 5):
        log.info("line %d", number)
    assert len(kept.page(limit=10**9)["lines"]) == LINES_MAX
    assert texts(kept)[0] == f"line {LINES_MAX + 5 - PAGE}"
    assert texts(kept)[-1] == f"line {LINES_MAX + 4}"
    assert [one["text"] for one in kept.page(limit=1)["lines"]] == [f"line {LINES_MAX + 4}"]


def test_a_long_line_keeps_its_ends(logger: Pair) -> None:
    logger[0].info("begin %s end", "x" * (2 * LINE_LENGTH_MAX))
    (text,) = texts(logger[1])
    assert len(text) <= LINE_LENGTH_MAX
    assert text.startswith("begin x")
    assert text.endswith("x end")


@pytest.mark.row("A37")
def test_nothing_that_others_chose_steers_who_reads_it(logger: Pair) -> None:
    log, kept = logger
    log.info("a device named %s", "x\x1b[2J\nERROR forged\u202e")
    try:
        raise ValueError("\x1b]52;c;aGk=\x07\nforged")
    except ValueError:
        log.exception("it failed")
    named, failed = texts(kept)
    assert named == "a device named x\\x1b[2J\\nERROR forged\\u202e"
    assert failed.startswith("it failed\nTraceback")
    assert failed.endswith("ValueError: \\x1b]52;c;aGk=\\x07\nforged")
    assert "\x1b" not in failed


def test_a_message_that_cannot_be_made_ends_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    kept = DaemonLog()
    for message, given in ("%d", ("no number",)), ("after it", None):
        kept.handle(logging.LogRecord("peer", logging.INFO, "", 0, message, given, None))
    assert texts(kept) == ["after it"]
    assert "no number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("said", "secret"),
    [
        ("%s", "QjloLiawHXBbA6T3h2-JVqAWbYqn-aa6kconKULD8Cs"),
        ("hftoken-%s", format_token(bytes(range(16))).removeprefix("hftoken-")),
        ("%s", encode_kit(bytes(range(32)))),
        ("7-%s", "cranberry-clubhouse"),
    ],
    ids=["base64", "relay token", "kit", "pairing code"],
)
def test_a_secret_that_an_error_says_is_not_kept(logger: Pair, said: str, secret: str) -> None:
    log, kept = logger
    whole = said % secret
    for form in ("%s", "https://host/s/abc#%s", "Authorization: Bearer %s!", "'%s'"):
        log.warning("refused " + form, whole)
        try:
            raise ValueError(form % whole)
        except ValueError:
            log.exception("it failed")
    assert len(texts(kept)) == 8
    assert [text for text in texts(kept) if secret in text] == []
    assert "(hidden)" in texts(kept)[0]


def test_what_is_no_secret_is_said(logger: Pair) -> None:
    log, kept = logger
    said = [
        f"{'ab' * 32}: not here", "report-2026-final.txt is changing", "3-two-words of a name",
        "a file name with more than forty-three characters in it", "x" * 43,
    ]  # fmt: skip
    for text in said:
        log.info("%s", text)
    assert texts(kept) == said


async def test_no_secret_of_a_device_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two devices pair, share and sync, and say all that there is to say."""
    kept = DaemonLog()
    monkeypatch.setattr(daemon_log, "LINE_LENGTH_MAX", 10**6)
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(kept)
    try:
        async with devices(tmp_path) as stage:
            one = await stage.found("one")
            code = (await one.invite())["code"]
            two = await stage.join(one, "two")
            await stage.meet(one, two)
            await stage.share(one, two)
            (stage.root("one") / "a").write_bytes(b"a")
            await until(lambda: shows(stage.root("two"), "a", b"a"))
            secrets = [code.partition("-")[2]]
            for daemon in (one, two):
                keys = daemon.home.keys
                for key in (keys.sign_seed, keys.dh_secret):
                    secrets += [key.hex(), str(key)]
    finally:
        for logger in loggers:
            logger.removeHandler(kept)
            logger.setLevel(logging.NOTSET)
    said = "\n".join(line["text"] for line in kept.page(limit=LINES_MAX)["lines"])
    assert "linked by" in said
    assert [secret for secret in secrets if secret in said] == []
