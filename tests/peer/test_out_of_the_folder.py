"""Who is put out of a folder while linked is given nothing more of it, and not only when its link
has been closed (ATTACKS A18, A20).
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from protocol.events import ChangesetsReceived
from tests.peer.device_stage import make_homes, until
from tests.peer.evil_peer import evil_peer
from tests.peer.evil_stage import EvilStage, evil_stage


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("homes")
    asyncio.run(make_homes(base, "one", "two", "evil"))
    return base


def revoke_quietly(stage: EvilStage) -> None:
    """The user's ledger says so here; links are looked at a moment later."""
    one = stage.one
    one.ledgers.user.revoke(one.home.keys, stage.evil.keys.device_id, time.time())


@pytest.mark.row("A18")
@pytest.mark.parametrize("is_revoked", [True, False])
async def test_a_device_that_was_just_revoked_is_given_no_changesets(
    homes: Path, tmp_path: Path, is_revoked: bool
) -> None:
    async with evil_stage(homes, tmp_path) as stage:
        await stage.lives_on()
        async with evil_peer(stage.one, stage.evil) as peer:
            folder_id = await peer.meet()
            if is_revoked:
                revoke_quietly(stage)
            peer.claim(folder_id)  # it holds nothing, so there is much to be given
            connection = stage.one.network.connections[stage.evil.keys.device_id]
            await until(lambda: folder_id in connection.shared_there)
            async with connection._lock:
                pass  # what came of it has been done
            if not is_revoked:
                await peer.hear(ChangesetsReceived)  # what the other case must not bring
                return
            await stage.one._membership_changed()
            assert await peer.is_hung_up_on()
            assert [e for e in peer.events if isinstance(e, ChangesetsReceived)] == []
