"""What is on its way, how fast, and how long it takes yet. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from peer.command_line.terminal import count_files, format_size, format_time, term_safe
from peer.status import FolderStatus, TransferEntry
from tui.rows import SMOOTHING, Line, Tone

TRANSFER_HEADINGS: Final = ("", "on its way", "done", "of", "rate", "left")
BAR_CELLS: Final = 10
LEFT_MAX_S: Final = 30 * 86_400
"""Who is told that it takes longer learns nothing."""


def bar(share: float) -> str:
    """How much is done, drawn."""
    full = round(max(0.0, min(1.0, share)) * BAR_CELLS)
    return f"{'█' * full}{'░' * (BAR_CELLS - full)}"


@dataclass(slots=True)
class _Seen:
    done: float
    at_s: float
    rate: float = 0.0


@dataclass(slots=True)
class Speeds:
    """Bytes a second of each file that is on its way, and of each folder, smoothed."""

    _seen: dict[str, _Seen] = field(default_factory=dict)

    def note(self, done: dict[str, float], now_s: float) -> None:
        """So much of each is done at this time; what is not named is on its way no more."""
        for key in self._seen.keys() - done.keys():
            del self._seen[key]
        for key, count in done.items():
            before = self._seen.get(key)
            if before is None:
                self._seen[key] = _Seen(count, now_s)
                continue
            passed_s = now_s - before.at_s
            if passed_s <= 0:
                continue
            rate = max(0.0, count - before.done) / passed_s
            before.rate += (rate - before.rate) * SMOOTHING
            before.done, before.at_s = count, now_s

    def rate(self, key: str) -> float:
        """Of one of them; 0 while nothing moves."""
        seen = self._seen.get(key)
        return 0.0 if seen is None else seen.rate


def key_of(entry: TransferEntry) -> str:
    """What names a transfer between two looks."""
    return f"{entry['folder_id']}/{entry['path']}/{entry['size']}"


def done_of(folders: Sequence[FolderStatus], entries: Sequence[TransferEntry]) -> dict[str, float]:
    """What is done of each: of a folder it is what it lacks, below zero."""
    done: dict[str, float] = {key_of(one): float(one["done_bytes"]) for one in entries}
    done.update({one["id"]: -float(one["need_bytes"]) for one in folders if one["need_bytes"]})
    return done


def left_words(left_bytes: float, rate: float) -> str:
    """How long it takes yet; nothing while nobody can say."""
    if rate <= 0 or left_bytes / rate > LEFT_MAX_S:
        return ""
    return format_time(max(1.0, left_bytes / rate))


def transfer_lines(
    folders: Sequence[FolderStatus], entries: Sequence[TransferEntry], more: int, speeds: Speeds
) -> list[Line]:
    """A line for each folder that lacks bytes, and below it one for each of its files."""
    out: list[Line] = []
    for folder in folders:
        if folder["need_bytes"]:
            mine = [one for one in entries if one["folder_id"] == folder["id"]]
            came = sum(one["done_bytes"] for one in mine if not one["paused"])
            done, left = folder["bytes"] + came, folder["need_bytes"]
            moving = folder["need_files"] - folder.get("paused_files", 0)
            name = f"{folder['name']}: {count_files(max(1, moving))}"
            out.append(_line(folder["id"], name, done, done + left, left, speeds))
        for one in entries:
            if one["folder_id"] == folder["id"] and one["path"]:
                left = one["size"] - one["done_bytes"]
                name, key = f"  {one['path']}", key_of(one)
                line = _line(key, name, one["done_bytes"], one["size"], left, speeds)
                out.append(_paused(line) if one["paused"] else line)
    if more:
        out.append(Line("more", ("", f"  and {more} more", "", "", "", ""), Tone.QUIET))
    return out


def _paused(line: Line) -> Line:
    _, *cells, _, _ = line.cells
    return line._replace(cells=("‖", *cells, "paused", ""), tone=Tone.QUIET)


def _line(key: str, name: str, done: int, size: int, left: int, speeds: Speeds) -> Line:
    rate, share = speeds.rate(key), done / size if size else 0.0
    cells = (
        "↓", term_safe(name), f"{bar(share)} {share:4.0%}", format_size(size),
        f"{format_size(rate)}/s" if rate else "", left_words(left, rate),
    )  # fmt: skip
    return Line(key, cells, Tone.BUSY, term_safe(name.strip()))
