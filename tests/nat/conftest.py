"""The lab, shared by the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.nat.devices import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A lab with a relay in it; whoever stops the relay starts it again."""
    site = Site(tmp_path_factory.mktemp("site"))
    yield site
    site.close()
