"""What `holdfast durability` does: the model's two answers side by side, and a plot of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Final

from peer.backup.durability_model import (
    Row,
    System,
    assumptions,
    curve,
    loss_without_repair,
    nines,
    table,
)
from peer.command_line import terminal
from peer.command_line.acts import Answer
from peer.errors import NoPlotting, UsageError

SEED: Final = 1
"""The same question has the same answer."""
CURVE_POINTS: Final = 60


def durability(arguments: argparse.Namespace) -> Answer:
    """Tell how likely a pack is lost within a year."""
    needed, shares = arguments.scheme
    shock, shock_nodes = arguments.correlated or (0.0, 0)
    if arguments.nodes < shares:
        raise UsageError(f"{shares} shares need {shares} nodes, and there are {arguments.nodes}.")
    if shock_nodes > arguments.nodes:
        raise UsageError(f"Of {arguments.nodes} nodes {shock_nodes} cannot be lost at once.")
    system = System(
        needed, shares, arguments.nodes, arguments.annual_loss, arguments.repair, shock, shock_nodes
    )
    rows = table(system, Random(SEED))  # noqa: S311 - chance, not secrets
    if arguments.plot is not None:
        plot(system, rows, arguments.plot)
    without = loss_without_repair(system)
    data = {
        "scheme": f"{needed}/{shares}",
        "nodes": arguments.nodes,
        "assumptions": assumptions(system),
        "rows": [
            {"repair_h": r.repair_h, "formula": r.formula, "chance": list(r.chance)} for r in rows
        ],
        "without_repair": without,
        "plot": None if arguments.plot is None else str(arguments.plot),
    }
    return Answer(data, lambda: _print(system, rows, without))


def _print(system: System, rows: Sequence[Row], without: float) -> None:
    terminal.print_table(
        ("repair takes", "loss of a pack in a year", "played", "95 % interval", "kept"),
        [
            (
                f"{row.repair_h:g} h", f"{row.formula:.3g}", f"{row.chance.mean:.3g}",
                f"{row.chance.low:.3g} to {row.chance.high:.3g}", nines(row.formula),
            )
            for row in rows
        ] + [("for ever", f"{without:.3g}", "-", "-", nines(without))],
    )  # fmt: skip
    for sentence in assumptions(system):
        print(sentence)


def plot(system: System, rows: Sequence[Row], path: Path) -> None:
    """Draws the formula over the time of repair, with what chance gave; raises NoPlotting."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise NoPlotting from None
    low, high = rows[0].repair_h / 4, rows[-1].repair_h * 4
    hours = [low * (high / low) ** (n / (CURVE_POINTS - 1)) for n in range(CURVE_POINTS)]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot(hours, curve(system, hours), label="formula")
    seen = [row for row in rows if row.chance.mean > 0]
    axes.errorbar(
        [row.repair_h for row in seen],
        [row.chance.mean for row in seen],
        yerr=[
            [row.chance.mean - row.chance.low for row in seen],
            [row.chance.high - row.chance.mean for row in seen],
        ],
        fmt="o",
        capsize=4,
        label="played, 95 %",
    )
    axes.set(
        xscale="log", yscale="log", xlabel="hours until a lost share is rebuilt",
        ylabel="loss of a pack in a year",
        title=f"{system.needed} of {system.shares} at {system.nodes} nodes,"
        f" {system.annual_loss:.3g} lost a year each",
    )  # fmt: skip
    axes.legend()
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be written: {error}.") from error


# ---------------------------------------------------------------- as it is typed


def add_arguments(model: argparse.ArgumentParser, scheme: Callable[[str], tuple[int, int]]) -> None:
    """What the command takes."""
    model.add_argument("--nodes", required=True, type=_count, metavar="N", help="all of them")
    model.add_argument(
        "--scheme", required=True, type=scheme, metavar="K/N", help="any K of N shares are enough"
    )
    model.add_argument(
        "--annual-loss", required=True, type=_share, metavar="P",
        help="how likely a node is lost within a year: 0.05, or 5%%",
    )  # fmt: skip
    model.add_argument(
        "--repair", required=True, type=_hours, metavar="HOURS",
        help="until a lost share is rebuilt, on average",
    )  # fmt: skip
    model.add_argument(
        "--correlated", type=_shock, metavar="P/M",
        help="how likely something takes M nodes at once within a year: 1%%/3",
    )  # fmt: skip
    model.add_argument("--plot", type=Path, metavar="FILE", help="draw it, as PNG, SVG or PDF")


def _share(text: str) -> float:
    """A probability below 1, as a fraction or in percent."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = -1.0
    if 0 <= value < 1:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is neither a fraction from 0 to 1 nor a percentage")


def _shock(text: str) -> tuple[float, int]:
    """P/M."""
    chance, _, nodes = text.partition("/")
    if nodes.isdecimal() and int(nodes) >= 1:
        return _share(chance), int(nodes)
    raise argparse.ArgumentTypeError(f"{text!r} is no P/M, such as 1%/3")


def _hours(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0.01 <= value <= 87_660:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of hours from 0.01 to ten years")


def _count(text: str) -> int:
    if text.isdecimal() and 1 <= int(text) <= 1000:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
