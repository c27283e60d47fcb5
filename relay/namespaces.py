"""Namespaces at this node: whose keys count now, how much each holds, and what a link has opened.

All of it is in memory, for it is asked with every request: some 600 bytes a namespace. A newer
delegation closes at once, on every link, what was opened under the older one.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from crypto.epochs import Tier
from crypto.errors import FormError, SignatureError
from crypto.ids import RelayId
from crypto.namespaces import (
    Delegation,
    Signer,
    check_capability,
    check_delegation,
    decode_delegation,
    emergency_hash,
    namespace_id,
)
from crypto.primitives import KEY_SIZE, is_equal
from protocol.storage_messages import ShareState, StoreDelegate, StoreOpen, StoreOutcome
from relay import share_rows as rows
from relay.share_rows import NamespaceRow
from relay.store import RelayStore

log = logging.getLogger(__name__)

NAMESPACES_MAX: Final = 65_536
NAMESPACES_PER_FOUNDER_MAX: Final = 256
OPEN_PER_LINK_MAX: Final = 256
"""Namespaces open on one link: a user's folders."""


@dataclass(slots=True)
class Namespace:
    """One namespace as it stands."""

    row: NamespaceRow
    delegation: Delegation
    bytes: Counter[ShareState] = field(default_factory=Counter)
    """By state; what is still coming counts from the start."""
    shares: Counter[ShareState] = field(default_factory=Counter)
    healed: int = 0

    @property
    def used_bytes(self) -> int:
        """All that it takes up, the trash included."""
        return self.bytes.total()

    def add(self, state: ShareState, size: int, count: int = 1) -> None:
        """So many shares more of that state, of so many bytes together."""
        self.bytes[state] += size
        self.shares[state] += count


@dataclass(slots=True)
class Opened:
    """What one link has opened."""

    tiers: dict[bytes, tuple[int, Tier]] = field(default_factory=dict)
    """For each namespace the generation and the tier."""


class Namespaces:
    """All namespaces of one node."""

    def __init__(self, node_id: RelayId) -> None:
        self._node_id = node_id
        self._all: dict[bytes, Namespace] = {}
        self._founders: Counter[bytes] = Counter()

    async def load(self, store: RelayStore) -> None:
        """Counts what an earlier run left."""
        self._all.clear()
        self._founders.clear()
        for row in await rows.namespaces(store):
            try:
                self._enter(row)
            except FormError:
                # Nobody may use it until its owner founds it again, with all that is in it.
                said = "who may use a namespace cannot be read any more: the database is damaged"
                log.error(said, extra={"values": {"namespace": row.namespace.hex()}})
        await self.recount(store)

    async def recount(self, store: RelayStore) -> None:
        """Counts what each holds anew."""
        totals = await rows.totals(store)
        for one in self._all.values():
            one.bytes.clear()
            one.shares.clear()
        for namespace, is_trashed, state, count, size in totals:
            shown = ShareState.TRASHED if is_trashed else ShareState(state)
            if namespace in self._all:
                self._all[namespace].add(shown, size, count)

    def __len__(self) -> int:
        return len(self._all)

    def get(self, namespace: bytes) -> Namespace | None:
        """One of them."""
        return self._all.get(namespace)

    def totals(self) -> tuple[Counter[ShareState], Counter[ShareState], int]:
        """Bytes and shares by state, and how many were rebuilt here, of all together."""
        sizes: Counter[ShareState] = Counter()
        counts: Counter[ShareState] = Counter()
        for one in self._all.values():
            sizes.update(one.bytes)
            counts.update(one.shares)
        return sizes, counts, sum(one.healed for one in self._all.values())

    def used_bytes(self) -> int:
        """What all together take up."""
        return sum(one.used_bytes for one in self._all.values())

    # ------------------------------------------------------------ rights

    def open(self, opened: Opened, request: StoreOpen, link_id: bytes) -> StoreOutcome:
        """Opens a namespace on a link, if the proof is good and of the newest generation."""
        found = self._all.get(request.namespace)
        if found is None:
            return StoreOutcome.UNKNOWN
        tier, delegation = Tier(request.tier), found.delegation
        if request.generation != delegation.generation:
            is_older = request.generation < delegation.generation
            return StoreOutcome.OLDER if is_older else StoreOutcome.REFUSED
        if request.namespace not in opened.tiers and len(opened.tiers) >= OPEN_PER_LINK_MAX:
            return StoreOutcome.FULL
        try:
            check_capability(
                delegation.public(tier), request.proof, self._node_id, request.namespace,
                request.generation, tier, link_id,
            )  # fmt: skip
        except SignatureError:
            return StoreOutcome.REFUSED
        before = opened.tiers.get(request.namespace, (-1, Tier.READ))
        if before[0] == request.generation:
            tier = max(tier, before[1])
        opened.tiers[request.namespace] = (request.generation, tier)
        return StoreOutcome.DONE

    def allows(self, opened: Opened, namespace: bytes, tier: Tier) -> StoreOutcome:
        """DONE if the link may do there what takes this tier."""
        found = self._all.get(namespace)
        generation, has = opened.tiers.get(namespace, (-1, Tier.READ))
        if found is None or generation < 0:
            return StoreOutcome.REFUSED
        if generation != found.delegation.generation:
            return StoreOutcome.OLDER
        return StoreOutcome.DONE if has >= tier else StoreOutcome.REFUSED

    # ------------------------------------------------------------ delegations

    def judge(
        self, request: StoreDelegate, founder: bytes, now_s: int, *, may_found: bool
    ) -> NamespaceRow | StoreOutcome:
        """The row to be written for a delegation that counts, or why it does not."""
        try:
            delegation = decode_delegation(request.delegation)
        except FormError:
            return StoreOutcome.REFUSED
        found = self._all.get(delegation.namespace)
        if found is not None:
            return self._follow(found, delegation, request)
        if not may_found:
            return StoreOutcome.REFUSED
        if len(request.emergency) != KEY_SIZE or request.salt or request.signer != Signer.OWNER:
            return StoreOutcome.REFUSED
        expected = namespace_id(self._node_id, delegation.owner_pk, request.emergency)
        if expected != delegation.namespace:
            return StoreOutcome.REFUSED
        if not self._is_signed(delegation.owner_pk, request, delegation):
            return StoreOutcome.REFUSED
        is_full = self._founders[founder] >= NAMESPACES_PER_FOUNDER_MAX
        if is_full or len(self._all) >= NAMESPACES_MAX:
            return StoreOutcome.FULL
        return NamespaceRow(
            delegation.namespace, request.emergency, request.delegation, founder, now_s, 0, 0
        )

    def _follow(
        self, found: Namespace, delegation: Delegation, request: StoreDelegate
    ) -> NamespaceRow | StoreOutcome:
        if request.delegation == found.row.delegation:
            return found.row  # said twice
        signer = Signer(request.signer)
        if delegation.generation <= found.delegation.generation:
            return StoreOutcome.OLDER
        if not delegation.may_follow(found.delegation, signer):
            return StoreOutcome.REFUSED
        public = self._signer_pk(found, signer, request)
        if public is None or not self._is_signed(public, request, delegation):
            return StoreOutcome.REFUSED
        return found.row._replace(delegation=request.delegation)

    @staticmethod
    def _signer_pk(found: Namespace, signer: Signer, request: StoreDelegate) -> bytes | None:
        if signer is Signer.OWNER:
            return found.delegation.owner_pk
        if signer is Signer.ADMIN:
            return found.delegation.admin_pk
        if not request.emergency or not request.salt:
            return None
        shown = emergency_hash(request.emergency, request.salt)
        return request.emergency if is_equal(shown, found.row.emergency) else None

    def _is_signed(self, public: bytes, request: StoreDelegate, delegation: Delegation) -> bool:
        try:
            check_delegation(public, request.signature, self._node_id, delegation)
        except SignatureError:
            return False
        return True

    def take_up(self, row: NamespaceRow) -> None:
        """What `judge` gave counts from now on: it is durable."""
        found = self._all.get(row.namespace)
        if found is None:
            self._enter(row)
            return
        delegation = decode_delegation(row.delegation)
        if delegation.generation > found.delegation.generation:
            found.row, found.delegation = row, delegation

    def _enter(self, row: NamespaceRow) -> None:
        delegation = decode_delegation(row.delegation)
        if delegation.namespace != row.namespace:
            raise FormError
        self._all[row.namespace] = Namespace(row, delegation, healed=row.healed)
        self._founders[row.founder] += 1
