"""A share link of real files at a real endpoint, for those who fetch it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import sha256

from crypto.chunks import CHUNK_SEAL_OVERHEAD, ChunkHasher, SealedChunk, chunk_key, seal_chunk
from crypto.packs import LEAF_SIZE, pack_id
from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link, token_hash
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile
from protocol.share_url import ShareUrl
from relay.share_links import NewLink
from tests.relay.web_stage import OWNER, Made, WebStage

READ, HASHER = b"r" * 32, ChunkHasher(b"h" * 32)
CHUNK = 100_000


@dataclass
class Source:
    """A link, its URL, and what is behind it."""

    made: Made
    url: ShareUrl
    files: dict[str, bytes]
    stage: WebStage


async def source(
    stage: WebStage, files: dict[str, bytes], *, password: str | None = None, **changes: object
) -> Source:
    """Shares files; of paths that end with a slash, empty directories."""
    pack = bytearray(os.urandom(32))
    entries = []
    for path, data in files.items():
        chunks = []
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            id_ = HASHER.chunk_id(piece)
            chunk: SealedChunk = seal_chunk(READ, id_, piece, os.urandom(12))
            assert len(chunk.sealed) >= CHUNK_SEAL_OVERHEAD
            chunks.append(
                SharedChunk(
                    0, len(pack), len(chunk.sealed), chunk.codec, len(piece),
                    chunk_key(READ, id_), sha256(chunk.sealed).digest(),
                )
            )  # fmt: skip
            pack += chunk.sealed
        entries.append(SharedFile(path, len(data), 1_700_000_000_123, tuple(chunks)))
    pack += bytes(-len(pack) % LEAF_SIZE)
    id_of_pack = pack_id(bytes(pack))
    stage.links.packs.packs[id_of_pack] = bytes(pack)
    key = LinkKey.from_seed(os.urandom(40))
    secrets = LinkSecrets.of(os.urandom(32), os.urandom(16), password)
    manifest = LinkManifest(0, (id_of_pack,), tuple(entries))
    flags = LinkFlags.PASSWORD if password else LinkFlags.NONE
    blob = seal_link(key, secrets, manifest.encode(), flags=flags, version=1, salt=os.urandom(32))
    fields: dict[str, object] = {
        "owner": OWNER,
        "password_salt": secrets.password_salt,
        "token_hash": token_hash(secrets.token(key.link_id)),
        "lifetime_s": 0,
        "downloads_max": 0,
        "packs": (id_of_pack,),
        "packs_size": len(pack),
    }
    made = Made(key, secrets, NewLink(**{**fields, **changes}), blob, (id_of_pack,))  # type: ignore[arg-type]
    await stage.links.put(made)
    base = f"http://127.0.0.1:{stage.port}"
    return Source(made, ShareUrl(base, key.link_id, secrets.secret), files, stage)
