"""A file that is larger than what a device may hold in memory comes over within a window (F36)."""

import filecmp
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.end_to_end.device import Device, end, explain, make_pair, wait_until

PIECE = 1 << 20
FIRST_BYTES = 24 << 20
"""After so much all windows, queues and buffers have been full once."""
HOLE_BYTES = 256 << 20
DENSE_BYTES = 128 << 20
MORE_MAX_BYTES = 16 << 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[Device, Device]]:
    pair = make_pair(tmp_path, "tls")
    yield pair
    end(list(pair))


def peak_bytes(device: Device) -> int:
    """The most memory that the daemon has had since it was asked last."""
    assert device.process is not None
    process = Path(f"/proc/{device.process.pid}")
    found = re.search(r"^VmHWM:\s+(\d+) kB$", (process / "status").read_text(), re.MULTILINE)
    assert found is not None
    (process / "clear_refs").write_text("5")
    return int(found[1]) << 10


def write(path: Path, hole_bytes: int, dense_bytes: int) -> None:
    """Nothing, then bytes that neither repeat nor compress, under its name at once."""
    temp = path.parent.with_name("being written")
    with temp.open("wb") as file:
        file.seek(hole_bytes)
        for _ in range(dense_bytes // PIECE):
            file.write(os.urandom(PIECE))
    temp.rename(path)


@pytest.mark.row("F36")
def test_a_large_file_is_received_and_sent_within_a_window(
    pair: tuple[Device, Device], record_property: Callable[[str, object], None]
) -> None:
    one, other = pair

    def bring(name: str, hole_bytes: int, dense_bytes: int) -> None:
        write(one.folder / name, hole_bytes, dense_bytes)
        wait_until((other.folder / name).exists, lambda: explain(pair))
        one.wait_for_state("in sync")
        other.wait_for_state("in sync")

    bring("first", 0, FIRST_BYTES)
    before = [peak_bytes(device) for device in (other, one)]
    bring("large", HOLE_BYTES, DENSE_BYTES)
    more = [
        peak_bytes(device) - bytes_ for device, bytes_ in zip((other, one), before, strict=True)
    ]
    assert filecmp.cmp(one.folder / "large", other.folder / "large", shallow=False)
    assert max(more) < MORE_MAX_BYTES, more
    size = HOLE_BYTES + DENSE_BYTES >> 20
    received, sent = (bytes_ / 1e6 for bytes_ in more)
    record_property("figure", f"{received:.1f} MB to receive {size} MiB, {sent:.1f} to send it")
