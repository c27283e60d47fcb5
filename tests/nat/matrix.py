"""Every pair of kinds of homes: two devices of each meet at the relay, sync a tree, and find a way.

    python -m tests.nat            the whole matrix, printed with the times

Each pair is a user of its own with two devices, so that nothing reaches the one but from the other.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from tests.end_to_end.device import wait_until
from tests.nat.devices import Site, SiteDevice, found_through_relay, share_tree
from tests.nat.lab import Home
from tests.nat.routers import Kind
from tests.nat.theory import DIRECT, RELAYED, Expected, expected

AT_ONCE: Final = 4
"""Pairs that are played at the same time; most of a pair's time is waiting."""
SETTLE_TIMEOUT_S: Final = 45.0
"""For a direct way to be found, or to be known as one that there is not. A machine that others
use too takes many times what is measured alone.
"""
UNTRIED: Final = "No direct way was tried yet."
Pair = tuple[Kind, Kind]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a pair."""

    path: str
    problem: str
    """Why there is no direct way, as `status` says it."""
    meeting_s: float
    """From the answer of the second daemon to a link over the relay."""
    settling_s: float
    """From then to the final way."""


def pairs() -> list[Pair]:
    """All pairs, each once."""
    return list(itertools.combinations_with_replacement(Kind, 2))


def play(one: SiteDevice, other: SiteDevice, way: str, says: str = "") -> Outcome:
    """Two devices meet, sync a tree and find their way, which is to be this one on both sides; if
    it is relayed both give a reason with these words in it. They are stopped afterwards.
    """
    try:
        found_through_relay(one, other)
        began_at = time.monotonic()
        wait_until(
            lambda: one.way() != "none" and other.way() != "none",
            lambda: f"a link of {one.name} and {other.name}:\n{one.log_tail()}\n{other.log_tail()}",
        )
        met_at = time.monotonic()
        share_tree(one, other)
        # Of the last look: a link may be moving from one way to a better one at any moment.
        problems: list[str] = []

        def is_settled() -> bool:
            problems.clear()
            return _is_settled(one, way, says, problems) and _is_settled(other, way, says, problems)

        wait_until(
            is_settled,
            lambda: (
                f"{one.name} and {other.name} to settle: {one.link()} {other.link()}\n"
                f"{one.log_tail()}\n{other.log_tail()}"
            ),
            SETTLE_TIMEOUT_S,
        )
        return Outcome(way, problems[0], met_at - began_at, time.monotonic() - met_at)
    finally:
        one.kill()
        other.kill()


def _is_settled(device: SiteDevice, way: str, says: str, problems: list[str]) -> bool:
    link = device.link()
    if link is None or link["path"] != way:
        return False
    problems.append(link["direct_problem"])
    return way != RELAYED or (link["direct_problem"] != UNTRIED and says in link["direct_problem"])


def play_all(site: Site, chosen: Iterable[Pair]) -> Mapping[Pair, Outcome]:
    """Plays pairs, some at a time; each kind has two homes, where all devices of the kind live."""
    homes: dict[Kind, tuple[Home, Home]] = {
        kind: (site.world.home(kind), site.world.home(kind)) for kind in Kind
    }

    def one_pair(pair: Pair) -> Outcome:
        (first, _), (_, second) = homes[pair[0]], homes[pair[1]]
        theory = expected(*pair)
        one, other = site.device(f"a {pair[0]}", first), site.device(f"b {pair[1]}", second)
        try:
            return play(one, other, theory.path, theory.says)
        except AssertionError as error:  # the other pairs are of interest too
            return Outcome("another", f"{pair}: {error!r}", 0.0, 0.0)

    chosen = list(chosen)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(chosen, pool.map(one_pair, chosen), strict=True))


def table(outcomes: Mapping[Pair, Outcome]) -> Sequence[str]:
    """The matrix as lines of Markdown."""
    lines = ["| between | and | expected | found | met | settled | theory, or what `status` says |"]
    lines.append("|---|---|---|---|---|---|---|")
    for (one, other), outcome in outcomes.items():
        theory: Expected = expected(one, other)
        said = theory.reason if theory.path == DIRECT else outcome.problem
        lines.append(
            f"| {one} | {other} | {theory.path} | {outcome.path} | {outcome.meeting_s:.2f} s"
            f" | {outcome.settling_s:.2f} s | {said} |"
        )
    return lines
