"""Who may do what in a folder, as a pure function of the set of ledger entries (CRYPTO 4.2).

Level by level, root first: an entry is judged only by entries of higher levels, so equals cannot
remove each other, nothing is circular and no tie needs breaking. "Removal beats concurrent grant"
is the same rule seen from a grant: it stands only if every standing removal of a higher level is in
its past.

Who leaves is out at once, but for those who may let in and put out others. Their leave asks for
their removal by somebody higher and changes nothing by itself: who could say at any time that it
has left, as if before its last acts, would take these back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from crypto.ids import DeviceId, EntryId, UserId
from protocol.folder_actions import Expel, Grant, Pin, Remove, Role
from protocol.ledger import indices, is_in
from protocol.user_ledger import Certificate


class Act(NamedTuple):
    """Where an action stands: its entry's index and its place within that entry."""

    entry: int
    place: int


class Admission(NamedTuple):
    """A device that was let in, by its user's ledger."""

    entry: int
    user_id: UserId
    certificate: Certificate


@dataclass(slots=True)
class Facts:
    """What a folder ledger says, unjudged: every action with its position, grown entry by entry."""

    root: UserId
    past: Sequence[int]
    """The strict ancestors of each entry; the ledger's own list."""
    authors: list[DeviceId] = field(default_factory=list)
    admissions: dict[DeviceId, list[Admission]] = field(default_factory=dict)
    grants: dict[UserId, list[tuple[Act, Grant]]] = field(default_factory=dict)
    removals: dict[UserId, list[tuple[Act, Remove]]] = field(default_factory=dict)
    expels: dict[DeviceId, list[tuple[Act, UserId, Expel]]] = field(default_factory=dict)
    """With the user in whose ledger the device was revoked."""
    leaves: set[int] = field(default_factory=set)
    epochs: set[int] = field(default_factory=set)
    judged: set[int] = field(default_factory=set)
    """The entries whose level matters to anything."""

    def is_before(self, first: Act, second: Act) -> bool:
        """Whether the author of the second act knew the first; demotion is both in one entry."""
        if first.entry == second.entry:
            return first.place < second.place
        return is_in(self.past[second.entry], first.entry)

    def users_at(self, device_id: DeviceId, entry: int) -> set[UserId]:
        """The users whose device this was for the author of an entry: by admissions in its past."""
        past = self.past[entry]
        return {
            admission.user_id
            for admission in self.admissions.get(device_id, ())
            if is_in(past, admission.entry) or admission.entry == entry == 0
        }


@dataclass(frozen=True, slots=True)
class Cut:
    """A standing removal or expel: what its target writes unaware of it is void beyond its pins."""

    act: Act
    level: int
    pins: tuple[Pin, ...]
    is_trusted: bool = True
    """Whether its pins count; those of an author who was put out at the same time do not."""


@dataclass(frozen=True, slots=True)
class FolderState:
    """What a folder ledger says at some heads."""

    past: int
    """The entries that this is a function of."""
    roles: Mapping[UserId, Role]
    """The members; who is not here has no role."""
    devices: Mapping[DeviceId, Sequence[Admission]]
    """The admitted devices of members, without those that were expelled."""
    levels: Mapping[int, int]
    """The level at which each judged entry speaks; who is not here speaks for nobody."""
    expels: Mapping[DeviceId, Sequence[Cut]]
    """The standing expels of each device, whoever its user is."""
    leaving: frozenset[UserId]
    """Who said that they leave, and was neither removed nor let in since."""

    def role(self, user_id: UserId) -> Role:
        """The user's role; NONE for who is not a member."""
        return self.roles.get(user_id, Role.NONE)

    def role_of_device(self, device_id: DeviceId) -> Role:
        """The role for which a device may act; NONE if it is not admitted or was expelled."""
        return max(
            (self.role(a.user_id) for a in self.devices.get(device_id, ())), default=Role.NONE
        )


Stands = Callable[[UserId, DeviceId, EntryId], bool]
"""Whether this entry of the user's ledger is a standing revocation of the device."""


def evaluate(facts: Facts, past: int, stands: Stands) -> FolderState:
    """Judges the entries of `past`; the same for any order in which they arrived."""
    return _Evaluation(facts, past, stands).state()


class _Evaluation:
    def __init__(self, facts: Facts, past: int, stands: Stands) -> None:
        self.facts, self.past = facts, past
        self.levels: dict[int, int] = {}
        self.leaves: dict[UserId, list[Act]] = {}
        """By those who may change no membership: these count."""
        self.asked: dict[UserId, list[Act]] = {}
        """By those who may."""
        self.expels = {
            device_id: [
                (act, user_id, expel)
                for act, user_id, expel in expels
                if is_in(past, act.entry) and stands(user_id, device_id, expel.revoking_entry)
            ]
            for device_id, expels in facts.expels.items()
        }

    def state(self) -> FolderState:
        """Assigns levels from the top, then reads off roles and devices."""
        judged = [entry for entry in indices(self.past) if entry in self.facts.judged]
        for level in sorted(Role, reverse=True)[:-1]:
            self._judge(judged, level)
        roles = self._roles()
        devices: dict[DeviceId, list[Admission]] = {}
        cuts: dict[DeviceId, list[Cut]] = {}
        for device_id, admissions in self.facts.admissions.items():
            members = [a for a in admissions if is_in(self.past, a.entry) and a.user_id in roles]
            role = max((roles[a.user_id] for a in members), default=Role.NONE)
            if expelled := self._standing_expels(device_id, role):
                cuts[device_id] = expelled
            elif members:
                devices[device_id] = members
        leaving = frozenset(filter(self._is_leaving, {*self.leaves, *self.asked}))
        return FolderState(self.past, roles, devices, self.levels, cuts, leaving)

    def _judge(self, judged: list[int], level: Role) -> None:
        """Finds the entries that speak at `level`, and the leaves among them."""
        candidates = [
            (entry, user_id)
            for entry in judged
            if entry not in self.levels
            for user_id in self.facts.users_at(self.facts.authors[entry], entry)
            if self._speaks(entry, user_id, level, ())
        ]
        leaves = self.asked if level > Role.WRITE else self.leaves
        for entry, user_id in candidates:
            if entry in self.facts.leaves:
                leaves.setdefault(user_id, []).append(Act(entry, -1))
        speaking = [
            entry
            for entry, user_id in candidates
            if user_id not in self.leaves
            or self._speaks(entry, user_id, level, self.leaves[user_id])
        ]
        self.levels.update((entry, level) for entry in speaking)

    def _speaks(self, entry: int, user_id: UserId, level: Role, leaves: Sequence[Act]) -> bool:
        """Whether the entry, by a device of this user, has this level."""
        past = self.facts.past
        if any(
            not is_in(past[act.entry], entry) and self._silences(act, owner, entry, level)
            for act, owner, _ in self.expels.get(self.facts.authors[entry], ())
        ):
            return False
        if user_id == self.facts.root:
            return level == Role.ROOT
        removals = self._removals(user_id, level)
        return any(
            is_in(past[entry], grant.entry)
            and all(
                self.facts.is_before(removal, grant) or is_in(past[removal.entry], entry)
                for removal in removals
            )
            and all(
                self.facts.is_before(leave, grant)
                or is_in(past[leave.entry], entry)
                or leave.entry == entry
                for leave in leaves
            )
            for grant in self._grants(user_id, level)
        )

    def _grants(self, user_id: UserId, level: Role) -> list[Act]:
        """The standing grants of exactly this role: in entries that speak at a higher level."""
        return [
            act
            for act, grant in self.facts.grants.get(user_id, ())
            if grant.role == level
            and is_in(self.past, act.entry)
            and self.levels.get(act.entry, 0) > level
            and self.levels[act.entry] >= Role.SHARE
        ]

    def _removals(self, user_id: UserId, level: Role) -> list[Act]:
        """The standing removals that can take this role away: in entries of a higher level."""
        return [
            act
            for act, _ in self.facts.removals.get(user_id, ())
            if is_in(self.past, act.entry)
            and self.levels.get(act.entry, 0) > level
            and self.levels[act.entry] >= Role.SHARE
        ]

    def _silences(self, act: Act, owner: UserId, entry: int, level: Role) -> bool:
        """Whether an expel takes its device's entry away, which it did not know."""
        if self.levels.get(act.entry, 0) > level:
            return True
        # What somebody higher has seen who removed the user, no expel by that user takes back that
        # was not seen with it: a device to expel, and why, can be made up at any time.
        past = self.facts.past
        return self._may_expel(act, owner, level) and not any(
            is_in(past[removal.entry], entry) and not is_in(past[removal.entry], act.entry)
            for removal in self._removals(owner, level)
        )

    def _may_expel(self, act: Act, owner: UserId, level: int) -> bool:
        """Whether the expel's author is a device of the same user, or of a higher level."""
        author = self.facts.authors[act.entry]
        # Of the same user it counts whoever else expelled the author: the proof is the revocation,
        # and two devices that expel each other are then both out. Only pins need a trusted author.
        return (
            owner in self.facts.users_at(author, act.entry) or self.levels.get(act.entry, 0) > level
        )

    def _standing_expels(self, device_id: DeviceId, role: Role) -> list[Cut]:
        return [
            Cut(act, Role.ROOT, expel.pins, is_trusted=act.entry in self.levels)
            for act, owner, expel in self.expels.get(device_id, ())
            if self._may_expel(act, owner, role)
        ]

    def _roles(self) -> dict[UserId, Role]:
        """The highest role of each user whose grant has every standing removal in its past."""
        roles = {self.facts.root: Role.ROOT}
        for user_id in self.facts.grants:
            for level in (Role.OWNER, Role.SHARE, Role.WRITE, Role.READ):
                against = self._removals(user_id, level)
                if level <= Role.WRITE:
                    against += self.leaves.get(user_id, [])
                if user_id not in roles and any(
                    all(self.facts.is_before(act, grant) for act in against)
                    for grant in self._grants(user_id, level)
                ):
                    roles[user_id] = level
        return roles

    def _is_leaving(self, user_id: UserId) -> bool:
        """Whether a leave of this user is followed by no removal and by no grant."""
        levels = (Role.OWNER, Role.SHARE, Role.WRITE, Role.READ)
        settled = [
            act for level in levels
            for act in (*self._removals(user_id, level), *self._grants(user_id, level))
        ]  # fmt: skip
        return user_id != self.facts.root and any(
            not any(self.facts.is_before(leave, act) for act in settled)
            for leave in (*self.leaves.get(user_id, ()), *self.asked.get(user_id, ()))
        )
