"""kill -9 of either daemon at random instants while files sync: nothing is lost, nothing is
left over. The daemons come from a nursery: twenty starts of programs, each with all of Holdfast to
import, take minutes on a machine with other work.
"""

import os
import random
import time
from pathlib import Path

import pytest

from tests.end_to_end.device import Device, end, explain, make_pair, try_tree, wait_until

KILLS = 20
LARGE_BYTES = 3 << 20
"""Of a file that comes in pieces; the small ones come whole."""
FILES = 1_200


def write_some(root: Path, serial: int, made: dict[str, bytes], choose: random.Random) -> None:
    """A burst of what people do: new files, edits, a renamed directory, deletions."""
    directory = root / f"d{serial % 8}"
    directory.mkdir(exist_ok=True)
    for number in range(FILES // KILLS):
        name = f"d{serial % 8}/{serial}-{number}"
        made[name] = choose.randbytes(choose.randrange(200, 12_000))
        (root / name).write_bytes(made[name])
    if serial % 3 == 0:
        made["large"] = choose.randbytes(LARGE_BYTES)
        (root / "large").write_bytes(made["large"])
    for name in choose.sample(sorted(made), 5):
        made[name] = choose.randbytes(500)
        (root / name).write_bytes(made[name])
    for name in choose.sample(sorted(made), 3):
        del made[name]
        (root / name).unlink()


@pytest.mark.row("F01", "F02")
@pytest.mark.parametrize("seed", [1])
def test_kill_9_at_twenty_random_instants(tmp_path: Path, seed: int) -> None:
    choose = random.Random(seed)
    one, other = make_pair(tmp_path)
    made: dict[str, bytes] = {}
    try:
        for serial in range(KILLS):
            write_some(one.folder, serial, made, choose)
            victim = choose.choice((one, other))
            # The instant is the point here: from before the first file is seen to after the last.
            time.sleep(choose.random() * 0.5)
            victim.kill()
            victim.start()
        wait_until(
            lambda: is_whole(one, made) and is_whole(other, made),
            lambda: explain((one, other)), 60,
        )  # fmt: skip
        for device in (one, other):
            device.wait_for_state("in sync")
            assert device.temp_files() == []
            assert device.folder_status()["errors"] == []
    finally:
        end([one, other])


def is_whole(device: Device, made: dict[str, bytes]) -> bool:
    """Whether what was saved last is there, and nothing else: no deleted file, no conflict copy."""
    tree = try_tree(device)
    if tree is None:
        return False
    return {name: content for name, (kind, content) in tree.items() if kind != "directory"} == made


@pytest.mark.row("F01", "F02")
def test_kill_9_while_directories_are_renamed(tmp_path: Path) -> None:
    choose = random.Random(2)
    one, other = make_pair(tmp_path)
    made = {}
    try:
        for number in range(200):
            path = one.folder / "a" / f"{number % 5}" / f"{number}"
            path.parent.mkdir(parents=True, exist_ok=True)
            made[f"{number % 5}/{number}"] = os.urandom(300)
            path.write_bytes(made[f"{number % 5}/{number}"])
        wait_until(lambda: len(other.names()) == 206, lambda: explain((one, other)))
        name = "a"
        for serial in range(6):
            new = f"name {serial}"
            (one.folder / name).rename(one.folder / new)
            name = new
            time.sleep(choose.random() * 0.1)
            other.kill()
            other.start()
        expected = {f"{name}/{path}": content for path, content in made.items()}
        wait_until(
            lambda: is_whole(one, expected) and is_whole(other, expected),
            lambda: explain((one, other)),
        )
        assert sorted(os.listdir(other.folder)) == [".holdfast", name]
    finally:
        end([one, other])
