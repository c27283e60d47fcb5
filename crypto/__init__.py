"""The cryptography of Holdfast: pure functions over bytes, with no clock, no disk and no network.

Which key for what: `DeviceKeys` signs and opens wraps, and is made anew on each device. `KitKeys`
comes from the printed recovery kit, founds a user or restores one, and is not kept. `TierSecrets`
belong to an epoch of a folder: `read` keys the data, the others make capabilities at nodes.
`FolderKeys` come from the first epoch and stay: they name chunks and place their cuts.

Which function for what: a small structure is hashed by `digest`, a key or tag derived by `derive`,
something for one device wrapped by `wrap`, a record sealed by `seal`, bulk sealed by `seal_chunk`.
Every call names its label from the registry; what does not open raises one error that says nothing.

The promise about old stores: whatever a released version wrote, every later version opens. Suite 1
is fixed in a folder's genesis and nothing is negotiated; a second suite would be a second folder
kind beside it. tests/vectors/crypto holds the frozen formats, and a vector is never changed.

label         the type of what is hashed, derived, signed or sealed (labels.py)
seal, open    authenticated encryption under a key both sides have
wrap, unwrap  the same to one recipient's public key (HPKE)
tier          one of an epoch's four secrets: read, write, admin, owner
commitment    a hash that fixes a secret before anybody opens it
binding       the hash of a link's server certificate, which ties a handshake to its connection
slot          where something lies and what it is: bound to the seal, so that nothing is moved

THREATS.md says what all this holds against, and what it does not.
"""
