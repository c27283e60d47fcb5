"""Where there can be no lab it is said, with what to do."""

from __future__ import annotations

import os

import pytest

from tests.nat.namespaces import NEEDED, NoLab, check_machine


def test_what_is_not_installed_is_named() -> None:
    with pytest.raises(NoLab, match=r"no-such-program.*install .*nftables"):
        check_machine([*NEEDED, "no-such-program"])


def test_who_may_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoLab, match="only root"):
        check_machine()
