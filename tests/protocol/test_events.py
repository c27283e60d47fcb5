"""The vocabulary of events is closed, and a session can say every word of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import get_args

import pytest

from protocol import events, session


@pytest.mark.parametrize("event", get_args(events.Event))
def test_an_event_is_an_immutable_record(event: type) -> None:
    assert dataclasses.is_dataclass(event)
    assert event.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__slots__" in vars(event)


def test_the_union_names_every_event() -> None:
    records = [value for value in vars(events).values() if dataclasses.is_dataclass(value)]
    assert set(get_args(events.Event)) == set(records) - {events.OwnReceived}
    assert not dataclasses.fields(events.OwnReceived), "it only says what others have in common"


def test_a_session_makes_every_event() -> None:
    assert session.__file__ is not None
    source = Path(session.__file__).read_text()
    made = set(re.findall(r"\b([A-Z]\w+)\(", source))
    assert {event.__name__ for event in get_args(events.Event)} <= made
