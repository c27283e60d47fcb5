"""The registry is closed, and nothing of one type passes for another: the N x N matrix of A11."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from crypto import changesets, chunks, epochs, key_file, link_auth, packs
from crypto.compression import Codec
from crypto.errors import CryptoError, OpenError, SignatureError
from crypto.ids import ChunkId, DeviceId, EntryId, FolderId
from crypto.keys import DeviceKeys
from crypto.labels import LABELS, RAW_PREFIXES
from crypto.primitives import (
    derive,
    digest,
    open_sealed,
    seal,
    sign,
    sign_public,
    unwrap,
    verify,
    wrap,
)
from tests.crypto.seeded import Seeded

ROOT = Path(__file__).parents[2]
KEY = b"\x07" * 32
ID = b"\x09" * 32
TEXT = bytes(range(128))
"""One plaintext for all: nothing but the type tells the sealed objects apart."""
KEYS = DeviceKeys(KEY, KEY, KEY, KEY)
HASHER = chunks.ChunkHasher(KEY)
FOLDER = FolderId(ID)


def test_every_label_frames_itself() -> None:
    for name, framed in LABELS.items():
        assert framed == len(name).to_bytes(4, "big") + name.encode("ascii")


def test_no_raw_prefix_begins_another_or_a_framed_label() -> None:
    for prefix in RAW_PREFIXES:
        assert prefix.endswith(b"\0")
        others = [other for other in RAW_PREFIXES if other != prefix]
        assert not any(other.startswith(prefix) for other in [*others, *LABELS.values()])


def test_every_label_in_the_sources_is_registered() -> None:
    # The functions refuse unknown labels when they run; this finds those that no test has run.
    call = re.compile(
        r'\b(?:digest|derive|sign|verify|seal|open_sealed|wrap|unwrap)\(\s*[\w.\[\]]*,?\s*"([^"]+)"'
    )
    paths = [
        path
        for name in ("crypto", "protocol", "peer", "relay")
        for path in (ROOT / name).glob("*.py")
    ]
    used = {label for path in paths for label in call.findall(path.read_text())}
    assert len(used) >= 20
    assert used <= set(LABELS)


def test_hashes_and_keys_of_all_labels_differ() -> None:
    assert len({digest(label, ID) for label in LABELS}) == len(LABELS)
    assert len({derive(KEY, label, ID) for label in LABELS}) == len(LABELS)
    assert not {digest(label, ID) for label in LABELS} & {
        derive(bytes(32), label, ID) for label in LABELS
    }


@pytest.mark.row("A11")
def test_what_one_label_sealed_no_other_opens() -> None:
    for label in LABELS:
        sealed = seal(KEY, label, ID, plaintext=TEXT, random32=os.urandom(32))
        for other in LABELS:
            if other == label:
                assert open_sealed(KEY, other, ID, sealed=sealed) == TEXT
                continue
            with pytest.raises(OpenError):
                open_sealed(KEY, other, ID, sealed=sealed)


@pytest.mark.row("A11")
def test_what_one_label_signed_no_other_verifies() -> None:
    public = sign_public(KEY)
    signatures = {label: sign(KEY, label, ID) for label in LABELS}
    assert len(set(signatures.values())) == len(LABELS)
    labels = sorted(LABELS)
    for at, label in enumerate(labels):
        verify(public, signatures[label], label, ID)
        for other in labels[:at] + labels[at + 1 :]:
            with pytest.raises(SignatureError):
                verify(public, signatures[label], other, ID)


def _sealed_pack() -> packs.Pack:
    writer = packs.PackWriter(KEY, packs.PackKind.CHUNKS, Seeded("pack of the matrix"))
    writer.add(ID, chunks.SealedChunk(Codec.RAW, 100, bytes(128)))
    return writer.close()


def _index_box() -> bytes:
    pack = _sealed_pack()
    offset, length = packs.open_pack_trailer(
        KEY, pack.data[:32], pack.data[-packs.TRAILER_BOX_SIZE :], len(pack.data)
    )
    return pack.data[offset : offset + length]


def _chunk(sealed: bytes, codec: int = Codec.RAW) -> bytes:
    chunk = chunks.SealedChunk(codec, len(TEXT), sealed)
    return chunks.open_chunk(KEY, HASHER.chunk_id(TEXT), chunk, HASHER)


def _tiers(sealed: bytes) -> bytes:
    secrets = epochs.TierSecrets(*(TEXT[at : at + 32] for at in range(0, 128, 32)))
    commits = secrets.commitments(FOLDER, bytes(16))
    opened = epochs.open_tiers(KEY, FOLDER, TEXT, ID, sealed, commits=commits, nonce=bytes(16))
    return b"".join(secret or b"" for secret in opened.in_order)


SALT = Seeded("pack of the matrix")(32)

OBJECTS: dict[str, tuple[Callable[[], bytes], Callable[[bytes], object]]] = {
    "changeset body": (
        lambda: changesets.seal_body(epochs.record_key(KEY), ID, TEXT, os.urandom(32)),
        lambda box: changesets.open_body(epochs.record_key(KEY), ID, box),
    ),
    "epoch link": (
        lambda: epochs.link_seal(KEY, FOLDER, EntryId(ID), TEXT[:32], os.urandom(32)),
        lambda box: epochs.link_open(KEY, FOLDER, EntryId(ID), box),
    ),
    "tier wrap": (
        lambda: epochs.wrap_tiers(
            KEYS.dh_public,
            FOLDER,
            TEXT,
            ID,
            epochs.TierSecrets(*(TEXT[at : at + 32] for at in range(0, 128, 32))),
        ),
        _tiers,
    ),
    "hello box": (
        lambda: link_auth.seal_intro(KEYS.dh_public, 1, ID, ID, TEXT),
        lambda box: link_auth.open_intro(KEYS, 1, ID, ID, box),
    ),
    "bare wrap": (
        lambda: wrap(KEYS.dh_public, "invite", ID, plaintext=TEXT),
        lambda box: unwrap(KEY, "invite", ID, wrapped=box),
    ),
    "chunk": (
        lambda: chunks.seal_chunk(KEY, HASHER.chunk_id(TEXT), TEXT, os.urandom(12)).sealed,
        _chunk,
    ),
    "log item": (
        lambda: chunks.seal_log_item(KEY, HASHER.chunk_id(TEXT), TEXT, os.urandom(12)).sealed,
        lambda box: chunks.open_log_item(
            KEY, HASHER.chunk_id(TEXT), chunks.SealedChunk(Codec.RAW, len(TEXT), box)
        ),
    ),
    "pack index": (
        _index_box,
        lambda box: packs.open_pack_index(KEY, SALT, box, 32 + 128),
    ),
    "pack trailer": (
        lambda: _sealed_pack().data[-packs.TRAILER_BOX_SIZE :],
        lambda box: packs.open_pack_trailer(KEY, SALT, box, 65536),
    ),
    "key file": (
        lambda: key_file.encode_key_file(KEYS, os.urandom, external_key=KEY),
        lambda box: key_file.decode_key_file(box, external_key=KEY),
    ),
    "signature": (
        lambda: KEYS.sign("link accept", ID),
        lambda box: link_auth.verify_accept(KEYS.sign_public, box, ID),
    ),
    "proof": (
        lambda: link_auth.sign_proof(KEYS, ID, TEXT),
        lambda box: link_auth.verify_proof(KEYS.sign_public, box, ID, TEXT),
    ),
    "hello": (
        lambda: link_auth.sign_hello(KEYS, 1, ID, ID, DeviceId(ID)),
        lambda box: link_auth.verify_hello(
            KEYS.sign_public, box, 1, ID, ID, KEYS.device_id, DeviceId(ID)
        ),
    ),
    "changeset signature": (
        lambda: changesets.sign_slot(KEY, ID, ID),
        lambda box: changesets.verify_slot(KEYS.sign_public, box, ID, ID),
    ),
}


@pytest.mark.row("A11")
@pytest.mark.parametrize("opened_as", OBJECTS)
@pytest.mark.parametrize("made_as", OBJECTS)
def test_an_object_opens_as_what_it_was_made_and_as_nothing_else(
    made_as: str, opened_as: str
) -> None:
    made, opens = OBJECTS[made_as][0](), OBJECTS[opened_as][1]
    if made_as == opened_as:
        opens(made)
    else:
        with pytest.raises(CryptoError):
            opens(made)


@pytest.mark.row("A11")
def test_a_file_that_holds_a_valid_changeset_is_a_chunk_and_no_changeset() -> None:
    body = changesets.seal_body(epochs.record_key(KEY), ID, TEXT, os.urandom(32))
    chunk_id = ChunkId(HASHER.chunk_id(body))
    chunk = chunks.seal_chunk(KEY, chunk_id, body, os.urandom(12))
    assert chunks.open_chunk(KEY, chunk_id, chunk, HASHER) == body
    with pytest.raises(OpenError):
        changesets.open_body(epochs.record_key(KEY), ID, chunk.sealed)
    with pytest.raises(OpenError):
        chunks.open_log_item(KEY, chunk_id, chunk)
