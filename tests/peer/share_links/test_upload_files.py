"""Files of strangers on their way into a folder: through no symlink, over nothing that is there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from crypto.uploads import SEGMENT_SIZE
from peer.share_links.upload_files import Identity, NoPlace, Receiving, receiving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / ".holdfast").mkdir(parents=True)
    return tmp_path / "root"


def aside(place: Receiving, data: bytes = b"data") -> Identity:
    begun = place.begin("way")
    try:
        os.write(begun.descriptor, data)
        return place.finish(begun, "aside", 1_700_000_000_000_000_000)
    finally:
        os.close(begun.descriptor)


def test_a_file_gets_a_name_where_nothing_is(root: Path) -> None:
    with receiving(root) as place:
        identity = aside(place, b"other")
        identity = aside(place)  # one that did not come whole is begun anew
        assert place.is_aside("aside", identity)
        path = ("In", "From Ada", "a.txt")
        assert place.is_free(path)
        place.make_directories(path)
        place.place("aside", path)
        assert not place.is_free(path)
        assert not place.is_aside("aside", identity)
        assert place.is_placed(path, identity)
        assert not place.is_placed(("In", "b"), identity)
        aside(place)
        with pytest.raises(FileExistsError):
            place.place("aside", path)
        assert place.segments_of("way") == 0
        os.close(place.begin("way").descriptor)
        place.discard("way")
        place.discard("way")
        assert os.listdir(root / ".holdfast" / "received") == ["aside"]
    file = root.joinpath(*path)
    assert file.read_bytes() == b"data"
    assert file.stat().st_mtime_ns == 1_700_000_000_000_000_000
    assert not file.stat().st_mode & 0o111


@pytest.mark.row("A35")
def test_no_symlink_leads_out_of_the_folder(root: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (root / "In").symlink_to(outside)
    with receiving(root) as place:
        aside(place)
        with pytest.raises(NotADirectoryError):
            place.make_directories(("In", "a"))
        with pytest.raises(OSError, match=r"symbolic|Not a directory"):
            place.place("aside", ("In", "a"))
        with pytest.raises(OSError, match="not a name"):
            place.place("aside", ("..", "a"))
    assert list(outside.iterdir()) == []


def test_a_file_in_the_way_is_told(root: Path) -> None:
    (root / "In").write_text("a person's")
    with receiving(root) as place:
        with pytest.raises(NotADirectoryError):
            place.make_directories(("In", "a"))
        assert not place.is_placed(("In", "a"), Identity(1, 2, 3))


def test_a_disk_that_is_not_there_gets_nothing(tmp_path: Path) -> None:
    with pytest.raises(NoPlace), receiving(tmp_path):
        pass  # an empty directory, as of a disk that is not mounted
    with pytest.raises(NoPlace), receiving(tmp_path / "nothing"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_room_is_looked_at(root: Path) -> None:
    with receiving(root) as place:
        assert place.has_room_for(0)
        assert not place.has_room_for(1 << 60)


def test_what_is_durable_of_a_file_is_gone_on_with(root: Path) -> None:
    with receiving(root) as place:
        begun = place.begin("way")
        os.write(begun.descriptor, b"a" * SEGMENT_SIZE + b"b" * SEGMENT_SIZE)
        place.keep(begun, 1)
        os.close(begun.descriptor)
        assert place.segments_of("way") == 1
        assert place.segments_of("other") == 0
        again = place.begin("way")
        assert again.segments == 1
        os.write(again.descriptor, b"c")
        place.finish(again, "aside", 0)
        os.close(again.descriptor)
        kept = (root / ".holdfast" / "received" / "aside").read_bytes()
        assert kept == b"a" * SEGMENT_SIZE + b"c"


def test_of_a_file_that_somebody_cut_off_nothing_is_believed(root: Path) -> None:
    received = root / ".holdfast" / "received"
    with receiving(root) as place:
        for name in ("way.1", "way.3"):
            (received / name).write_bytes(bytes(SEGMENT_SIZE))
        (received / "way.2x").touch()
        begun = place.begin("way")
        assert begun.segments == 0
        os.close(begun.descriptor)
    assert sorted(os.listdir(received)) == ["way.0", "way.2x"]
