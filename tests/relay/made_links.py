"""Share links made of bytes in memory, as a device would make them: packs, manifest and blob."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256

from blake3 import blake3

from crypto.chunks import ChunkHasher, chunk_key, seal_chunk
from crypto.packs import LEAF_SIZE
from crypto.share_links import LinkFlags, LinkKey, LinkSecrets, seal_link
from protocol.link_manifest import LinkManifest, SharedChunk, SharedFile
from tests.crypto.seeded import Seeded

CHUNK_SIZE = 128 << 10
PACK_SIZE = 8 << 20
MTIME_MS = 1_767_225_600_000


def base64url(data: bytes) -> str:
    """As it stands in a URL: without padding."""
    return urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class MadeLink:
    """A link, and all that a relay would hold for it."""

    key: LinkKey
    secrets: LinkSecrets = field(repr=False)
    blob: bytes = field(repr=False)
    packs: dict[bytes, bytes] = field(repr=False)
    flags: int

    @property
    def path(self) -> str:
        """The URL's path and its fragment."""
        return f"/s/{base64url(self.key.link_id)}#{base64url(self.secrets.secret)}"

    @property
    def token(self) -> bytes:
        return self.secrets.token(self.key.link_id)


class LinkMaker:
    """Makes links; the same seed makes the same ones."""

    def __init__(self, seed: str, chunk_size: int = CHUNK_SIZE) -> None:
        self._random = Seeded(seed)
        self._read_secret = self._random(32)
        self._hasher = ChunkHasher(self._random(32))
        self._chunk_size = chunk_size

    def make(
        self,
        files: dict[str, bytes],
        *,
        password: str | None = None,
        expires_s: int = 0,
        version: int = 0,
    ) -> MadeLink:
        """A link to these files; a name that ends with a slash is an empty directory."""
        shared, packs = self._pack(files)
        manifest = LinkManifest(expires_s, tuple(packs), shared)
        return self.seal(manifest.encode(), packs, password=password, version=version)

    def seal(
        self,
        manifest: bytes,
        packs: dict[bytes, bytes],
        *,
        password: str | None = None,
        version: int = 0,
    ) -> MadeLink:
        """A link whose manifest is these bytes, honest or not."""
        key = LinkKey.from_seed(self._random(40))
        secrets = LinkSecrets.of(self._random(32), self._random(16), password)
        flags = LinkFlags.NONE if password is None else LinkFlags.PASSWORD
        blob = seal_link(
            key, secrets, manifest, flags=flags, version=version, salt=self._random(32)
        )
        return MadeLink(key, secrets, blob, packs, int(flags))

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
            whole[blake3(pack).digest()] = bytes(pack)
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
