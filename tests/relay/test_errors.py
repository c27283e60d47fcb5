"""A relay's troubles have the numbers and names that the same troubles have everywhere."""

from __future__ import annotations

import pytest

from peer import errors as peer_errors
from relay import errors


@pytest.mark.parametrize("kind", errors.RelayError.__subclasses__())
def test_an_exit_code_means_the_same_as_on_a_device(kind: type[errors.RelayError]) -> None:
    same = getattr(peer_errors, kind.__name__)
    assert kind.exit_code == same.exit_code
    assert kind("x").code == same.code
