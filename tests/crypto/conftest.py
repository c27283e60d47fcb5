"""A nonce registry under every test of this package: no (key, nonce) seals two things (A06)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nonces import NonceRegistry, watched_nonces


@pytest.fixture(scope="session")
def nonce_registry() -> NonceRegistry:
    return NonceRegistry()


@pytest.fixture(autouse=True, scope="package")
def _watch_nonces(nonce_registry: NonceRegistry) -> Iterator[None]:
    with watched_nonces(nonce_registry):
        yield
