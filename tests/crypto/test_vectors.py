"""Every frozen format against its vectors: tests/vectors/crypto/*.toml, one case a file.

A vector names an operation, its inputs (byte strings in hex) and either the output or the one error
that is expected. They are written once and never regenerated: a change that breaks one breaks every
store and every kit that exists.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from crypto import (
    changesets,
    chunks,
    compression,
    epochs,
    key_file,
    keys,
    link_auth,
    mailbox,
    namespaces,
    packs,
    relay_ids,
    share_links,
    shares,
    uploads,
)
from crypto import pairing_keys as pairing
from crypto import primitives as p
from crypto.errors import (
    BadKeyError,
    CryptoError,
    FormError,
    KeyFileError,
    OpenError,
    PairingError,
    SignatureError,
)

VECTORS = sorted((Path(__file__).parents[1] / "vectors" / "crypto").glob("*.toml"))
EXPECTED: dict[str, type[CryptoError]] = {
    "open error": OpenError,
    "signature error": SignatureError,
    "bad key error": BadKeyError,
    "key file error": KeyFileError,
    "pairing error": PairingError,
    "form error": FormError,
}


def parsed(value: Any, name: str = "") -> Any:
    """Hex to bytes, but for the inputs that are text by their nature."""
    if isinstance(value, list):
        return [parsed(item) for item in value]
    is_text = name in ("label", "nameplate", "words", "passphrase", "side")
    return bytes.fromhex(value) if isinstance(value, str) and not is_text else value


def hello_parts(i: dict[str, Any]) -> tuple[Any, ...]:
    return (i["kind"], i["nonce"], i["binding"], i["client"], i["server"])


def device_fields(device: keys.DeviceKeys) -> list[bytes]:
    return [device.sign_seed, device.dh_secret, device.database_key, device.device_secret]


def opened_tiers(i: dict[str, Any]) -> bytes:
    commits = [commit or None for commit in i["commits"]]
    secrets = epochs.open_tiers(
        i["dh_secret"],
        i["folder_id"],
        i["core"],
        i["recipient_id"],
        i["wrapped"],
        commits=commits,
        nonce=i["nonce"],
    )
    return b"".join(secret or bytes(32) for secret in secrets.in_order)


def opened_chunk(i: dict[str, Any]) -> bytes:
    chunk = chunks.SealedChunk(i["codec"], i["plain_len"], i["sealed"])
    hasher = chunks.ChunkHasher(i["chunk_id_key"])
    return chunks.open_chunk(i["read_secret"], i["chunk_id"], chunk, hasher)


def opened_pack(i: dict[str, Any]) -> list[Any]:
    """The small parts of a pack, without its fill."""
    read, salt = i["read_secret"], i["salt"]
    assert packs.is_pack_of(read, salt, i["hint"])
    offset, length = packs.open_pack_trailer(read, salt, i["trailer_box"], i["pack_size"])
    assert length == len(i["index_box"])
    index = packs.open_pack_index(read, salt, i["index_box"], offset)
    return [
        int(index.kind),
        *([slot.id, slot.offset, slot.length, slot.codec, slot.plain_len] for slot in index.slots),
    ]


def kit_fields(i: dict[str, Any]) -> list[bytes]:
    kit = keys.KitKeys.from_secret(i["kit_secret"])
    return [kit.identity_public, kit.recovery_public, kit.emergency_public, kit.vault_secret]


def spake2_key(i: dict[str, Any]) -> list[bytes]:
    """One side's message and key; its scalar comes from the given 64 bytes of randomness."""
    exchange = pairing.PairingExchange(
        pairing.Side(i["side"]), i["password"], i["binding"], lambda size: i["random"][:size]
    )
    return [exchange.message, exchange.finish(i["message"]).key]


def pairing_values(i: dict[str, Any]) -> list[bytes]:
    key, t = pairing.PairingKey(i["key"]), i["transcript"]
    check = key.check_number(t).encode()
    return [key.confirmation(side, t) for side in pairing.Side] + [check]


def link_secrets(i: dict[str, Any]) -> share_links.LinkSecrets:
    return share_links.LinkSecrets.of(i["secret"], i["password_salt"], i.get("passphrase"))


def manifest_keys(i: dict[str, Any]) -> list[bytes]:
    keys = link_secrets(i).keys(i["link_id"], i["flags"], i["salt"])
    return [keys.key, keys.base, keys.commit]


def opened_link(i: dict[str, Any]) -> bytes:
    return share_links.open_link(i["link_id"], link_secrets(i), i["blob"])


def share_of(i: dict[str, Any]) -> list[Any]:
    """The root of a share, and the path of one of its leaves; each leaf is filled with one byte."""
    data = b"".join(bytes([fill]) * packs.LEAF_SIZE for fill in i["leaves"])
    hashes = shares.leaf_hashes(data)
    root = shares.share_root(i["pack_id"], i["number"], hashes)
    return [root, shares.merkle_path(hashes, i["index"])]


def opened_descriptor(i: dict[str, Any]) -> list[Any]:
    d = shares.decode_descriptor(i["descriptor"])
    return [d.pack_id, d.pack_size, d.needed, list(d.roots), d.share_size, d.id()]


def opened_delegation(i: dict[str, Any]) -> list[Any]:
    d = namespaces.decode_delegation(i["delegation"])
    fields = [d.owner_pk, d.admin_pk, d.write_pk, d.read_pk, d.tag]
    return [d.namespace, d.generation, *fields]


def mailbox_keys(i: dict[str, Any]) -> mailbox.MailboxKeys:
    return mailbox.MailboxKeys.from_secrets(i["read_secret"], i["write_secret"], i["relay_id"])


def mailbox_fields(i: dict[str, Any]) -> list[bytes]:
    keys = mailbox_keys(i)
    return [keys.tag, keys.read_public, keys.write_public]


OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "digest": lambda i: p.digest(i["label"], *i["parts"]),
    "derive": lambda i: p.derive(i["key"], i["label"], *i["parts"], size=i["size"]),
    "sign": lambda i: p.sign(i["seed"], i["label"], *i["parts"]),
    "verify": lambda i: p.verify(i["public"], i["signature"], i["label"], *i["parts"]),
    "seal": lambda i: p.seal(
        i["key"], i["label"], *i["parts"], plaintext=i["plaintext"], random32=i["random"]
    ),
    "open": lambda i: p.open_sealed(i["key"], i["label"], *i["parts"], sealed=i["sealed"]),
    "unwrap": lambda i: p.unwrap(i["secret"], i["label"], *i["parts"], wrapped=i["wrapped"]),
    "wrap": lambda i: p.wrap(i["public"], i["label"], *i["parts"], plaintext=i["plaintext"]),
    "device id": lambda i: keys.device_id_of(i["sign_pk"], i["dh_pk"]),
    "relay pseudonym": lambda i: list(keys.DeviceKeys(*i["device"]).relay_pseudonym(i["relay_id"])),
    "relay id": lambda i: relay_ids.relay_id_of(i["sign_pk"], i["dh_pk"]),
    "relay ask": lambda i: relay_ids.relay_ask(i["relay_id"], i["binding"]),
    "rendezvous id": lambda i: relay_ids.rendezvous_id(
        i["secret"], i["relay_id"], i["day"], i["waiting"]
    ),
    "kit keys": kit_fields,
    "key file": lambda i: device_fields(
        key_file.decode_key_file(
            i["file"], passphrase=i.get("passphrase"), external_key=i.get("external_key")
        )
    ),
    "tier commitment": lambda i: epochs.TierSecrets(*i["secrets"]).commitments(
        i["folder_id"], i["nonce"]
    )[0],
    "open tiers": opened_tiers,
    "open epoch link": lambda i: epochs.link_open(
        i["read_secret"], i["folder_id"], i["parent"], i["sealed"]
    ),
    "chunk id": lambda i: chunks.ChunkHasher(i["chunk_id_key"]).chunk_id(i["data"]),
    "open chunk": opened_chunk,
    "open log item": lambda i: chunks.open_log_item(
        i["read_secret"],
        i["item_id"],
        chunks.SealedChunk(i["codec"], i["plain_len"], i["sealed"]),
    ),
    "open pack": opened_pack,
    "decompress": lambda i: compression.decompress(i["codec"], i["data"], i["plain_len"]),
    "open body": lambda i: changesets.open_body(i["record_key"], i["slot"], i["body"]),
    "changeset hash": lambda i: changesets.changeset_hash(
        i["slot"], changesets.body_hash(i["body"])
    ),
    "verify slot": lambda i: changesets.verify_slot(
        i["public"], i["signature"], i["slot"], changesets.body_hash(i["body"])
    ),
    "link binding": lambda i: link_auth.link_binding(i["certificate"]),
    "open hello": lambda i: link_auth.open_intro(
        keys.DeviceKeys(*i["device"]), i["kind"], i["nonce"], i["binding"], i["box"]
    ),
    "verify hello": lambda i: link_auth.verify_hello(i["public"], i["signature"], *hello_parts(i)),
    "link transcript": lambda i: link_auth.transcript(
        i["hello"], i["nonce"], i["binding"], i["client"], i["server"]
    ),
    "verify accept": lambda i: link_auth.verify_accept(i["public"], i["signature"], i["t"]),
    "verify proof": lambda i: link_auth.verify_proof(
        i["public"], i["signature"], i["t"], i["accept"]
    ),
    "pairing password": lambda i: pairing.pairing_password(i["nameplate"], i["words"]),
    "pairing exchange": spake2_key,
    "pairing confirmations": pairing_values,
    "share": share_of,
    "open descriptor": opened_descriptor,
    "namespace": lambda i: namespaces.namespace_id(
        i["node_id"], i["owner"], namespaces.emergency_hash(i["emergency"], i["salt"])
    ),
    "node tag": lambda i: namespaces.node_tag(i["secret"], i["node_id"]),
    "capability": lambda i: namespaces.capability_public(
        i["secret"], i["node_id"], epochs.Tier(i["tier"])
    ),
    "open delegation": opened_delegation,
    "verify delegation": lambda i: namespaces.check_delegation(
        i["public"], i["signature"], i["node_id"], namespaces.decode_delegation(i["delegation"])
    ),
    "verify capability": lambda i: namespaces.check_capability(
        i["public"],
        i["signature"],
        i["node_id"],
        i["namespace"],
        i["generation"],
        epochs.Tier(i["tier"]),
        i["link_id"],
    ),
    "verify node": lambda i: namespaces.check_node(
        i["public"], i["signature"], i["node_id"], i["link_id"]
    ),
    "verify pseudonym": lambda i: namespaces.check_pseudonym(
        i["public"], i["signature"], i["node_id"], i["link_id"]
    ),
    "verify receipt": lambda i: namespaces.check_receipt(
        i["public"], i["signature"], i["descriptor_id"], i["number"], i["lease"], i["time"]
    ),
    "storage pseudonym": lambda i: list(
        keys.DeviceKeys(*i["device"]).storage_pseudonym(i["relay_id"])
    ),
    "pairing qr key": lambda i: pairing.PairingKey.from_qr_secret(i["secret"]).key,
    "mailbox keys": mailbox_fields,
    "mailbox name": lambda i: mailbox_keys(i).group(mailbox.Area(i["area"]), i["what"]),
    "verify mailbox proof": lambda i: mailbox.check_proof(
        i["public"],
        i["proof"],
        mailbox.Capability(i["capability"]),
        i["relay_id"],
        i["tag"],
        i["link_id"],
    ),
    "seal mailbox item": lambda i: mailbox_keys(i).seal(
        mailbox.Area(i["area"]), i["name"], i["plain"], i["random"]
    ),
    "open mailbox item": lambda i: mailbox_keys(i).open(
        mailbox.Area(i["area"]), i["name"], i["sealed"]
    ),
    "share link id": lambda i: share_links.link_id_of(i["public"]),
    "share link public": lambda i: share_links.LinkKey.from_secret(i["secret"]).public,
    "share link keys": manifest_keys,
    "share link token": lambda i: link_secrets(i).token(i["link_id"]),
    "share link token hash": lambda i: share_links.token_hash(i["token"]),
    "open share link": opened_link,
    "open long share link": lambda i: sha256(opened_link(i)).digest(),
    "check share link revocation": lambda i: share_links.check_revocation(
        i["public"], i["signature"], i["link_id"], i["time_s"]
    ),
    "upload gate": lambda i: uploads.gate_of(link_secrets(i), i["link_id"]),
    "open upload head": lambda i: uploads.open_head(
        i["secret"], i["link_id"], i["upload_id"], i["gate"], i["head"]
    )[0],
    "open upload segment": lambda i: uploads.UploadKeys.of(
        i["link_id"], i["upload_id"], i["gate"], i["seed"]
    ).open_segment(i["index"], i["sealed"], is_last=i["is_last"]),
    "open shared chunk": lambda i: share_links.open_shared_chunk(
        i["key"],
        i["sealed_hash"],
        chunks.SealedChunk(i["codec"], i["plain_len"], i["sealed"]),
    ),
}


@pytest.mark.row("A06")
@pytest.mark.parametrize("path", VECTORS, ids=lambda path: path.stem)
def test_vector(path: Path) -> None:
    vector = tomllib.loads(path.read_text())
    assert vector["comment"]
    inputs = {name: parsed(value, name) for name, value in vector["input"].items()}
    operation = OPERATIONS[vector["operation"]]
    if vector["expect"] == "success":
        assert operation(inputs) == parsed(vector.get("output"))
    else:
        with pytest.raises(EXPECTED[vector["expect"]]):
            operation(inputs)


def test_every_operation_and_every_error_has_a_vector() -> None:
    vectors = [tomllib.loads(path.read_text()) for path in VECTORS]
    assert {vector["operation"] for vector in vectors} == set(OPERATIONS)
    assert {vector["expect"] for vector in vectors} == {"success", *EXPECTED}
