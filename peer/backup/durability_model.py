"""How likely it is that a pack is lost within a year: by a formula, and by chance played out. Pure.

The chain of states is that of a k-out-of-n system with repair: i shares are missing, n-i nodes fail
at one rate, each missing share is rebuilt at another (J. E. Angus, On computing MTBF for a
k-out-of-n:G repairable system, IEEE Trans. Reliability 37, 1988). What may take several nodes at
once is added as a shock. A year of it is a matrix exponential, made of positive terms alone
(A. Jensen's uniformization, 1953), so that 10^-15 is right to its last digits too.

The other way plays nodes one by one. Losses are rare, so failures are drawn more often than they
come, and each history counts as much less (failure biasing: P. Shahabuddin, Management Science 40,
1994); the interval says how sure that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Final, NamedTuple

HOURS_A_YEAR: Final = 8766.0
TRIALS: Final = 40_000
"""Some two seconds; the interval is then a few percent wide where one node may be spared."""
BIAS: Final = 0.5
"""How often the next event is a failure while something is missing."""
SURE_95: Final = 1.96
"""Standard deviations on each side of a 95 % interval."""

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class System:
    """Nodes and what is known of them."""

    needed: int
    shares: int
    nodes: int
    """All of them, also those that hold no share of a pack; they matter for shocks alone."""
    annual_loss: float
    """How likely a node is lost within a year."""
    repair_h: float
    """Until a lost share is rebuilt, on average, the time included until the loss is noticed."""
    shock: float = 0.0
    """How likely something within a year takes several nodes at once."""
    shock_nodes: int = 0

    @property
    def spare(self) -> int:
        """So many shares may be missing at once."""
        return self.shares - self.needed

    @property
    def loss_rate(self) -> float:
        """An hour, of one node."""
        return -math.log1p(-self.annual_loss) / HOURS_A_YEAR

    @property
    def shock_rate(self) -> float:
        """An hour."""
        return -math.log1p(-self.shock) / HOURS_A_YEAR


class Estimate(NamedTuple):
    """What chance gave, and a 95 % interval."""

    mean: float
    low: float
    high: float


# ---------------------------------------------------------------- the formula


def loss_in_a_year(system: System) -> float:
    """How likely a pack that is whole now is lost within a year, by the chain."""
    rates = _rates(system)
    size = len(rates)
    top = max(sum(row) for row in rates)
    if top == 0.0:
        return 0.0
    doublings = max(0, math.ceil(math.log2(top * HOURS_A_YEAR / BIAS)))
    step = top * HOURS_A_YEAR / 2**doublings
    jump = [[rates[i][j] / top for j in range(size)] for i in range(size)]
    for i in range(size):
        jump[i][i] += 1.0 - sum(rates[i]) / top
    # exp(-step) * sum of (step * jump)^m / m!
    term = [[float(i == j) for j in range(size)] for i in range(size)]
    year = [[0.0] * size for _ in range(size)]
    for m in range(40):
        year = [[a + b for a, b in zip(x, y, strict=True)] for x, y in zip(year, term, strict=True)]
        term = [[value * step / (m + 1) for value in row] for row in _times(term, jump)]
    year = [[value * math.exp(-step) for value in row] for row in year]
    for _ in range(doublings):
        year = _times(year, year)
    return min(1.0, year[0][-1])


def _rates(system: System) -> Matrix:
    """From i missing shares to j, an hour; the last state is the loss, and is not left."""
    last = system.spare + 1
    rates = [[0.0] * (last + 1) for _ in range(last + 1)]
    for missing in range(last):
        alive = system.shares - missing
        rates[missing][missing + 1] += alive * system.loss_rate
        if missing:
            rates[missing][missing - 1] += missing / system.repair_h
        for hit in range(1, min(alive, system.shock_nodes) + 1):
            chance = _hits(system.nodes, alive, system.shock_nodes, hit)
            rates[missing][min(missing + hit, last)] += system.shock_rate * chance
    return rates


def _hits(nodes: int, alive: int, taken: int, hit: int) -> float:
    """How likely `hit` of those that hold a share are among those that a shock takes."""
    return (
        math.comb(alive, hit) * math.comb(nodes - alive, taken - hit) / math.comb(nodes, taken)
        if taken - hit <= nodes - alive
        else 0.0
    )


def _times(a: Matrix, b: Matrix) -> Matrix:
    columns = list(zip(*b, strict=True))
    return [[sum(x * y for x, y in zip(row, col, strict=True)) for col in columns] for row in a]


def loss_without_repair(system: System) -> float:
    """The same if nobody rebuilds anything for a year: a binomial tail."""
    n, p = system.shares, system.annual_loss
    return sum(
        math.comb(n, lost) * p**lost * (1 - p) ** (n - lost)
        for lost in range(system.spare + 1, n + 1)
    )


# ---------------------------------------------------------------- by chance


def play(system: System, random: Random, trials: int = TRIALS) -> Estimate:
    """The same, by playing years with single nodes."""
    total = squares = 0.0
    for _ in range(trials):
        weight = _year(system, random)
        total += weight
        squares += weight * weight
    mean = total / trials
    if total == 0.0:
        return Estimate(0.0, 0.0, 3.0 / trials)  # the rule of three
    spread = SURE_95 * math.sqrt(max(0.0, squares / trials - mean * mean) / trials)
    return Estimate(mean, max(0.0, mean - spread), mean + spread)


def _year(system: System, random: Random) -> float:
    """How much a year counts in which a pack is lost; 0 for any other."""
    alive = set(range(system.shares))
    passed_h, weight = 0.0, 1.0
    while True:
        single, shock = len(alive) * system.loss_rate, system.shock_rate
        repair = (system.shares - len(alive)) / system.repair_h
        total = single + shock + repair
        if total == 0.0:
            return 0.0
        passed_h += random.expovariate(total)
        if passed_h > HOURS_A_YEAR:
            return 0.0
        worse = (single + shock) / total
        chosen = worse if len(alive) == system.shares else BIAS
        if random.random() >= chosen:
            weight *= (1 - worse) / (1 - chosen)
            missing = sorted(set(range(system.shares)) - alive)
            alive.add(random.choice(missing))
            continue
        weight *= worse / chosen
        if random.random() * (single + shock) < single:
            alive.remove(random.choice(sorted(alive)))
        else:
            alive -= set(random.sample(range(system.nodes), system.shock_nodes))
        if len(alive) < system.needed:
            return weight


# ---------------------------------------------------------------- both


class Row(NamedTuple):
    """Both ways for one time of repair."""

    repair_h: float
    formula: float
    chance: Estimate


def table(system: System, random: Random, trials: int = TRIALS) -> list[Row]:
    """For repair that is four times as quick, as it is said, and four times as slow."""
    return [
        Row(hours, loss_in_a_year(one), play(one, random, trials))
        for hours in (system.repair_h / 4, system.repair_h, system.repair_h * 4)
        for one in (replace(system, repair_h=hours),)
    ]


def curve(system: System, hours: Sequence[float]) -> list[float]:
    """The formula for many times of repair."""
    return [loss_in_a_year(replace(system, repair_h=each)) for each in hours]


# ---------------------------------------------------------------- in words


def assumptions(system: System) -> list[str]:
    """What has to be so for the numbers to be right: a sentence each."""
    said = [
        f"Each of {system.nodes} nodes is lost within a year with {system.annual_loss:.3g}, on its"
        " own and at any time alike.",
        f"What is lost is noticed and rebuilt after {system.repair_h:g} hours on average: somewhere"
        " there is a node that takes it.",
        "All packs of a folder lie on the same nodes, and are lost or kept together.",
    ]
    if system.shock:
        said.append(
            f"Besides, something takes {system.shock_nodes} nodes at once, any of them, within a"
            f" year with {system.shock:.3g}."
        )
    else:
        said.append("Nothing takes several at once: --correlated says what if.")
    return said


def nines(loss: float) -> str:
    """How likely it is that nothing is lost, as people say it: 99.9 % is three nines."""
    if loss <= 0.0:
        return "always"
    count = math.floor(-math.log10(loss) + 1e-9)
    return f"{count} nines" if count > 2 else f"{100 * (1 - loss):.3g} %"
