"""Which files make a page: the same ones in every link, whatever else it gives."""

from __future__ import annotations

from random import Random

from crypto.ids import ChunkId
from peer.share_links.link_content import Given
from peer.share_links.link_paging import LARGE_CHUNKS, WEIGHT_MAX, WEIGHT_MEAN, paged_of

RANDOM = Random(11)


def given(path: str, chunks: int = 1) -> Given:
    ids = tuple((ChunkId(RANDOM.randbytes(32)), 1000) for _ in range(chunks))
    return Given(path, 1000 * chunks, 0, ids)


TREE = [given(f"top/{d:02}/{n:03}.raw") for d in range(40) for n in range(100)]


def test_each_file_is_in_one_page_below_its_directory() -> None:
    runs = paged_of(TREE).runs
    assert [file for run in runs for file in run.files] == TREE
    assert len(TREE) * 2 / WEIGHT_MAX < len(runs) < 4 * len(TREE) * 2 / WEIGHT_MEAN
    for run in runs:
        assert all(file.path.startswith(run.prefix + "/") for file in run.files)
        below = {file.path[len(run.prefix) + 1 :].split("/")[0] for file in run.files}
        assert len(below) > 1 or len(run.files) == 1, "the deepest directory that all are below"


def test_a_change_changes_one_page() -> None:
    before = {run.files for run in paged_of(TREE).runs}
    changed = [*TREE[:1777], TREE[1777]._replace(mtime_ns=5), *TREE[1778:]]
    assert len({run.files for run in paged_of(changed).runs} - before) == 1
    one_more = [*TREE[:1777], given("top/17/077a.raw"), *TREE[1777:]]
    assert len({run.files for run in paged_of(one_more).runs} - before) <= 2


def test_a_directory_has_the_pages_of_the_whole_but_at_its_edges() -> None:
    shown = [f._replace(path="other/" + f.path[4:]) for f in TREE[1000:3000]]
    of_all = [[f.chunks for f in run.files] for run in paged_of(TREE).runs]
    of_part = [[f.chunks for f in run.files] for run in paged_of(shown).runs]
    assert len(of_part) > 3
    assert all(run in of_all for run in of_part[1:-1])


def test_a_large_file_has_pages_of_its_own_and_one_below_no_directory_none() -> None:
    large, plain = given("top/large", 2000), given("plain")
    limit = given("top/limit", LARGE_CHUNKS - 1)
    paged = paged_of([plain, *TREE[:2], large, limit])
    assert [file for run in paged.runs for file in run.files] == [*TREE[:2], limit]
    assert paged.plain == (plain,)
    ((file, parts),) = paged.large
    assert file is large
    assert tuple(c for part in parts for c in part.chunks) == large.chunks
    moved = Given("top/large", 0, 0, ((ChunkId(b"n" * 32), 5), *large.chunks))
    (_, again) = paged_of([moved]).large[0]
    assert again[1:] == parts[1:], "what comes in at the front moves no other end"


def test_two_tops_make_two_pages() -> None:
    runs = paged_of([given("a/x"), given("a/y"), given("b/z")]).runs
    assert [(run.prefix, len(run.files)) for run in runs] == [("a", 2), ("b", 1)]


def test_equal_names_and_contents_without_end_end_all_the_same() -> None:
    same = given("x")
    files = [same._replace(path=f"top/{n}/same") for n in range(3000)]
    sizes = [len(run.files) for run in paged_of(files).runs]
    assert max(sizes) <= WEIGHT_MAX // 2
    long = [given(f"top/{n}/" + "n" * 200, 0) for n in range(3000)]
    letters = [sum(len(f.path) for f in run.files) for run in paged_of(long).runs]
    assert max(letters) < 64 * (WEIGHT_MAX + 10)


def test_a_list_is_known_by_all_that_a_page_says_of_it_but_not_by_where_it_is() -> None:
    files = [given("top/a"), given("top/b", 2)]
    (run,) = paged_of(files).runs
    (renamed,) = paged_of([f._replace(path="other/" + f.path[4:]) for f in files]).runs
    assert renamed.key == run.key
    others = (
        files[0]._replace(path="top/c"), files[0]._replace(mtime_ns=1_000_000),
        files[0]._replace(size=999), given("top/a"), files[0]._replace(chunks=()),
    )  # fmt: skip
    keys = {paged_of([other, files[1]]).runs[0].key for other in others}
    assert len(keys - {run.key}) == len(others)
    large = given("large", LARGE_CHUNKS)
    ((_, parts),) = paged_of([large]).large
    ((_, others_),) = paged_of([large._replace(chunks=large.chunks[::-1])]).large
    assert not {part.key for part in parts} & {part.key for part in others_}
