"""What all storage links of a node have in common: its shares, its keys, its operator's words."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from crypto.keys import DeviceKeys
from crypto.relay_ids import relay_id_of
from protocol.errors import LimitReached
from protocol.link import Link
from relay.allowance import Allowance
from relay.link_desk import LinkDesk
from relay.registry import Client
from relay.shares import Shares

REQUESTS_PER_MINUTE: Final = 200_000
"""Of one link: 512 KiB each would be more than a gigabyte a second."""
LINKS_MAX: Final = 1024
LINKS_PER_ADDRESS_MAX: Final = 128
"""An office; each link may have 4 MiB unread, so that one attacker makes a node hold 512."""
LINKS_PER_PSEUDONYM_MAX: Final = 4
"""A device needs one; a second while the first is found to be dead."""

MAY_ADMIT = Callable[[bytes], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class NodeWords:
    """What the operator says of the node."""

    owner: str = ""
    region: str = ""


class StorageDesk:
    """What all storage links share."""

    def __init__(
        self, shares: Shares, keys: DeviceKeys, words: NodeWords, is_admitted: MAY_ADMIT
    ) -> None:
        self.shares, self.keys, self.words = shares, keys, words
        self.is_admitted = is_admitted
        self.share_links: LinkDesk | None = None
        """None at a relay that serves no share links."""
        self.node_id = relay_id_of(keys.sign_public, keys.dh_public)
        self.links: dict[Link, Client] = {}
        """With the device of each."""
        self.requests = Allowance(REQUESTS_PER_MINUTE)
        self.get_bytes = self.put_bytes = 0
        """Given and taken since the start."""

    def enter(self, link: Link, client: Client) -> None:
        """Takes in a link; the oldest of a device that has too many makes room for it. Raises
        LimitReached.
        """
        own = [each for each, who in self.links.items() if who.pseudonym == client.pseudonym]
        if len(own) >= LINKS_PER_PSEUDONYM_MAX:
            own[0].abort()
            self.links.pop(own[0], None)
        of_host = sum(who.host == client.host for who in self.links.values())
        if of_host >= LINKS_PER_ADDRESS_MAX or len(self.links) >= LINKS_MAX:
            raise LimitReached("as many storage links as this node serves")
        self.links[link] = client
