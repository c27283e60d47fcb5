"""All figures of super-nodes in one run, each beside what it has to be: one device and seven nodes,
4 of 7, all of them processes of this machine; under four minutes on two cores.

    python -m tests.bench.super_nodes [--mib 512] [--files 10000] [--runs 1] [--directory DIR]

One file of `--mib` is stored; three nodes and the device burn, and another device gets it back by
the kit alone. Then the same for three trees of small files: one of words, one of bytes that do not
compress, both of 1 to 4 KiB, and `small` of sync_bench, 0.2 to 12 KB of such bytes. Then nodes
alone: how many shares a repair reads, and how often 44 audits find one that has lost a tenth. Of
storing and getting back the processor time of all eight processes is told beside the rate: it is
what counts where the machine has other work too, and how much that took is told as well. With
`--runs` the median counts. The exit code is 1 if something did not come back as it was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import string
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from peer.command_line.demo_device import DemoDevice
from peer.command_line.durable_demo import DemoNode
from peer.command_line.kit_input import KIT_VARIABLE
from tests.bench.machine import (
    TICKS_PER_S,
    cpu_s,
    is_same_bytes,
    list_sizes,
    peak_memory_bytes,
    wait_for,
)
from tests.bench.works import fill, small_size
from tests.relay.test_repairer import PACKED, audits_found, shares_read

NODES: Final = 7
NEEDED: Final = 4
LOST: Final = NODES - NEEDED
RATE_MIN: Final = 60.0
"""MB/s of what a person has, up and back."""
CPU_MAX_S: Final = 14.0
"""For 512 MiB, of all processes: what two cores have in the time that 60 MB/s leave, and a little
to spare."""
OVERHEAD_MAX: Final = 1.80
AUDITS_FIND_MIN: Final = 0.99
"""1 - 0.9^44: of a node that has lost a tenth of what it holds."""
TRIALS: Final = 2_000
"""Of which the share found is known to a quarter of a percent: it is told in whole percents."""
MEMORY_MAX_MB: Final = 400
"""Of one process: what it holds may not grow with what is stored."""

Tree = tuple[str, Callable[[Path], int]]
"""A name, and what writes the files into a directory and says how many bytes they are."""


@dataclass
class Span:
    """What something took."""

    seconds: float
    device_s: float
    nodes_s: float
    others_share: float
    """Of all cores, that went to processes that are none of ours."""

    def told(self, size: int) -> str:
        return (
            f"{size / 1e6:.0f} MB in {self.seconds:.1f} s, {size / 1e6 / self.seconds:.0f} MB/s;"
            f" processor {self.device_s + self.nodes_s:.1f} s (device {self.device_s:.1f}, nodes"
            f" {self.nodes_s:.1f}); others had {self.others_share:.0%} of the machine"
        )


def measured(work: Callable[[], None], device: int, nodes: list[int]) -> Span:
    """What the work takes, of these processes."""
    began, busy_s = time.perf_counter(), _busy_s()
    device_s, nodes_s = cpu_s([device]), cpu_s(nodes)
    work()
    seconds = time.perf_counter() - began
    device_s, nodes_s = cpu_s([device]) - device_s, cpu_s(nodes) - nodes_s
    others_s = max(0.0, _busy_s() - busy_s - device_s - nodes_s)
    return Span(seconds, device_s, nodes_s, others_s / seconds / (os.cpu_count() or 1))


def _busy_s() -> float:
    """What all processors together have worked, without waiting."""
    user, nice, system, _idle, _iowait, irq, soft_irq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    )
    return (user + nice + system + irq + soft_irq) / TICKS_PER_S


class Stage:
    """The device, its nodes and the one that comes after it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.nodes = [DemoNode(directory, number) for number in range(NODES)]
        self.device = DemoDevice(directory, "device")
        self.heir = DemoDevice(directory, "heir")
        self.kit = ""

    def start(self) -> None:
        for node in self.nodes:
            node.start()
        self.kit = str(self.device.command("init", "--name", "device")["recovery_kit"])
        self.device.start()

    def stop(self) -> None:
        for device in (self.device, self.heir):
            device.stop()
        for node in self.nodes:
            node.end()

    def add(self, folder: Path) -> None:
        """Has the device know all that is in a folder."""
        name = folder.name
        self.device.client.add_folder(folder, name)

        def is_known() -> bool:
            folders = {f["name"]: f for f in self.device.client.status()["folders"]}
            return folders[name]["state"] == "in sync" and folders[name]["files"] > 0

        wait_for(is_known, f"{name} to be known")

    def store(self, name: str) -> None:
        """Has a folder stored at all nodes, and waits until it is."""
        addresses = [node.address for node in self.nodes]
        self.device.client.add_backup(name, addresses, NEEDED, NODES)

        def is_stored() -> bool:
            found = {b["folder"]: b for b in self.device.client.backups()["backups"]}[name]
            return found["state"] == "up to date" and found["health"] == "healthy"

        wait_for(is_stored, f"{name} to be stored", poll_s=0.5)

    def stored_bytes(self) -> int:
        """All that lies in the nodes' directories of shares."""
        return sum(sum(list_sizes(node.home / "shares").values()) for node in self.nodes)

    def lose(self) -> None:
        """Three nodes burn, those first that hold what could be read without decoding; the device
        burns too, and another is made of the kit.
        """
        for node in self.nodes[:LOST]:
            node.burn()
        self.device.stop()
        words = [word for node in self.nodes for word in ("--relay", node.address)]
        os.environ[KIT_VARIABLE] = self.kit
        try:
            self.heir.command(
                "recover", *words, "--name", "heir", "--to", str(self.directory / "back")
            )
        finally:
            del os.environ[KIT_VARIABLE]

    def restore(self, names: Sequence[str]) -> None:
        """Waits until all files are back."""
        roots = [(self.directory / name, self.directory / "back" / name) for name in names]

        def is_back() -> bool:
            return all(
                len(list_sizes(back)) == len(list_sizes(root)) for root, back in roots
            ) and all(list_sizes(back) == list_sizes(root) for root, back in roots)

        wait_for(is_back, "all files to come back", poll_s=0.5)


def write_big(root: Path, size: int) -> int:
    """One file that does not compress."""
    root.mkdir()
    random, left = Random(1), size
    with (root / "big").open("wb") as file:
        while left:
            left -= file.write(random.randbytes(min(left, 1 << 20)))
    return size


def write_small(root: Path, count: int, *, is_text: bool) -> int:
    """Files of 1 to 4 KiB in directories of a hundred: words, or what does not compress."""
    random, size = Random(2), 0
    words = ["".join(random.choices(string.ascii_lowercase, k=7)) for _ in range(2000)]
    for number in range(count):
        directory = root / f"{number // 100:03}"
        directory.mkdir(parents=True, exist_ok=True)
        length = random.randint(1024, 4096)
        if is_text:
            data = " ".join(random.choices(words, k=length // 8 + 1)).encode()[:length]
        else:
            data = random.randbytes(length)
        size += (directory / f"{number:05}.txt").write_bytes(data)
    return size


def write_synced(root: Path, count: int) -> int:
    """The small files that `sync_bench` syncs."""
    root.mkdir()
    fill(root, count, small_size)
    return sum(list_sizes(root).values())


@dataclass
class Found:
    """What runs have come to."""

    overheads: dict[str, float] = field(default_factory=dict)
    ups: list[Span] = field(default_factory=list)
    backs: list[Span] = field(default_factory=list)
    device_bytes: int = 0
    node_bytes: int = 0
    is_same: bool = True


def run(stage: Stage, trees: Sequence[Tree], found: Found) -> None:
    """Stores the trees, loses what may be lost, and has all back."""
    stage.start()
    sizes = {}
    pids = [node.pid for node in stage.nodes]
    for name, write in trees:
        size = sizes[name] = write(stage.directory / name)
        stage.add(stage.directory / name)
        before = stage.stored_bytes()
        span = measured(partial(stage.store, name), stage.device.pid, pids)
        found.ups.append(span)
        found.overheads[name] = (stage.stored_bytes() - before) / size
        print(f"{name}, stored: {span.told(size)}", flush=True)
    found.device_bytes = max(found.device_bytes, peak_memory_bytes([stage.device.pid]))
    found.node_bytes = max(found.node_bytes, peak_memory_bytes(pids))
    stage.lose()
    stage.heir.start()
    pids = pids[LOST:]
    span = measured(partial(stage.restore, list(sizes)), stage.heir.pid, pids)
    found.backs.append(span)
    print(f"{' and '.join(sizes)}, back: {span.told(sum(sizes.values()))}", flush=True)
    found.device_bytes = max(found.device_bytes, peak_memory_bytes([stage.heir.pid]))
    found.node_bytes = max(found.node_bytes, peak_memory_bytes(pids))
    found.is_same &= all(
        is_same_bytes(stage.directory / name, stage.directory / "back" / name) for name in sizes
    )


def staged(trees: Sequence[Tree], directory: Path, found: Found) -> None:
    """One run in a directory of its own."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="super-nodes-") as path:
        stage = Stage(Path(path))
        try:
            run(stage, trees, found)
        finally:
            stage.stop()


def rows(size: int, big: Found, small: Found) -> Iterator[str]:
    """The table, each figure beside what it has to be."""
    for what, spans in (("stored", big.ups), ("back with three nodes dead", big.backs)):
        rate = statistics.median(size / 1e6 / span.seconds for span in spans)
        used_s = statistics.median(span.device_s + span.nodes_s for span in spans)
        yield row(f"one big file {what}, MB/s", rate, RATE_MIN, is_least=True)
        per_512_mib_s = used_s * (512 << 20) / size
        yield row(f"one big file {what}, processor s for 512 MiB", per_512_mib_s, CPU_MAX_S)
    for name, overhead in (big.overheads | small.overheads).items():
        yield row(f"{name}, bytes at nodes for each of them", overhead, OVERHEAD_MAX)
    for found, which in ((big, "big"), (small, "small")):
        yield row(f"{which}, peak memory of a device, MB", found.device_bytes / 1e6, MEMORY_MAX_MB)
        yield row(f"{which}, peak memory of a node, MB", found.node_bytes / 1e6, MEMORY_MAX_MB)


def node_rows(directory: Path) -> Iterator[str]:
    """What nodes do among themselves, in this process."""
    with tempfile.TemporaryDirectory(dir=directory, prefix="repair-") as path:
        read = asyncio.run(shares_read(Path(path)))
    needed = PACKED.descriptor.needed
    yield row(f"shares that a repair reads of a pack, where {needed} are needed", read, needed)
    with tempfile.TemporaryDirectory(dir=directory, prefix="audits-") as path:
        found = asyncio.run(audits_found(Path(path), TRIALS))
    what = f"44 audits of a node that lost a tenth find it, {found} of {TRIALS} times"
    yield row(what, round(found / TRIALS, 2), AUDITS_FIND_MIN, is_least=True)


def row(what: str, value: float, bound: float, *, is_least: bool = False) -> str:
    is_reached = value >= bound if is_least else value <= bound
    must = f"at {'least' if is_least else 'most'} {bound:g}"
    return f"{what}: {value:.4g}, must be {must}: {'yes' if is_reached else 'NO'}"


def main() -> int:
    """Prints each run as it ends, and the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--directory", type=Path, default=Path.cwd())
    chosen = parser.parse_args()
    size, big, small = chosen.mib << 20, Found(), Found()
    for _ in range(chosen.runs):
        staged([("big", partial(write_big, size=size))], chosen.directory, big)
    staged(
        [
            ("small text", partial(write_small, count=chosen.files, is_text=True)),
            ("small random", partial(write_small, count=chosen.files, is_text=False)),
            ("small of sync_bench", partial(write_synced, count=chosen.files)),
        ],
        chosen.directory,
        small,
    )
    print(*rows(size, big, small), *node_rows(chosen.directory), sep="\n")
    is_same = big.is_same and small.is_same
    print("every byte came back as it was" if is_same else "NOT ALL CAME BACK AS IT WAS")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
