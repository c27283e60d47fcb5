"""Rows that the disk has changed: nothing is believed that does not show that it is right."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.relay_address import RelayAddress
from relay import node_rows, share_rows
from relay.node_rows import NodeRow
from relay.row_mending import _fixed, address_of
from tests.relay.storage_stage import files_of
from tests.relay.test_repairer import PACKED, town

ONE, TWO = (RelayAddress("198.51.100.1", 4433, bytes([n]) * 32) for n in (1, 2))  # type: ignore[arg-type]
ROW = NodeRow(1, ONE.relay_id, str(ONE), 0, None)


def test_an_address_is_its_node_s_or_none() -> None:
    assert address_of(ONE.relay_id, str(ONE)) == ONE
    assert address_of(TWO.relay_id, str(ONE)) is None
    assert address_of(ONE.relay_id, "garbage") is None


def test_a_node_is_known_again_by_either_of_its_names() -> None:
    assert _fixed(ROW._replace(address="garbage"), str(ONE)) == ROW
    assert _fixed(ROW._replace(node_id=b"?" * 32), str(ONE)) == ROW
    assert _fixed(ROW._replace(address="garbage"), str(TWO)) is None
    assert _fixed(ROW._replace(address="garbage"), "garbage") is None


@pytest.mark.row("F08")
async def test_what_no_other_node_knows_stays_damaged_and_is_served_to_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with town(tmp_path, 5) as place:
        await place.put(PACKED)
        for number in (0, 1, 3, 4):
            await place.nodes[number].switch_off()
        desk = place.nodes[2].stage.relay.desk.storage
        assert desk is not None
        async with desk.shares.store.transaction() as db:
            await db.execute_fetchall("UPDATE packs SET descriptor = x'00'")
            await db.execute_fetchall("UPDATE nodes SET address = 'garbage' WHERE node = 1")
        (row,) = await share_rows.shares_of(desk.shares.store, 1)
        assert await desk.shares.look_at(row) == len(row.hashes) // 32
        await place.nodes[2].repairer.round()
        said = [record.getMessage() for record in caplog.records]
        assert "the row of a pack is damaged, and no other node says what it was" in said
        assert "the row of another node is damaged, and no other one names it" in said
        assert (await place.held(PACKED))[2] == []
        assert len(files_of(place.nodes[2].home)) == 1, "it is not thrown away"
        assert len(await node_rows.nodes(desk.shares.store)) == 5
