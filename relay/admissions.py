"""Who may use a relay: everybody at an open one; at a closed one whoever once showed a token.

A token is good for some devices and some time. The database holds a hash of it, and the pseudonyms
of those that it let in, who stay in until the invitation is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

from crypto.relay_ids import invitation_tag
from protocol.relay_messages import AdmissionOutcome
from protocol.relay_token import TOKEN_SIZE, format_token
from relay.store import RelayStore

DAY_S: Final = 86_400
DEVICES_DEFAULT: Final = 8
"""A person's devices; a token is told to each of them."""
DEVICES_MAX: Final = 1_000
DAYS_DEFAULT: Final = 30
DAYS_MAX: Final = 3_650
INVITATIONS_MAX: Final = 10_000


class InvitationRow(NamedTuple):
    """One invitation, as its operator sees it."""

    name: str
    """The first characters of its hash: what it is taken back by."""
    devices: int
    devices_max: int
    expires_s: int


class Admissions:
    """The door list of one relay."""

    def __init__(self, store: RelayStore | None, is_open: bool, clock: Callable[[], float]) -> None:
        """Without a database the relay has to be open. `clock` tells seconds since 1970."""
        assert is_open or store is not None
        self.is_open = is_open
        self._store, self._clock = store, clock

    async def is_admitted(self, pseudonym: bytes) -> bool:
        """Whether this device may use the relay."""
        if self.is_open or self._store is None:
            return True
        rows = await self._store.rows("SELECT 1 FROM admissions WHERE pseudonym = ?", pseudonym)
        return bool(rows)

    async def expelled(self, pseudonyms: Iterable[bytes]) -> set[bytes]:
        """Those of them that may not use the relay any more: their invitation was taken back."""
        if self.is_open or self._store is None:
            return set()
        rows = await self._store.rows("SELECT pseudonym FROM admissions")
        return set(pseudonyms).difference(pseudonym for (pseudonym,) in rows)

    async def admit(self, pseudonym: bytes, token: bytes) -> AdmissionOutcome:
        """Lets a device in by a token; one that is in already uses nothing up."""
        if self._store is None or await self.is_admitted(pseudonym):
            return AdmissionOutcome.ADMITTED
        tag, now = invitation_tag(token), int(self._clock())
        async with self._store.transaction() as db:
            # One statement decides and writes: two devices cannot take one last place.
            rows = await db.execute_fetchall(
                "INSERT INTO admissions SELECT ?1, tag, ?2 FROM invitations"
                " WHERE tag = ?3 AND expires_s > ?2 AND devices_max >"
                " (SELECT count(*) FROM admissions WHERE tag = ?3)"
                " ON CONFLICT DO UPDATE SET tag = tag RETURNING 1",
                (pseudonym, now, tag),
            )
        return AdmissionOutcome.ADMITTED if list(rows) else AdmissionOutcome.REFUSED


async def invite(
    store: RelayStore,
    devices_max: int,
    days: int,
    now: float,
    random: Callable[[int], bytes],
) -> str | None:
    """A new token's text; None if there are as many invitations as a relay keeps."""
    token = random(TOKEN_SIZE)
    async with store.transaction() as db:
        # Invitations that are over stay as long as they have let somebody in.
        await db.execute_fetchall(
            "DELETE FROM invitations WHERE expires_s <= ?"
            " AND tag NOT IN (SELECT tag FROM admissions)",
            (int(now),),
        )
        ((count,),) = await db.execute_fetchall("SELECT count(*) FROM invitations")
        if count >= INVITATIONS_MAX:
            return None
        await db.execute_fetchall(
            "INSERT INTO invitations VALUES (?, ?, ?, ?)",
            (invitation_tag(token), int(now), int(now) + days * DAY_S, devices_max),
        )
    return format_token(token)


async def invitations(store: RelayStore) -> list[InvitationRow]:
    """All that count, the oldest first."""
    rows = await store.rows(
        "SELECT tag, devices_max, expires_s, (SELECT count(*) FROM admissions a"
        " WHERE a.tag = i.tag) FROM invitations i ORDER BY made_s, tag"
    )
    return [InvitationRow(tag.hex()[:12], used, most, end) for tag, most, end, used in rows]


async def withdraw(store: RelayStore, name: str) -> int | None:
    """Takes an invitation back, and those that it let in: how many; None if there is none."""
    if not name.isalnum():
        return None
    async with store.transaction() as db:
        rows = list(
            await db.execute_fetchall(
                "SELECT tag FROM invitations WHERE lower(hex(tag)) LIKE ? || '%'", (name.lower(),)
            )
        )
        if len(rows) != 1:
            return None
        ((count,),) = await db.execute_fetchall(
            "SELECT count(*) FROM admissions WHERE tag = ?", rows[0]
        )
        await db.execute_fetchall("DELETE FROM invitations WHERE tag = ?", rows[0])
    return int(count)
