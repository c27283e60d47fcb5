"""A line an event, for people or for programs, and nobody's address in it."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from relay.log import Form


def line(form: str, words: str, *, shows: bool = False, **more: Any) -> str:
    record = logging.LogRecord("relay", logging.INFO, "", 1, words, (), more.pop("error", None))
    for name, value in more.items():
        setattr(record, name, value)
    return Form(form, shows_addresses=shows).format(record)


def test_values_stand_behind_the_words_or_beside_them() -> None:
    assert line("text", "it runs", values={"port": 443}).endswith(" info it runs port=443")
    data = json.loads(line("json", "it runs", values={"port": 443}))
    assert (data["level"], data["event"], data["port"]) == ("info", "it runs", 443)
    assert data["time"].endswith("+00:00")


@pytest.mark.row("A17")
@pytest.mark.parametrize(
    "address",
    ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", "fe80::1234:5678:9abc:def0", "::1"],
)
def test_addresses_are_taken_out_of_what_others_say(address: str) -> None:
    words = f"Fatal error on transport <socket raddr=('{address}', 5000)> after 12:30:59"
    for form in ("text", "json"):
        shown = line(form, words)
        assert address not in shown
        assert "after 12:30:59" in shown
        assert "(address)" in shown
        assert address in line(form, words, shows=True)


def test_a_traceback_is_part_of_its_line() -> None:
    try:
        raise OSError("lost 192.0.2.7")
    except OSError:
        error = sys.exc_info()
    shown = line("text", "it failed", error=error)
    assert "\n" not in shown
    assert "192.0.2.7" not in shown
    assert "OSError" in shown
