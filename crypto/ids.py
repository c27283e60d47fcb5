"""The names of things: fixed-length byte strings, one type each (CRYPTO 1)."""

from typing import NewType

DeviceId = NewType("DeviceId", bytes)
"""32 bytes: the hash of a device's two public keys."""
UserId = NewType("UserId", bytes)
"""32 bytes: the hash of a user ledger's genesis entry."""
FolderId = NewType("FolderId", bytes)
"""32 bytes: the hash of a folder ledger's genesis entry."""
EntryId = NewType("EntryId", bytes)
"""32 bytes: the hash of a ledger entry; an epoch is named by the entry that made it."""
LogId = NewType("LogId", bytes)
"""16 bytes: one (folder, device, incarnation); what version vectors count in."""
NodeId = NewType("NodeId", bytes)
"""16 bytes: a file, directory or symlink; the low two bits are its kind."""
ChunkId = NewType("ChunkId", bytes)
"""32 bytes: keyed BLAKE3 of a chunk's plaintext."""
RelayId = NewType("RelayId", bytes)
"""32 bytes: the hash of a relay's two public keys; the fingerprint in its address."""
