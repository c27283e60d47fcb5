"""By which keys the user's other devices end links of this one, also while it is away.

Each link has a key of its own, whose hash its relay has: it ends that link and does nothing else.
All are replaced once a device is removed from the user, since that one has been told them. What is
here of a key was confirmed by the link's relay, so nobody is told one that does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from hashlib import sha256
from typing import Final

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.share_links import END_KEY_SIZE
from peer.device.ledgers import Ledgers
from peer.share_links.link_ending import REVOKED, TROUBLE, OwnLinks
from peer.share_links.link_relay import LinkRelay, link_relay
from peer.share_links.link_store import LinkStore
from protocol.errors import LinkError, StorageRefused
from protocol.link_messages import LinkUse
from protocol.link_records import TOLD_MAX, EndKey
from protocol.messages import EndKeysKnown
from protocol.relay_address import RelayAddress

log = logging.getLogger(__name__)

AGAIN_S: Final = 60.0
"""After a relay could not be asked; twice as long each time."""
AGAIN_MAX_S: Final = 900.0
MUCH_LATER_S: Final = 86_400.0
"""A relay that takes no key is older than that, or lacks the link: it is asked again in a day."""


class LinkEndKeys:
    """One daemon's."""

    def __init__(
        self,
        store: Callable[[], Awaitable[LinkStore]],
        keys: DeviceKeys,
        ledgers: Ledgers,
        kinds: Iterable[OwnLinks],
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """`changed` tells the user's other devices of links and keys."""
        self._store, self._keys, self._ledgers = store, keys, ledgers
        self._kinds, self._changed = tuple(kinds), changed
        self._giving = asyncio.Lock()
        """Of two keys for one link the relay might know one, and this device the other."""
        self._made_of: bytes | None = None
        self._later: dict[str, float] = {}
        """Relays that are let alone, and until when."""
        self._pauses: dict[str, float] = {}
        """How long each relay is let alone that does not answer the next time."""
        self._looked_at: set[str] = set()
        """Relays that were asked for what others have ended."""
        self._wake = asyncio.Event()
        self._wake.set()

    def wake(self) -> None:
        """A link was made that has no key yet."""
        self._wake.set()

    def membership_changed(self) -> None:
        """The user's devices may be others now: of whom one is gone, the keys are replaced."""
        if self._membership() != self._made_of:
            self._later.clear()
            self._wake.set()

    async def distrust(self) -> None:
        """This home may be an older state of itself, and the relays know later keys: all links are
        given new ones.
        """
        try:
            if any([await kind.living() for kind in self._kinds]):
                await (await self._store()).drop_end_keys()
        except TROUBLE as error:
            log.warning("other devices may be told old keys of share links: %s", error)

    async def run(self) -> None:
        """Has relays know current keys of all links, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.step()
            except TROUBLE as error:
                log.warning("other devices cannot end share links of this one: %s", error)
                self._later[""] = asyncio.get_running_loop().time() + AGAIN_S

    async def give(self, relay: LinkRelay, link_id: bytes) -> bool:
        """Gives a link a key, by which others can end it as soon as they are told, unless it has a
        current one. False if that could not be done: then it is tried again by `run`.
        """
        made_of = self._membership()
        if made_of is None:
            return False
        try:
            async with self._giving:
                store = await self._store()
                if not await store.has_end_key(link_id, made_of):
                    key = os.urandom(END_KEY_SIZE)
                    await relay.set_end_key(link_id, key)
                    await store.put_end_key(EndKey(link_id, key), made_of)
        except TROUBLE as error:
            log.info("no other device can end a link at %s yet: %s", relay.address.host, error)
            return False
        return True

    async def known(self) -> EndKeysKnown:
        """What the user's other devices are told."""
        kinds = [(await kind.living())[:TOLD_MAX] for kind in self._kinds]
        living = [link.link_id for kind in kinds for link in kind]
        if not living:
            return EndKeysKnown(())
        found = await (await self._store()).end_keys()
        keys = [found[link_id].told for link_id in living if link_id in found]
        return EndKeysKnown(tuple(keys))

    async def step(self) -> None:
        """Does what is due at the relays that can be asked now."""
        now_s = asyncio.get_running_loop().time()
        self._later = {place: until_s for place, until_s in self._later.items() if until_s > now_s}
        self._made_of = made_of = self._membership()
        places: dict[str, dict[bytes, OwnLinks]] = {}
        for kind in self._kinds:
            for link in await kind.living():
                places.setdefault(link.relay, {})[link.link_id] = kind
        if made_of is None or not places:
            return
        found = await (await self._store()).end_keys()
        current = {link_id for link_id, key in found.items() if key.made_of == made_of}
        is_any = False
        for address, links in places.items():
            due = [link_id for link_id in links if link_id not in current]
            if (due or address not in self._looked_at) and address not in self._later:
                is_any |= await self._ask(address, links, due)
        if is_any:
            await self._changed()

    # Private

    async def _ask(self, address: str, links: dict[bytes, OwnLinks], due: list[bytes]) -> bool:
        """True if a key is new, or a link has ended."""
        is_any = False
        try:
            async with link_relay(RelayAddress.parse(address), self._keys) as relay:
                await relay.open()
                uses = await relay.uses()
                self._looked_at.add(address)
                is_any = await self._note_ends(links, uses)
                left = [link_id for link_id in due if not await self._give(relay, uses, link_id)]
        except (LinkError, StorageRefused):
            pause_s = self._pauses.get(address, AGAIN_S)
            self._pauses[address] = min(2 * pause_s, AGAIN_MAX_S)
            self._put_off(address, pause_s)
            return is_any
        self._pauses.pop(address, None)
        if left:
            self._put_off(address, MUCH_LATER_S)
        return is_any or len(left) < len(due)

    async def _give(self, relay: LinkRelay, uses: dict[bytes, LinkUse], link_id: bytes) -> bool:
        use = uses.get(link_id)
        return use is not None and not use.ended and await self.give(relay, link_id)

    async def _note_ends(self, links: dict[bytes, OwnLinks], uses: dict[bytes, LinkUse]) -> bool:
        """Writes down what others have ended while this device was away."""
        over = [use for id_, use in uses.items() if id_ in links and use.ended == REVOKED]
        for use in over:
            await links[use.link_id].revoked(use.link_id, use.ended_s)
        return bool(over)

    def _membership(self) -> bytes | None:
        """Another value once a device was removed; None if this one was, whose links the others
        are to end by the keys that they know.
        """
        state = self._ledgers.user.state()
        if DeviceId(self._keys.device_id) not in state.live:
            return None
        removals = sorted(entry for each in state.revocations.values() for entry in each)
        return sha256(state.identity.identity_pk + b"".join(removals)).digest()

    def _put_off(self, address: str, seconds: float) -> None:
        self._later[address] = asyncio.get_running_loop().time() + seconds

    def _pause_s(self) -> float | None:
        """Until a relay is to be asked again."""
        if not self._later:
            return None
        return max(0.0, min(self._later.values()) - asyncio.get_running_loop().time())
