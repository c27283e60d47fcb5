"""Groups of real devices; the pair is shared by the tests of a module, each in its own directory
below the folder where it can be.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.device import Device, end, make_pair

PROGRAMS = "test_tree"
"""The module whose pair are programs as a person starts them, each with all of Holdfast to import:
0.8 s of a core, which the modules that restart their pair need not pay each time.
"""


@pytest.fixture(scope="module")
def shared_pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Device, Device]]:
    """Two devices with one folder, running; whoever uses them leaves them running and linked."""
    are_programs = request.path.stem == PROGRAMS
    pair = make_pair(tmp_path_factory.mktemp("pair"), are_programs=are_programs)
    yield pair
    end(list(pair))


@pytest.fixture
def new_pair(tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    """Two devices of this test alone."""
    pair = make_pair(tmp_path)
    yield pair
    end(list(pair))
