"""What waits at a relay comes into a folder once, whatever it shows and whenever we are killed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from crypto.ids import FolderId
from crypto.uploads import SEALED_SEGMENT_SIZE, SEGMENT_SIZE
from peer.share_links import upload_intake
from peer.share_links.link_relay import LinkRelay
from peer.share_links.upload_intake import DAMAGED_TRIES, Came, NoRoom, Trouble, UploadIntake
from peer.share_links.upload_store import ArrivalState, UploadLink, UploadSecrets, UploadStore
from protocol.errors import LinkError
from protocol.upload_messages import Waiting
from tests.relay.upload_stage import Sealed, UploadLinkMade, make_upload_link, sealed_file

PIECE = 300_000


class Killed(BaseException):
    """The device loses its power here."""


@dataclass
class EvilStore:
    """A relay that holds what it was given, and gives what it likes."""

    link: UploadLinkMade
    files: dict[bytes, Sealed] = field(default_factory=dict)
    taken: list[bytes] = field(default_factory=list)
    change: Callable[[bytes, int], bytes] = field(default=lambda data, at: data)
    is_away = False
    away_from = 1 << 40
    """From where on in a file it is not to be reached."""
    fault: BaseException = field(default_factory=lambda: LinkError("it went away"))
    reads: list[int] = field(default_factory=list)

    def put(self, sealed: Sealed, as_id: bytes | None = None, size: int | None = None) -> Waiting:
        upload_id = as_id or sealed.upload_id
        self.files[upload_id] = sealed
        return Waiting(upload_id, sealed.size if size is None else size, 5, sealed.head)

    async def read_upload(self, link_id: bytes, upload_id: bytes, at: int, size: int) -> bytes:
        assert link_id == self.link.made.link_id
        if at >= self.away_from:
            raise self.fault
        self.reads.append(at)
        data = b"".join(self.files[upload_id].segments)[at : at + min(size, PIECE)]
        return self.change(data, at)

    async def upload_taken(self, link_id: bytes, upload_id: bytes) -> None:
        if self.is_away:
            raise LinkError("it is away")
        self.taken.append(upload_id)


class Stage:
    """A device with one upload link."""

    def __init__(self, root: Path, store: UploadStore, made: UploadLinkMade) -> None:
        self.root, self.store, self.made = root, store, made
        self.relay = EvilStore(made)
        secrets = UploadSecrets(
            made.made.secrets.secret, made.made.key.secret, made.upload.secret, made.gate
        )
        rules = made.rules
        self.link = UploadLink(
            made.made.link_id, "r", "b", secrets, "Party", FolderId(b"f" * 32), "Inbox", False,
            0, 0,
            rules.files_max, rules.file_bytes_max, rules.bytes_max,
        )  # fmt: skip
        self.told: list[Came | Trouble] = []
        self.tries: dict[bytes, int] = {}

    def sealed(self, data: bytes, **said: Any) -> Sealed:
        return sealed_file(self.made, data, **said)

    async def take(self, waiting: Waiting) -> bool:
        relay = cast(LinkRelay, self.relay)
        intake = UploadIntake(self.store, relay, self.link, self.root, self.told.append)
        return await intake.take(waiting, self.tries)

    def files(self) -> dict[str, bytes]:
        inbox = self.root / "Inbox"
        return {
            path.relative_to(inbox).as_posix().split("/", 1)[1]: path.read_bytes()
            for path in inbox.rglob("*")
            if path.is_file()
        }

    def leftovers(self) -> list[str]:
        return sorted(os.listdir(self.root / ".holdfast" / "received"))


@pytest.fixture
async def stage(tmp_path: Path) -> Any:
    root = tmp_path / "root"
    (root / ".holdfast").mkdir(parents=True)
    store = await UploadStore.open(tmp_path / "uploads.db", b"k" * 32)
    stage = Stage(root, store, make_upload_link(files_max=5))
    await store.add(stage.link, b"r" * 32)
    yield stage
    await store.close()


async def test_a_file_comes_once(stage: Stage) -> None:
    data = os.urandom(2 * SEGMENT_SIZE + 77)
    waiting = stage.relay.put(stage.sealed(data, path="Trip/a.raw"))
    assert await stage.take(waiting)
    assert stage.files() == {"Trip/a.raw": data}
    assert stage.told == [Came("Ada", stage.told[0].path)]  # type: ignore[union-attr]
    assert stage.relay.taken == [waiting.upload_id]
    assert await stage.take(waiting), "a relay that shows it again"
    assert len(stage.files()) == 1
    assert len(stage.told) == 1
    assert stage.leftovers() == []


async def test_nothing_that_is_there_is_overwritten(stage: Stage) -> None:
    for data in (b"one", b"two", b"three"):
        assert await stage.take(stage.relay.put(stage.sealed(data, path="a.txt")))
    assert stage.files() == {"a.txt": b"one", "a (2).txt": b"two", "a (3).txt": b"three"}


async def test_a_directory_that_is_a_file_is_gone_around(stage: Stage) -> None:
    assert await stage.take(stage.relay.put(stage.sealed(b"one", path="d")))
    assert await stage.take(stage.relay.put(stage.sealed(b"two", path="d/e")))
    assert sorted(stage.files().values()) == [b"one", b"two"]


@pytest.mark.row("A34")
async def test_a_sender_s_path_leads_nowhere_else(stage: Stage, tmp_path: Path) -> None:
    for path in ("../../../out", "/out", ".holdfast/folder-id", "a/../../../out"):
        assert await stage.take(stage.relay.put(stage.sealed(b"x", path=path, label="../..")))
    assert not (tmp_path / "out").exists()
    assert os.listdir(stage.root / ".holdfast") == ["received"]
    assert len(stage.files()) == 4


STEPS = ("fetched", "noted", "moved", "told", "taken", "done")


@pytest.mark.parametrize("step", STEPS)
async def test_killed_at_any_step_it_comes_once(
    stage: Stage, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = os.urandom(SEGMENT_SIZE + 1)
    waiting = stage.relay.put(stage.sealed(data))
    with monkeypatch.context() as patch:
        kill_at(step, stage, patch)
        with pytest.raises(Killed):
            await stage.take(waiting)
    assert await stage.take(waiting)
    assert list(stage.files().values()) == [data]
    assert stage.leftovers() == []
    assert stage.relay.taken[-1] == waiting.upload_id
    arrival = (await stage.store.arrivals(stage.link.link_id))[waiting.upload_id]
    assert arrival.state in (ArrivalState.DONE, ArrivalState.PLACED)


def kill_at(step: str, stage: Stage, patch: pytest.MonkeyPatch) -> None:
    """Power goes after the step was done, or before it where it is not to be seen afterwards."""
    put = stage.store.put

    async def dying_put(arrival: Any) -> None:
        dies = {"fetched": ArrivalState.HERE, "moved": ArrivalState.PLACED,
                "done": ArrivalState.DONE}.get(step)  # fmt: skip
        if arrival.state is dies:
            raise Killed
        await put(arrival)
        if (step, arrival.state) in (("noted", ArrivalState.HERE), ("told", ArrivalState.PLACED)):
            raise Killed

    async def dying_taken(link_id: bytes, upload_id: bytes) -> None:
        raise Killed

    patch.setattr(stage.store, "put", dying_put)
    if step == "taken":
        patch.setattr(stage.relay, "upload_taken", dying_taken)


async def test_a_file_aside_that_somebody_removed_is_fetched_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = stage.relay.put(stage.sealed(b"data"))
    with monkeypatch.context() as patch:
        kill_at("noted", stage, patch)
        with pytest.raises(Killed):
            await stage.take(waiting)
    (left,) = stage.leftovers()
    (stage.root / ".holdfast" / "received" / left).unlink()
    assert await stage.take(waiting)
    assert list(stage.files().values()) == [b"data"]


@pytest.mark.parametrize("fault", [LinkError("it went away"), asyncio.CancelledError(), Killed()])
async def test_what_was_fetched_is_not_fetched_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """A link that is lost and a device that is stopped keep all segments, a power cut the kept."""
    monkeypatch.setattr(upload_intake, "KEPT_EVERY", 2)
    data = os.urandom(4 * SEGMENT_SIZE + 5)
    waiting = stage.relay.put(stage.sealed(data))
    stage.relay.away_from, stage.relay.fault = 3 * SEALED_SEGMENT_SIZE, fault
    with pytest.raises(type(fault)):
        await stage.take(waiting)
    assert len(stage.leftovers()) == 1
    stage.relay.away_from = 1 << 40
    stage.relay.reads.clear()
    assert await stage.take(waiting)
    assert stage.relay.reads[0] == (2 if isinstance(fault, Killed) else 3) * SEALED_SEGMENT_SIZE
    assert list(stage.files().values()) == [data]
    assert stage.leftovers() == []


async def test_who_is_cancelled_waits_for_the_write_that_is_under_way(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A descriptor that is closed under it has another file's number soon."""
    write, begun, may_end = upload_intake._write, threading.Event(), threading.Event()
    errors: list[OSError] = []

    def slow(descriptor: int, data: bytes) -> None:
        begun.set()
        assert may_end.wait(30)
        try:
            write(descriptor, data)
        except OSError as error:
            errors.append(error)

    monkeypatch.setattr(upload_intake, "_write", slow)
    waiting = stage.relay.put(stage.sealed(b"x" * SEGMENT_SIZE * 2, path="a"))
    taking = asyncio.ensure_future(stage.take(waiting))
    assert await asyncio.to_thread(begun.wait, 30)
    taking.cancel()
    for _ in range(10):  # turns of the loop: more than it takes to be cancelled
        await asyncio.sleep(0)
    assert not taking.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await taking
    assert not errors


async def test_what_was_begun_is_not_gone_on_with_as_another_file(stage: Stage) -> None:
    first, second = os.urandom(2 * SEGMENT_SIZE + 1), os.urandom(2 * SEGMENT_SIZE + 1)
    sealed = stage.sealed(first)
    stage.relay.away_from = SEALED_SEGMENT_SIZE
    with pytest.raises(LinkError):
        await stage.take(stage.relay.put(sealed))
    stage.relay.away_from = 1 << 40
    other = stage.sealed(second, upload_id=sealed.upload_id)
    assert await stage.take(stage.relay.put(other))
    assert list(stage.files().values()) == [second]


async def test_a_relay_that_is_away_is_told_later(stage: Stage) -> None:
    waiting = stage.relay.put(stage.sealed(b"data"))
    stage.relay.is_away = True
    with pytest.raises(LinkError):
        await stage.take(waiting)
    stage.relay.is_away = False
    assert await stage.take(waiting)
    assert len(stage.files()) == 1


def swapped(data: bytes, at: int) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1]) if data else data


@pytest.mark.row("A39")
@pytest.mark.parametrize("evil", ["flipped", "cut", "reordered", "repeated", "another's", "size"])
async def test_what_a_relay_has_changed_is_never_kept(stage: Stage, evil: str) -> None:
    sealed = stage.sealed(os.urandom(2 * SEGMENT_SIZE + 5))
    waiting = stage.relay.put(sealed)
    segments = sealed.segments
    match evil:
        case "flipped":
            stage.relay.change = swapped
        case "cut":
            sealed.segments = segments[:-1]
        case "reordered":
            sealed.segments = [segments[1], segments[0], segments[2]]
        case "repeated":
            sealed.segments = [segments[0], segments[0], segments[2]]
        case "another's":
            waiting = stage.relay.put(sealed, as_id=b"z" * 16)
        case "size":
            waiting = stage.relay.put(sealed, size=sealed.size - 1)
    for _ in range(DAMAGED_TRIES - 1):
        assert not await stage.take(waiting)
    assert await stage.take(waiting)
    assert (stage.root / "Inbox").exists() is False
    assert stage.leftovers() == []
    assert isinstance(stage.told[0], Trouble)
    assert stage.relay.taken == [waiting.upload_id]


async def test_a_bad_moment_of_a_relay_costs_nothing(stage: Stage) -> None:
    waiting = stage.relay.put(stage.sealed(b"data"))
    stage.relay.change = swapped
    assert not await stage.take(waiting)
    stage.relay.change = lambda data, at: data
    assert await stage.take(waiting)
    assert list(stage.files().values()) == [b"data"]


@pytest.mark.row("A39")
async def test_a_relay_that_is_not_given_the_url_forges_nothing(stage: Stage) -> None:
    other = make_upload_link()
    other.upload, other.made.key = stage.made.upload, stage.made.made.key
    other.made.link_id = stage.made.made.link_id
    forged = sealed_file(other, b"planted")  # with the right key, and another secret
    waiting = stage.relay.put(forged)
    for _ in range(DAMAGED_TRIES):
        await stage.take(waiting)
    assert (stage.root / "Inbox").exists() is False


@pytest.mark.row("A39")
async def test_limits_are_looked_at_here_too(stage: Stage) -> None:
    large = stage.sealed(b"x" * 100)
    stage.link = replace(stage.link, files_max=2, file_bytes_max=99, bytes_max=150)
    assert await stage.take(stage.relay.put(large))
    for _ in range(3):
        assert await stage.take(stage.relay.put(stage.sealed(b"x" * 60)))
    assert [type(each) for each in stage.told] == [Trouble, Came, Came, Trouble]
    stage.link = replace(stage.link, files_max=9, file_bytes_max=99, bytes_max=150)
    assert await stage.take(stage.relay.put(stage.sealed(b"x" * 60)))
    assert stage.told[-1] == Trouble("the link allows no more bytes")
    assert len(stage.files()) == 2


async def test_a_full_disk_leaves_it_at_the_relay(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.share_links.upload_files.SPARE_BYTES", 1 << 60)
    waiting = stage.relay.put(stage.sealed(b"data"))
    with pytest.raises(NoRoom):
        await stage.take(waiting)
    assert stage.relay.taken == []
    monkeypatch.undo()
    assert await stage.take(waiting)


def test_pieces_are_smaller_than_a_segment() -> None:
    assert PIECE < SEALED_SEGMENT_SIZE, "or joining them is not tried"
