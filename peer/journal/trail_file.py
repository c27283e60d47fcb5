"""The audit trail as it lies in the home: lines of text in segments, appended to and never changed.

A segment begins with whose trail it is and a signed checkpoint of where it begins; each entry is a
line with its hash in the chain (`protocol.trail`). A crash can leave nothing worse than half a line
at the end, which is taken away at the next start, and said. What does not hold anywhere else is
left as it is, for whoever wants to know, and the trail goes on in a chain of its own. The oldest
segments go when there are too many; what is left still begins with a checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys, device_id_of
from protocol.errors import ProtocolError
from protocol.trail import NONCE_SIZE, Checkpoint, begin, extend

TRAIL_NAME: Final = "trail"
"""The directory in the home."""
SEGMENT_SIZE_MAX: Final = 4 << 20
"""What is read and hashed at each start: 10 ms."""
SEGMENTS_MAX: Final = 16
"""64 MiB in all: some 200,000 entries, which is years of a person's work."""
CHECKPOINT_EVERY: Final = 256
"""Entries (CRYPTO 11)."""
ENTRY_LENGTH_MAX: Final = 64 << 10
_SUFFIX: Final = ".trail"

log = logging.getLogger(__name__)


class Line(NamedTuple):
    """One entry as it was read."""

    number: int
    """Counted from 1, over all segments of one chain."""
    entry: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Segment:
    """What reading one segment came to, up to the first line that does not hold."""

    sign_public: bytes
    begins: Checkpoint
    lines: list[Line]
    last: bytes
    """The hash of the last entry that holds."""
    checkpoint: Checkpoint
    """The last one that holds."""
    size: int
    """Bytes up to the first line that does not hold."""
    problem: str
    """What is wrong with that line; empty if all is well."""
    is_torn: bool
    """Whether that is no more than half a line at the end: what a crash leaves."""

    @property
    def end(self) -> int:
        """How many entries the chain has at its end."""
        return self.start + len(self.lines)

    @property
    def start(self) -> int:
        """How many it had before this segment."""
        return self.begins.entries


class BadSegment(Exception):
    """Not even its beginning holds."""


def segments_of(directory: Path) -> list[Path]:
    """The segments that there are, the oldest first."""
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdecimal())


def read_segment(path: Path) -> Segment:
    """Reads and checks one segment; raises BadSegment, or OSError."""
    lines = path.read_bytes().split(b"\n")
    torn = lines.pop()  # what follows the last line end: nothing, unless a crash cut it
    try:
        header = json.loads(lines[0].removeprefix(b"T "))
        sign_public, dh_public = bytes.fromhex(header["sign"]), bytes.fromhex(header["dh"])
        begins = _read_checkpoint(lines[1])
        device_id = device_id_of(sign_public, dh_public)
    except (LookupError, ValueError, TypeError, AssertionError, ProtocolError) as error:
        raise BadSegment("its beginning cannot be read") from error
    if begins.device_id != device_id or not begins.is_signed_by(sign_public):
        raise BadSegment("its beginning is not signed by its device")
    out: list[Line] = []
    last, checkpoint, size = begins.hash, begins, len(lines[0]) + len(lines[1]) + 2
    for line in lines[2:]:
        try:
            if line.startswith(b"E "):
                last, entry = _read_entry(line, last)
                out.append(Line(begins.entries + len(out) + 1, entry))
            else:
                checkpoint = _read_checkpoint(line)
                _check(checkpoint, begins, begins.entries + len(out), last, sign_public)
        except (LookupError, ValueError, TypeError, AssertionError, ProtocolError) as error:
            problem = str(error) or "it is no entry"
            return Segment(sign_public, begins, out, last, checkpoint, size, problem, False)
        size += len(line) + 1
    problem = "it is cut off" if torn else ""
    return Segment(sign_public, begins, out, last, checkpoint, size, problem, bool(torn))


def _read_entry(line: bytes, last: bytes) -> tuple[bytes, dict[str, Any]]:
    _, told, text = line.split(b" ", 2)
    hash_ = extend(last, text)
    if told != hash_.hex().encode():
        raise ValueError("its hash does not follow from what is before it")
    entry = json.loads(text)
    if not isinstance(entry, dict):
        raise ValueError("it is no entry")
    return hash_, entry


def _read_checkpoint(line: bytes) -> Checkpoint:
    if not line.startswith(b"C "):
        raise ValueError("it is no line of a trail")
    return Checkpoint.decode(bytes.fromhex(line[2:].decode("ascii")))


def _check(
    checkpoint: Checkpoint, begins: Checkpoint, count: int, last: bytes, sign_public: bytes
) -> None:
    if (checkpoint.device_id, checkpoint.nonce) != (begins.device_id, begins.nonce):
        raise ValueError("it is a checkpoint of another trail")
    if (checkpoint.entries, checkpoint.hash) != (count, last):
        raise ValueError("the checkpoint names other entries than those before it")
    if not checkpoint.is_signed_by(sign_public):
        raise ValueError("the checkpoint is not signed by this device")


class TrailFile:
    """The trail of one home, open for more. The home's lock keeps others out."""

    def __init__(self, directory: Path, keys: DeviceKeys, random: Callable[[int], bytes]) -> None:
        self.notices: list[str] = []
        """What was found wrong at the start, and what was done about it."""
        self.count = 0
        self.checkpoint: Checkpoint
        """The last one."""
        self.lost = 0
        """Entries that the disk did not take, since one that it took."""
        self._directory, self._keys, self._random = directory, keys, random
        self._nonce, self._last = b"", b""
        self._descriptor = -1
        self._size = 0
        self._full: list[int] = []
        """Descriptors of segments that are full, and were not made durable since."""
        self._syncing = threading.Lock()
        """Only who has it closes a descriptor: another thread may be at it."""

    @classmethod
    def open(
        cls,
        directory: Path,
        keys: DeviceKeys,
        random: Callable[[int], bytes],
        time_s: int,
        *,
        begins_anew: bool = False,
    ) -> TrailFile:
        """Goes on where the last run stopped; in a chain of its own if `begins_anew` or if what is
        there does not hold. Raises OSError.
        """
        trail = cls(directory, keys, random)
        directory.mkdir(mode=0o700, exist_ok=True)
        segments = segments_of(directory)
        while segments and segments[-1].read_bytes().count(b"\n") < 2:
            segments.pop().unlink()  # it was being begun when this device stopped
        if not segments or begins_anew or not trail._go_on(segments[-1]):
            trail._nonce = random(NONCE_SIZE)
            trail._last = begin(keys.device_id, trail._nonce)
            trail._begin_segment(time_s)
        return trail

    def _go_on(self, path: Path) -> bool:
        """Opens the last segment; False if it is not to be added to."""
        try:
            segment = read_segment(path)
        except BadSegment as error:
            self.notices.append(f"The audit trail in {path.name} does not hold: {error}.")
            return False
        if segment.begins.device_id != self._keys.device_id:
            self.notices.append(f"The audit trail in {path.name} is another device's.")
            return False
        if segment.problem and not segment.is_torn:
            number = segment.end + 1
            self.notices.append(
                f"The audit trail does not hold from entry {number} on: {segment.problem}. It is"
                " kept as it is, and a new one begins."
            )
            return False
        self._descriptor = _open(path)
        if segment.is_torn:
            os.ftruncate(self._descriptor, segment.size)
            self.notices.append(
                f"The last line of the audit trail, after entry {segment.end}, was unfinished"
                " and was taken away: this device stopped while it was written."
            )
        self.count, self._last, self._size = segment.end, segment.last, segment.size
        self._nonce, self.checkpoint = segment.begins.nonce, segment.checkpoint
        return True

    def _begin_segment(self, time_s: int) -> None:
        segments = segments_of(self._directory)
        number = int(segments[-1].stem) + 1 if segments else 1
        path = self._directory / f"{number:08}{_SUFFIX}"
        keys = self._keys
        header = {"v": 1, "sign": keys.sign_public.hex(), "dh": keys.dh_public.hex()}
        checkpoint = self._next_checkpoint(time_s)
        before = self._descriptor, self._size
        self._descriptor, self._size = _open(path, os.O_CREAT | os.O_EXCL), 0
        try:
            self._write(b"T " + _json(header) + b"\n" + _line_of(checkpoint))
        except OSError:
            os.close(self._descriptor)
            path.unlink(missing_ok=True)
            self._descriptor, self._size = before
            raise
        self.checkpoint = checkpoint
        if before[0] >= 0:
            self._full.append(before[0])
        for old in segments[: max(0, len(segments) + 1 - SEGMENTS_MAX)]:
            old.unlink(missing_ok=True)

    def append(self, entry: Mapping[str, Any], time_s: int) -> None:
        """Adds an entry. What the disk does not take is counted in `lost`, and told by the next
        entry that it takes: nobody waits for a trail.
        """
        text = _json(entry)
        if len(text) > ENTRY_LENGTH_MAX:
            text = _json({"time": time_s, "what": entry.get("what"), "too_long": len(text)})
        try:
            if self._size > SEGMENT_SIZE_MAX:
                self._begin_segment(time_s)
            if self.lost:
                self._append(_json({"time": time_s, "what": "lost", "count": self.lost}))
                self.lost = 0
            self._append(text)
            if self.count - self.checkpoint.entries >= CHECKPOINT_EVERY:
                self.sign(time_s)
        except OSError as error:
            if not self.lost:
                log.warning("the audit trail cannot be written: %s", error)
            self.lost += 1

    def sign(self, time_s: int) -> None:
        """Adds a checkpoint, if there is anything new. Raises OSError."""
        if self.checkpoint.entries != self.count:
            checkpoint = self._next_checkpoint(time_s)
            self._write(_line_of(checkpoint))
            self.checkpoint = checkpoint

    def sync(self) -> None:
        """Makes it durable; it may take as long as the disk likes, and be done in a thread while
        entries are added. Raises OSError.
        """
        with self._syncing:
            # Counted before the open one is looked at, so that it is none of those that are closed.
            for _ in range(len(self._full)):
                full = self._full.pop(0)
                try:
                    os.fsync(full)
                finally:
                    os.close(full)
            os.fsync(self._descriptor)

    def close(self, time_s: int) -> None:
        """The last checkpoint, and nothing more."""
        try:
            self.sign(time_s)
            self.sync()
        except OSError as error:
            log.warning("the audit trail cannot be finished: %s", error)
        with self._syncing:
            for descriptor in (*self._full, self._descriptor):
                os.close(descriptor)

    def _append(self, text: bytes) -> None:
        hash_ = extend(self._last, text)
        self._write(b"E " + hash_.hex().encode() + b" " + text + b"\n")
        self._last, self.count = hash_, self.count + 1

    def _next_checkpoint(self, time_s: int) -> Checkpoint:
        return Checkpoint.sign(self._keys, self._nonce, self.count, self._last, time_s)

    def _write(self, data: bytes) -> None:
        """All of it, or nothing."""
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError:
            os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)


class Verdict(NamedTuple):
    """What checking a whole trail came to."""

    device_id: DeviceId | None
    entries: int
    first: int
    """The number of the oldest entry that is still there."""
    last: int
    signed: int
    """The number of the last entry that a checkpoint covers."""
    problems: list[str]
    notes: list[str]
    """What a person should know, and is no sign of tampering."""


def verify_trail(directory: Path) -> Verdict:
    """Checks every hash and every signature of a trail. A line that is just being written is none
    of its problems.
    """
    entries = first = last = signed = 0
    device_id: DeviceId | None = None
    problems: list[str] = []
    notes: list[str] = []
    before: Segment | None = None
    paths = segments_of(directory)
    for path in paths:
        try:
            segment = read_segment(path)
        except (BadSegment, OSError) as error:
            problems.append(f"{path.name} does not hold: {error}.")
            before = None
            continue
        device_id = segment.begins.device_id
        ends = None if before is None else (before.begins.nonce, before.end, before.last)
        begins = (segment.begins.nonce, segment.begins.entries, segment.begins.hash)
        if ends is None:
            if segment.begins.entries:
                notes.append(f"Entries 1 to {segment.begins.entries} have been deleted for room.")
        elif begins[0] != ends[0]:
            notes.append(f"A new chain begins in {path.name}.")
        elif begins != ends:
            problems.append(f"Entries are missing between entry {ends[1]} and {path.name}.")
        if segment.problem and not (segment.is_torn and path == paths[-1]):
            problems.append(
                f"{path.name} does not hold after entry {segment.end}: {segment.problem}."
            )
        entries += len(segment.lines)
        first = first or (segment.lines[0].number if segment.lines else 0)
        last, signed = segment.end, segment.checkpoint.entries
        before = segment
    return Verdict(device_id, entries, first, last, signed, problems, notes)


def heads_of(directory: Path) -> dict[bytes, Checkpoint]:
    """The last signed checkpoint of each chain of a trail, by its nonce. Blocking."""
    heads: dict[bytes, Checkpoint] = {}
    for path in segments_of(directory):
        try:
            segment = read_segment(path)
        except (BadSegment, OSError) as error:
            log.warning("%s cannot be read: %s", path.name, error)
            continue
        heads[segment.begins.nonce] = segment.checkpoint
    return heads


def goes_through(directory: Path, checkpoint: Checkpoint) -> bool:
    """Whether a trail is still what was signed by that checkpoint, or what was has given way to
    later segments. Blocking.
    """
    segments = segments_of(directory)
    if len(segments) >= SEGMENTS_MAX and int(segments[0].stem) > 1:
        with suppress(BadSegment):
            first = read_segment(segments[0]).begins
            is_later = first.nonce != checkpoint.nonce or first.entries > checkpoint.entries
            if is_later and first.time_s >= checkpoint.time_s:
                return True
    return hash_at(directory, checkpoint) == checkpoint.hash


def hash_at(directory: Path, checkpoint: Checkpoint) -> bytes | None:
    """What the hash of the entry is that a checkpoint names, in the same chain; None if the trail
    has no such entry any more. Blocking.
    """
    wanted = checkpoint.entries
    for path in segments_of(directory):
        try:
            segment = read_segment(path)
        except (BadSegment, OSError):
            continue
        if segment.begins.nonce != checkpoint.nonce or not segment.start <= wanted <= segment.end:
            continue
        last = segment.begins.hash
        lines = [line for line in path.read_bytes().split(b"\n") if line.startswith(b"E ")]
        for line in lines[: wanted - segment.start]:
            last = extend(last, line.split(b" ", 2)[2])
        return last
    return None


def read_back(directory: Path) -> Iterator[Line]:
    """The entries that hold, the newest first."""
    for path in reversed(segments_of(directory)):
        try:
            yield from reversed(read_segment(path).lines)
        except (BadSegment, OSError) as error:
            log.warning("%s cannot be read: %s", path.name, error)


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, flags | os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _line_of(checkpoint: Checkpoint) -> bytes:
    return b"C " + checkpoint.encode().hex().encode() + b"\n"


def _json(value: Mapping[str, Any]) -> bytes:
    """On one line, of ASCII alone: no name can forge a line."""
    return json.dumps(value, separators=(",", ":")).encode("ascii")
