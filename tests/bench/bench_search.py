"""How long a search by name takes over an index of many files.

python -m tests.bench.bench_search [--files N]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Final

from crypto.ids import NodeId
from peer.core.commands import Commit
from peer.core.rows import Directories, DiskFacts, Row, Shown
from peer.folders.index_store import IndexStore
from peer.search.search import parse
from protocol.nodes import ROOT, Kind, new_node_id

WORDS: Final = "report holiday invoice draft notes beach plan budget photo music letter tax".split()
ENDINGS: Final = "txt pdf jpeg odt py mp3".split()
QUERIES: Final = (
    "r", "report", "report holiday", "type:pdf", "invoice type:pdf after:2020", "nothing-like-it",
    "größe",
)  # fmt: skip
REPEATS: Final = 40


def row(random: Random, number: int) -> Row:
    """One file, with a name of two words and a number."""
    name = f"{random.choice(WORDS)} {random.choice(WORDS)} {number}.{random.choice(ENDINGS)}"
    node = NodeId(new_node_id(Kind.FILE, random.randbytes))
    shown = Shown(ROOT, name, node, name, 0, random.randbytes(32), 1000, False, 10**18)
    times = random.randrange(10**18, 17 * 10**17)
    return Row(node, shown=shown, disk=DiskFacts(number + 1, 1000, times, times))


async def measure(files: int) -> None:
    """Fills an index and asks it."""
    random = Random(1)
    with tempfile.TemporaryDirectory() as directory:
        store = await IndexStore.open(Path(directory) / "index.db")
        for start in range(0, files, 2000):
            rows = [row(random, n) for n in range(start, min(start + 2000, files))]
            await store.perform(Commit(rows=rows))
        resident = Directories(folds_case=False)
        for text in QUERIES:
            query, times, found = parse(text), [], 0
            for _ in range(REPEATS):
                began = time.perf_counter()
                found = len(await store.names.find(resident, query, 50))
                times.append(time.perf_counter() - began)
            middle, high = statistics.median(times), statistics.quantiles(times, n=20)[-1]
            print(f"{text:30} {found:3} found, {middle * 1e3:6.1f} ms, p95 {high * 1e3:6.1f} ms")
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    asyncio.run(measure(parser.parse_args().files))
