"""How fast packs become shares and shares packs: one thread, 8 MiB packs, the median of some runs.

    python -m tests.bench.bench_erasure [--scheme 4/7] [--runs 15]

The worst case of decoding is when as many of the first k shares are lost as can be. MB/s of pack,
by processor time, which what else the machine does disturbs least.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from random import Random

from crypto.packs import PACK_SIZE_TARGET
from protocol.erasure import decode, encode


def rate(work: Callable[[], object], runs: int) -> float:
    """Bytes of a pack a second of processor time, the median of the runs."""
    work()
    took = []
    for _ in range(runs):
        begin = time.process_time()
        work()
        took.append(time.process_time() - begin)
    return PACK_SIZE_TARGET / statistics.median(took)


def main() -> None:
    """Prints one line for each direction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scheme", default="4/7")
    parser.add_argument("--runs", type=int, default=15)
    chosen = parser.parse_args()
    k, n = (int(number) for number in chosen.scheme.split("/"))
    pack = Random(1).randbytes(PACK_SIZE_TARGET)
    shares = dict(enumerate(encode(pack, k, n)))
    kept = {i: shares[i] for i in range(n - k, n)}
    assert decode(kept, k, n, len(pack)) == pack
    for name, work in (
        ("encode", lambda: encode(pack, k, n)),
        ("decode, nothing lost", lambda: decode(shares, k, n, len(pack))),
        ("decode, worst case", lambda: decode(kept, k, n, len(pack))),
    ):
        print(f"{k} of {n}, {name}: {rate(work, chosen.runs) / 1e6:.0f} MB/s")


if __name__ == "__main__":
    main()
