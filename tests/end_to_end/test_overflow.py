"""More changes than the kernel queues events for (FAULTS F37): what was not told is found."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.end_to_end.device import Device, explain, try_tree, wait_for_same, wait_until

QUEUE_MAX = Path("/proc/sys/fs/inotify/max_queued_events")
AT_ONCE = 100


def fill_queue(root: Path) -> None:
    """Events enough to overflow the queue of whoever watches the directory and does not read."""
    paths = [root / "noise 0", root / "noise 1"]
    for path in paths:
        path.touch()
    for _ in range(int(QUEUE_MAX.read_text()) // 2 + AT_ONCE):
        for path in paths:  # two in turn: an event equal to the one before it is not queued
            os.utime(path)


@pytest.mark.row("F37")
def test_what_the_watcher_missed_is_found(new_pair: tuple[Device, Device]) -> None:
    one, other = new_pair
    (one.folder / "noise").mkdir()  # by itself: a directory of which any event came is looked at
    for name in ("to edit", "to remove", "to rename"):
        (one.folder / name).write_text(name)
    wait_until((other.folder / "to edit").exists, lambda: explain(new_pair))
    wait_for_same(*new_pair)
    assert one.process is not None
    one.process.send_signal(signal.SIGSTOP)
    # If anything below fails, a stopped daemon is still killed: SIGKILL needs nobody to wake up.
    fill_queue(one.folder / "noise")
    (one.folder / "new" / "deep").mkdir(parents=True)
    (one.folder / "new" / "deep" / "file").write_text("made when the queue was full")
    (one.folder / "to edit").write_text("edited when the queue was full")
    (one.folder / "to remove").unlink()
    (one.folder / "to rename").rename(one.folder / "new" / "renamed")
    expected = one.tree()
    one.process.send_signal(signal.SIGCONT)
    wait_until(lambda: try_tree(other) == expected, lambda: explain(new_pair))
    assert wait_for_same(*new_pair) == expected


def test_a_person_who_never_rests(new_pair: tuple[Device, Device]) -> None:
    """Writing goes on while the queue overflows; what is there in the end is on both sides."""
    one, other = new_pair
    assert one.process is not None
    is_over = threading.Event()
    last: dict[str, str] = {}

    def write() -> None:
        serial = 0
        while not is_over.is_set():
            serial += 1
            last[f"file {serial % 7}"] = f"{serial}"
            (one.folder / f"file {serial % 7}").write_text(f"{serial}")

    writer = threading.Thread(target=write, daemon=True)
    one.process.send_signal(signal.SIGSTOP)
    writer.start()
    try:
        fill_queue(one.folder)
        one.process.send_signal(signal.SIGCONT)
        wait_until(lambda: (other.folder / "noise 1").exists(), lambda: explain(new_pair))
    finally:
        is_over.set()
        writer.join(10)
    tree = wait_for_same(*new_pair)
    assert {n: c.decode() for n, (_, c) in tree.items() if n in last} == last
