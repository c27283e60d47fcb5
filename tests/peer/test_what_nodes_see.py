"""The whole life of a folder at super-nodes, and what these see of it: on their wires, their disks,
in their logs, and what their processes read once a link is decrypted.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from peer.backup.recovery import recover
from peer.device import setup
from protocol.kit import decode_kit
from protocol.relay_messages import RelayMessage, decode, encode
from relay import conversation, storage_talk
from relay.watch import Watch
from tests.peer.backup_stage import until_kept
from tests.peer.device_stage import device_id, devices, folder_of, until
from tests.peer.test_watcher_of_the_wire import Wire
from tests.relay.relay_stage import relaying
from tests.relay.storage_stage import ROOMY

# 16 bytes each, found nowhere by chance.
DEVICE, AGAIN, LABEL = "canary-dev-51c0e", "canary-new-9ab04", "canary-label-77d"
FILE, DIRECTORY, CONTENT, LATER = (
    "canary-file-0c2b", "canary-dir-e6614", b"canary-text-1f83", b"canary-late-6d27",
)  # fmt: skip
THREATS: Final = Path(__file__).parents[2] / "crypto" / "THREATS.md"

DOCUMENTED: Final = {
    "a second pseudonym of a device, and the first one with it where that vouches for it": (
        "StoreBegin.voucher", "RelayAsk.proof",
    ),
    "namespaces,\ntheir generations and public keys": (
        "StoreOpen.namespace", "StoreOpen.generation", "StoreOpen.tier", "StoreOpen.proof",
        "StoreDelegate.delegation", "StoreDelegate.signature", "StoreDelegate.signer",
        "StoreDelegate.emergency", "StoreDelegate.salt", "StorePut.namespace",
        "StorePiece.namespace", "StoreKeep.namespace", "StoreGet.namespace",
        "StoreChallenge.namespace", "StoreStat.namespace", "StoreList.namespace",
        "StoreDescribe.namespace", "StoreRenew.namespace", "StoreUsage.namespace",
    ),
    "descriptors (pack ids, lengths, k and n, roots)": (
        "StorePut.descriptor", "StorePut.hashes", "StorePiece.descriptor_id",
        "StoreKeep.descriptor_id", "StoreGet.descriptor_id", "StoreChallenge.descriptor_id",
        "StoreStat.descriptor_ids", "StoreDescribe.descriptor_ids", "StoreRenew.descriptor_ids",
    ),
    "which share is here, when it came, its lease": (
        "StorePut.share", "StorePut.lease_until_s", "StorePiece.share", "StorePiece.first",
        "StoreKeep.share", "StoreList.after", "StoreRenew.lease_until_s",
    ),
    "A pack shows a salt, random bytes and one of 40 lengths": ("StorePiece.data",),
    "which leaves are read": (
        "StoreGet.share", "StoreGet.first", "StoreGet.count", "StoreChallenge.share",
        "StoreChallenge.leaves",
    ),
    "the relay addresses of the other holders of a pack": ("StorePut.holders",),
    "*A node that calls another* reads shares": (
        "StorePeer.sign_pk", "StorePeer.dh_pk", "StorePeer.proof",
    ),
}  # fmt: skip
SAYS_NOTHING: Final = {"number", "version", "value"}
"""Of a message, whoever sends it: which answer belongs to it, and what form it has."""


def test_the_list_is_the_documented_one() -> None:
    text = THREATS.read_text()
    assert [phrase for phrase in DOCUMENTED if phrase not in text] == []


@pytest.mark.row("A17")
async def test_nodes_see_what_is_documented_and_no_canary(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    """Stored, audited, sampled, repaired by a device and by nodes, and recovered by the kit."""
    caplog.set_level(logging.DEBUG)
    heard: list[RelayMessage] = []

    def listening(number: int, payload: Any) -> RelayMessage:
        message = decode(number, payload)
        heard.append(message)
        return message

    for module in (conversation, storage_talk):
        monkeypatch.setattr(module, "decode", listening)
    async with AsyncExitStack() as stack:
        stages, wires, addresses = [], [], []
        for number in range(4):
            home = tmp_path / f"node-{number}"
            home.mkdir()
            relaying_ = relaying(home=home, storage=ROOMY)
            stages.append(await stack.enter_async_context(relaying_))
            wires.append(Wire(stages[-1].relay.port))
            stack.push_async_callback(wires[-1].stop)
            addresses.append(replace(stages[-1].address, port=await wires[-1].start()))
        stage = await stack.enter_async_context(devices(tmp_path))
        made = await setup.init_home(stage.home(DEVICE), DEVICE)
        kit = decode_kit(made["recovery_kit"])
        one = await stage.start(DEVICE)
        root = stage.root(DEVICE)
        (root / DIRECTORY).mkdir()
        (root / DIRECTORY / FILE).write_bytes(CONTENT * 40_000)
        await one.add_folder(root, LABEL)
        await one.backups.add(LABEL, addresses, 2, 3)
        await until_kept(one)
        (root / DIRECTORY / FILE).write_bytes(LATER * 1000)  # the older one is a version
        (root / FILE).write_bytes(LATER)
        await until_kept(one, packs=3)
        folder_id = folder_of(one).folder_id
        backup = one.backups._backups[folder_id]
        backup.audit.hasten()
        await backup.audit.verify(backup.present())
        for pack in await backup.store.packs():
            assert pack.stored_s is not None
            await backup.audit.sample(backup.present(), pack.stored_s + 86_400)
        assert (await backup.store.samples.totals()).fetched
        holder = next(n for n, _ in enumerate(stages) if list(shares_of(tmp_path, n)))
        for path in shares_of(tmp_path, holder):
            path.write_bytes(b"\1" * path.stat().st_size)
        scrub, repairer = stages[holder].relay.scrub, stages[holder].relay.repairer
        assert scrub is not None
        assert repairer is not None
        for _ in await backup.store.packs():
            await scrub.step()
        await repairer.round()  # by what the other nodes hold
        await one.backups.repair(LABEL)
        ids = [device_id(one), one.ledgers.user_id, folder_id, one.home.keys.sign_public]
        one.network.close_all()
        await recover(stage.home(AGAIN), kit, addresses, AGAIN, into=tmp_path / "back")
        two = await stage.start(AGAIN)
        back = tmp_path / "back" / LABEL / DIRECTORY / FILE
        await until(lambda: back.exists() and back.read_bytes() == LATER * 1000)
        ids.append(device_id(two))
        pages = [await Watch(each.relay, well).page(b"GET /metrics HTTP/1.1") for each in stages]
    words = [each.encode() for each in (DEVICE, AGAIN, LABEL, FILE, DIRECTORY)]
    words += [CONTENT, LATER, kit, *ids, *(each.hex().encode() for each in ids)]
    nodes = [tmp_path / f"node-{number}" for number in range(4)]
    disk = b"".join(p.read_bytes() for node in nodes for p in node.rglob("*") if p.is_file())
    seen = b"".join(bytes(part) for wire in wires for part in wire.seen)
    own_log = [r for r in caplog.records if r.name.split(".")[0] == "relay"]
    said = "\n".join(f"{r.getMessage()} {vars(r)}" for r in own_log).encode()
    opened = b"".join(bytes(part) for message in heard for part in encode(message)[1:])
    places = {"disk": disk, "wire": seen, "log": said, "opened": opened, "page": b"".join(pages)}
    assert {name: [w for w in words if w in place] for name, place in places.items()} == {
        name: [] for name in places
    }
    fields = {
        f"{type(message).__name__}.{field.name}"
        for message in heard
        for field in dataclasses.fields(message)
        if field.name not in SAYS_NOTHING
    }
    documented = {field for some in DOCUMENTED.values() for field in some}
    assert fields - documented == set()
    assert {"StorePiece.data", "StoreChallenge.leaves", "StorePeer.proof"} <= fields
    assert min(len(disk), len(seen), len(opened)) > 500_000
    record_property(
        "figure", f"{len(fields)} fields, {len(seen) + len(disk) + len(opened):,} bytes, 0 canaries"
    )


def shares_of(base: Path, number: int) -> list[Path]:
    """The files of shares at a node."""
    return [p for p in (base / f"node-{number}" / "shares" / "shares").rglob("*") if p.is_file()]


async def well() -> str:
    return ""
