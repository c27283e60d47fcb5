"""Hypothesis strategies for every message, within its bounds."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from crypto.ids import ChunkId, EntryId, FolderId, LogId
from protocol import messages as m
from protocol.candidates import Candidate
from protocol.chunk_frames import CODEC_RAW, CODEC_ZSTD, Chunks, Piece

T = TypeVar("T")

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**53 - 1)
id32 = st.binary(min_size=32, max_size=32)
folder_ids = id32.map(FolderId)
entry_ids = id32.map(EntryId)
chunk_ids = id32.map(ChunkId)
log_ids = st.binary(min_size=16, max_size=16).map(LogId)
shown_text = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), max_size=m.DEVICE_NAME_LENGTH_MAX
)
blobs = st.binary(min_size=1, max_size=40)


def tuples_of(item: SearchStrategy[T], minimum: int) -> SearchStrategy[tuple[T, ...]]:
    return st.lists(item, min_size=minimum, max_size=4).map(tuple)


kinds = st.integers(0, 2)
heads = st.builds(m.LedgerHeads, kinds, id32, tuples_of(entry_ids, 0))
wraps = st.builds(m.Wrap, id32, blobs)
positions = st.builds(m.FrontierEntry, log_ids, counts, id32)
raw_pieces = st.builds(lambda i, data: Piece(i, CODEC_RAW, len(data), data), u16, blobs)
zstd_pieces = st.builds(
    lambda i, data, more: Piece(i, CODEC_ZSTD, len(data) + more, data), u16, blobs, u16
)

candidates = st.builds(
    Candidate, st.integers(1, 3), st.ip_addresses().map(str), st.integers(1, 2**16 - 1)
)

any_message: SearchStrategy[m.Message] = st.one_of(
    st.builds(m.Greeting, st.integers(1, 2**16 - 1), shown_text),
    st.builds(m.LedgerHeadsKnown, tuples_of(heads, 0)),
    st.builds(m.Ledger, kinds, id32, tuples_of(blobs, 1)),
    st.builds(m.Wraps, folder_ids, entry_ids, tuples_of(wraps, 1)),
    st.builds(m.Frontier, folder_ids, tuples_of(positions, 0), st.booleans(), counts),
    st.builds(m.Changesets, folder_ids, tuples_of(blobs, 1)),
    st.builds(m.Unshare, folder_ids),
    st.builds(m.Want, folder_ids, u32, tuples_of(chunk_ids, 1)),
    st.builds(m.Cancel, u32),
    st.builds(m.Missing, u32, tuples_of(u16, 1)),
    st.builds(Chunks, u32, tuples_of(raw_pieces | zstd_pieces, 1)),
    st.builds(m.State, folder_ids, counts, counts, st.booleans()),
    st.builds(m.Ping, u64),
    st.builds(m.Pong, u64),
    st.builds(m.Close, u16, shown_text),
    st.builds(m.Paths, u32, id32, tuples_of(candidates, 0)),
)
