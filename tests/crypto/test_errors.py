"""Errors: one root, a sentence each, and no hint of why something did not open."""

from __future__ import annotations

import inspect

from crypto import errors


def test_every_error_has_one_root_and_a_sentence() -> None:
    classes = [item for _, item in inspect.getmembers(errors, inspect.isclass)]
    assert len(classes) >= 6
    for error in classes:
        assert issubclass(error, errors.CryptoError)
        assert (error.__doc__ or "").endswith(".")
