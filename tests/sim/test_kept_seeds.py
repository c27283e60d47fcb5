"""Histories that once failed, shortened to the steps that it took, and what each of them found."""

from __future__ import annotations

import pytest

from tests.sim.chronicle import Chronicle, live

KEPT: list[tuple[int, tuple[int, ...], str]] = [
    (77, (3, 4, 8, 20, 29), "a name given back on a disk that folds case was taken for an act"),
    (
        3024,
        (0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 22, 26, 28),
        "a conflict copy that a plan had removed, part of which was refused, was told as deleted",
    ),
    (
        600205,
        (
            0,
            1,
            3,
            5,
            6,
            8,
            9,
            *range(11, 24),
            *range(25, 35),
            37,
            38,
            *range(40, 45),
            *range(46, 50),
            *range(51, 59),
            *range(60, 66),
            68,
            71,
            75,
            105,
        ),
        "a file in the trash, its index lost, was not known to have the chunks that all wait for",
    ),
]


@pytest.mark.parametrize(("seed", "steps", "what"), KEPT)
def test_what_failed_once_holds(seed: int, steps: tuple[int, ...], what: str) -> None:
    live(Chronicle(seed, steps))
