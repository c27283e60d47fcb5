"""The playbook itself must be able to fail."""

import gc

import pytest

from tests.playbook import Playbook


def test_the_expected_play_passes() -> None:
    playbook = Playbook(lambda number: [number + 1, number + 2])
    playbook >> 1 << 2 << 3 >> 5 << 6 << 7
    assert playbook


@pytest.mark.parametrize(
    "play",
    [
        lambda number: [],
        lambda number: [number],
        lambda number: [number + 1, number + 1],
    ],
    ids=["nothing", "another", "one too many"],
)
def test_another_play_fails_and_shows_both(play: object) -> None:
    playbook = Playbook(play)  # type: ignore[arg-type]
    playbook >> 1 << 2
    with pytest.raises(AssertionError, match=">> 1"):
        bool(playbook)


@pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning")
def test_a_playbook_that_nobody_asserts_is_noticed() -> None:
    playbook = Playbook(lambda number: [])
    playbook >> 1
    with pytest.raises(AssertionError, match="never asserted"):
        playbook.__del__()
    assert playbook
    del playbook
    gc.collect()
