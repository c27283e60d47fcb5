"""Share links made of bytes in memory, as a device would make them: packs, manifest and blob."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from crypto.chunks import ChunkHasher, chunk_key, seal_chunk
from crypto.packs import LEAF_SIZE, pack_id
from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link, token_hash
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile, SharedPage
from protocol.link_pages import LinkPage
from relay.link_rows import Ended
from relay.share_links import NewLink
from tests.crypto.seeded import Seeded
from tests.relay.web_stage import OWNER, LinkStage, Made, text_of

CHUNK_SIZE = 128 << 10
PACK_SIZE = 8 << 20
MTIME_MS = 1_767_225_600_000


def address_of(link: Made) -> str:
    """The URL's path and its fragment."""
    return f"{link.path}#{text_of(link.secrets.secret)}"


async def put(stage: LinkStage, link: Made, packs: dict[bytes, bytes]) -> None:
    """Gives a relay the link and its packs."""
    stage.packs.packs.update(packs)
    assert await stage.put(link) == Ended.LIVE


class LinkMaker:
    """Makes links; the same seed makes the same ones."""

    def __init__(self, seed: str, chunk_size: int = CHUNK_SIZE) -> None:
        self._random = Seeded(seed)
        self._read_secret = self._random(32)
        self._hasher = ChunkHasher(self._random(32))
        self._chunk_size = chunk_size

    def make(
        self, files: dict[str, bytes], *, password: str | None = None, **changes: Any
    ) -> tuple[Made, dict[bytes, bytes]]:
        """A link to these files, and their packs; a name that ends with a slash is an empty
        directory. The changes are to what the relay is told.
        """
        shared, packs = self._pack(files)
        manifest = LinkManifest(0, tuple(packs), shared)
        return self.seal(manifest.encode(), packs, password=password, **changes), packs

    def make_paged(self, files: dict[str, bytes]) -> tuple[Made, dict[bytes, bytes]]:
        """The same with each file's chunks in pages, and the files below `top/sub` in one too."""
        shared, packs = self._pack(files)
        ids, lists = tuple(packs), [bytearray(self._random(32))]

        def paged(page: LinkPage) -> SharedChunk:
            return replace(self._seal(lists, page.encode()), pack=0)

        large, below = [], []
        for file in shared:
            if file.path.startswith("top/sub/"):
                below.append(replace(file, path=file.path.removeprefix("top/sub/")))
            else:
                chunks = [paged(LinkPage(ids, (), (chunk,))) for chunk in file.chunks]
                large.append(replace(file, chunks=(), pages=tuple(chunks)))
        pages = (SharedPage("top/sub", paged(LinkPage(ids, tuple(below)))),)
        (listed,) = lists
        listed.extend(bytes(-len(listed) % LEAF_SIZE))
        packs[pack_id(bytes(listed))] = bytes(listed)
        manifest = LinkManifest(0, (pack_id(bytes(listed)),), tuple(large), pages=pages)
        return self.seal(manifest.encode(), packs), packs

    def seal(
        self,
        manifest: bytes,
        packs: dict[bytes, bytes],
        *,
        password: str | None = None,
        **changes: Any,
    ) -> Made:
        """A link whose manifest is these bytes, honest or not."""
        key = LinkKey.from_seed(self._random(40))
        secrets = LinkSecrets.of(self._random(32), self._random(16), password)
        flags = LinkFlags.NONE if password is None else LinkFlags.PASSWORD
        blob = seal_link(key, secrets, manifest, flags=flags, version=1, salt=self._random(32))
        hashed = token_hash(secrets.token(key.link_id))
        size = sum(len(pack) for pack in packs.values())
        new = NewLink(OWNER, secrets.password_salt, hashed, 0, 0, tuple(packs), size)
        return Made(key, secrets, replace(new, **changes), blob, tuple(packs))

    def _pack(self, files: dict[str, bytes]) -> tuple[tuple[SharedFile, ...], dict[bytes, bytes]]:
        packs: list[bytearray] = [bytearray(self._random(32))]
        shared = []
        for path, data in files.items():
            starts = range(0, len(data), self._chunk_size)
            chunks = [self._seal(packs, data[at : at + self._chunk_size]) for at in starts]
            shared.append(SharedFile(path, len(data), MTIME_MS, tuple(chunks)))
        whole = {}
        for pack in packs:
            pack.extend(bytes(-len(pack) % LEAF_SIZE))
            whole[pack_id(bytes(pack))] = bytes(pack)
        return tuple(shared), whole

    def _seal(self, packs: list[bytearray], data: bytes) -> SharedChunk:
        chunk_id = self._hasher.chunk_id(data)
        chunk = seal_chunk(self._read_secret, chunk_id, data, self._random(12))
        if len(packs[-1]) + len(chunk.sealed) > PACK_SIZE:
            packs.append(bytearray(self._random(32)))
        offset = len(packs[-1])
        packs[-1].extend(chunk.sealed)
        return SharedChunk(
            pack=len(packs) - 1,
            offset=offset,
            length=len(chunk.sealed),
            codec=chunk.codec,
            plain_len=chunk.plain_len,
            key=chunk_key(self._read_secret, chunk_id),
            sealed_hash=sha256(chunk.sealed).digest(),
        )
