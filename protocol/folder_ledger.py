"""A folder's ledger: members, their devices and the epochs of the folder's secrets (CRYPTO 4).

It holds the entries and answers questions; the judging is in `membership`. Certificates come from
the members' user ledgers, which are passed in and may grow beside it: an entry that cites what is
not there yet is held (call `retry` when a user ledger has grown).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple

from crypto.ids import DeviceId, EntryId, FolderId, UserId
from crypto.keys import DeviceKeys
from protocol.errors import BadLedger, NotEntitled
from protocol.folder_actions import (
    NO_FOLDER,
    Action,
    Admit,
    Epoch,
    EpochCore,
    Expel,
    Genesis,
    Grant,
    Leave,
    Remove,
    Role,
    Storage,
    decode_action,
)
from protocol.ledger import PARENTS_MAX, Entry, Ledger, LedgerKind, Waiting, is_in
from protocol.membership import Act, Admission, Facts, FolderState, evaluate
from protocol.user_ledger import Certificate, UserLedger
from protocol.voiding import ALWAYS_STANDS, VoidRule, make_void_rule

_CACHE_MAX: Final = 1024
"""Judged pasts kept. Changesets cite few different heads; each costs one evaluation."""


class Recipient(NamedTuple):
    """Who an epoch is wrapped for: a device, or a user's recovery key under the user's id."""

    id: bytes
    dh_pk: bytes
    tiers: int


class FolderLedger(Ledger):
    """One folder's members, devices and epochs."""

    kind: ClassVar[LedgerKind] = LedgerKind.FOLDER

    def __init__(self, genesis: bytes, users: Mapping[UserId, UserLedger]) -> None:
        """Starts from a genesis' wire bytes; BadLedger, BadSignature, or Waiting for its user."""
        self._users = users
        self._facts: Facts | None = None
        self._cores: dict[EntryId, EpochCore] = {}
        self._depths: dict[EntryId, int] = {}
        self._citations: list[tuple[int, UserId, tuple[EntryId, ...]]] = []
        self._storages: list[tuple[int, Storage]] = []
        self._states: dict[int, FolderState] = {}
        self._covering: dict[tuple[EntryId, int], bool] = {}
        self._void_rules: dict[tuple[DeviceId, int], VoidRule] = {}
        self._version = (0, 0)
        super().__init__(genesis)

    @classmethod
    def restore(cls, entries: Iterable[bytes], users: Mapping[UserId, UserLedger]) -> FolderLedger:
        """A ledger from its exported entries, the genesis first; errors as in `add`."""
        iterator = iter(entries)
        ledger = cls(next(iterator, b""), users)
        ledger.extend(iterator)
        return ledger

    @property
    def folder_id(self) -> FolderId:
        """The folder's id, which is the ledger's."""
        return FolderId(self._id)

    @property
    def genesis(self) -> Genesis:
        """What never changes: kind and root."""
        action = decode_action(self._order[0].actions[0])
        assert isinstance(action, Genesis)
        return action

    @property
    def version(self) -> tuple[int, int]:
        """Changes when anything that this ledger's answers depend on has grown."""
        return len(self._order), sum(map(len, self._users.values()))

    # ------------------------------------------------------------ people and devices

    def state(self, heads: Iterable[EntryId] | None = None) -> FolderState:
        """Roles and devices at these heads, or by all that is known; KeyError for unknown ones."""
        past = (1 << len(self._order)) - 1 if heads is None else self.past_of(heads)
        self._forget_if_grown()
        state = self._states.get(past)
        if state is None:
            state = self._states[past] = evaluate(self._known, past, self._stands)
        return state

    def role(self, user_id: UserId, heads: Iterable[EntryId] | None = None) -> Role:
        """A user's role at these heads, or by all that is known."""
        return self.state(heads).role(user_id)

    def devices(
        self, heads: Iterable[EntryId] | None = None
    ) -> dict[DeviceId, tuple[UserId, Certificate]]:
        """The members' admitted devices with their certificates, without the expelled ones."""
        devices = self.state(heads).devices
        return {device_id: a[-1][1:] for device_id, a in devices.items()}

    def is_live(self, device_id: DeviceId) -> bool:
        """Whether a device is admitted, not expelled, and not revoked by its user since."""
        admissions = self.state().devices.get(device_id, ())
        return bool(admissions) and not any(
            device_id in self._users[admission.user_id].state().revocations
            for admission in admissions
        )

    def is_writer(self, device_id: DeviceId, heads: Iterable[EntryId] | None = None) -> bool:
        """Whether a device may write at these heads."""
        return self.state(heads).role_of_device(device_id) >= Role.WRITE

    def certificate(self, device_id: DeviceId) -> Certificate | None:
        """The certificate of a device that was ever admitted; None for others."""
        admissions = self._known.admissions.get(device_id)
        return admissions[0].certificate if admissions else None

    def is_revocation_pending(self, device_id: DeviceId) -> bool:
        """Whether its user revoked a device that the folder has not expelled yet."""
        return any(
            device_id in self._users[admission.user_id].state().revocations
            for admission in self.state().devices.get(device_id, ())
        )

    def admits_owed(self, user_id: UserId) -> list[Admit]:
        """The admissions of a member's live devices that are not in the folder yet."""
        user = self._users[user_id]
        state = self.state()
        if user_id not in state.roles:
            return []
        return [
            Admit(device_id, tuple(user.heads()[:8]))
            for device_id in sorted(user.live_devices())
            if device_id not in self._known.admissions
        ]

    def expels_owed(self, device_id: DeviceId) -> list[tuple[DeviceId, EntryId]]:
        """The revoked devices that this device may expel, each with the entry that revokes it."""
        state = self.state()
        own = {admission.user_id for admission in state.devices.get(device_id, ())}
        role = state.role_of_device(device_id)
        owed: list[tuple[DeviceId, EntryId]] = []
        for other, admissions in state.devices.items():
            for user_id in {a.user_id for a in admissions}:
                revoking = self._users[user_id].state().revocations.get(other)
                if (
                    revoking
                    and other != device_id
                    and (user_id in own or role > state.role(user_id))
                ):
                    owed.append((other, min(revoking)))
        return sorted(owed)

    def removals_owed(self, device_id: DeviceId) -> list[UserId]:
        """Who said that they leave and is to be removed by a device like this one: with the heads
        of the logs as pins, and a new epoch, as at any removal.
        """
        state = self.state()
        role = state.role_of_device(device_id)
        return [
            user_id
            for user_id in sorted(state.leaving)
            if role >= Role.SHARE and role > state.role(user_id)
        ]

    def storages(self) -> list[Storage]:
        """The namespaces that owners have named."""
        levels = self.state().levels
        return [storage for entry, storage in self._storages if levels.get(entry, 0) >= Role.OWNER]

    # ------------------------------------------------------------ epochs

    def is_epoch(self, entry_id: EntryId) -> bool:
        """Whether this entry is here and made an epoch."""
        return entry_id in self._cores

    def core(self, epoch_id: EntryId) -> EpochCore:
        """The core of an epoch; KeyError if there is none of this id."""
        return self._cores[epoch_id]

    def epoch_ids(self) -> list[EntryId]:
        """All epochs, parents first; the first is the genesis."""
        return list(self._cores)

    def is_covering(self, epoch_id: EntryId, heads: Iterable[EntryId] | None = None) -> bool:
        """Whether what is written at these heads may be sealed under this epoch.

        Its author was entitled to make it, it is known at the heads, nobody was removed, expelled
        or left there without it, and it is not for a device that its author knew as revoked.
        """
        state = self.state(heads)
        key = (epoch_id, state.past)
        verdict = self._covering.get(key)
        if verdict is None:
            verdict = self._covering[key] = self._judge_epoch(epoch_id, state)
        return verdict

    def covering_epochs(self, heads: Iterable[EntryId] | None = None) -> list[EntryId]:
        """What may be sealed under at these heads, the best first: deepest, then smallest id."""
        heads = None if heads is None else list(heads)
        covering = [epoch_id for epoch_id in self._cores if self.is_covering(epoch_id, heads)]
        return sorted(covering, key=lambda epoch_id: (-self._depths[epoch_id], epoch_id))

    def sealing_epoch(self, heads: Iterable[EntryId] | None = None) -> EntryId | None:
        """The epoch that who can open them all seals under; None when a rotation is owed first."""
        return next(iter(self.covering_epochs(heads)), None)

    def epoch_heads(self, can_open: Callable[[EntryId], bool] = bool) -> list[EntryId]:
        """The epochs that no other continues, sorted: the parents of the next one.

        Only epochs that stand count, and of these only what the asker can open: neither an epoch by
        somebody without the right nor one that was given to nobody may hide the others.
        """
        levels = self.state().levels
        standing = [
            epoch_id
            for epoch_id, core in self._cores.items()
            if levels.get(self._index[epoch_id], 0) >= _epoch_level(core) and can_open(epoch_id)
        ]
        continued = {parent for epoch_id in standing for parent in self._cores[epoch_id].parents}
        heads = [epoch_id for epoch_id in standing if epoch_id not in continued]
        return sorted(sorted(heads, key=lambda e: (-self._depths[e], e))[:PARENTS_MAX])

    def recipients(self, without: Collection[bytes] = ()) -> list[Recipient]:
        """Who an epoch is for, sorted: live devices of members, and each member's recovery key.

        `without` names users and devices that the same entry puts out.
        """
        state = self.state()
        found: dict[bytes, Recipient] = {}
        for user_id, role in state.roles.items():
            if user_id not in without and user_id in self._users:
                recovery_pk = self._users[user_id].state().identity.recovery_pk
                found[user_id] = Recipient(user_id, recovery_pk, min(role, Role.OWNER))
        for device_id, admissions in state.devices.items():
            users = {
                a.user_id
                for a in admissions
                if a.user_id not in without and device_id in self._users[a.user_id].live_devices()
            }
            if users and device_id not in without:
                tiers = min(max(state.role(user_id) for user_id in users), Role.OWNER)
                found[device_id] = Recipient(device_id, admissions[0].certificate.dh_pk, tiers)
        return [found[recipient_id] for recipient_id in sorted(found)]

    def rotation_owed(self, epoch_id: EntryId | None = None) -> bool:
        """Whether a writer that would seal under this epoch has to author one first (CRYPTO 4.4).

        Without an epoch the question is for the best one there is.
        """
        epoch_id = self.sealing_epoch() if epoch_id is None else epoch_id
        if epoch_id is None:
            return True
        entitled = {recipient.id for recipient in self.recipients()}
        given = {recipient_id for recipient_id, _ in self._cores[epoch_id].recipients}
        if not given <= entitled:
            return True
        # A device admitted after the epoch was given it by another wrap; one that was there before
        # and is no recipient was left out on purpose.
        past = self._past[self._index[epoch_id]]
        return any(
            device_id not in entitled and not is_in(past, admission.entry)
            for device_id, admissions in self.state().devices.items()
            for admission in admissions
        )

    # ------------------------------------------------------------ voiding

    def void_rule(self, device_id: DeviceId, heads: Iterable[EntryId]) -> VoidRule:
        """By what a changeset of this device at these heads would be void (CRYPTO 4.3).

        Of a device that might not write at these heads nothing is void: it is refused for that.
        """
        state, at_heads = self.state(), self.state(heads)
        known = at_heads.past
        key = (device_id, known)
        rule = self._void_rules.get(key)
        if rule is None:
            is_writer = at_heads.role_of_device(device_id) >= Role.WRITE
            rule = (
                make_void_rule(self._known, state, device_id, known) if is_writer else ALWAYS_STANDS
            )
            self._void_rules[key] = rule
        return rule

    # ------------------------------------------------------------ authoring

    def act(self, keys: DeviceKeys, actions: Sequence[Action], now: float) -> Entry:
        """Signs and adds an entry by this device; NotEntitled if its role forbids an action."""
        state = self.state()
        role = state.role_of_device(keys.device_id)
        own = {admission.user_id for admission in state.devices.get(keys.device_id, ())}
        for action in actions:
            if not self._is_allowed(action, role, own, state):
                raise NotEntitled(f"this device may not {type(action).__name__.lower()} here")
        return self.author(keys, [action.encode() for action in actions], now)

    def admit_self(self, keys: DeviceKeys, user_id: UserId, now: float) -> Entry:
        """Admits this device, which its user's ledger names and no member has admitted yet.

        So somebody who has lost all devices comes back with the recovery kit alone.
        """
        heads = tuple(self._users[user_id].heads()[:8])
        return self.author(keys, [Admit(keys.device_id, heads).encode()], now)

    def _is_allowed(
        self, action: Action, role: Role, own: Collection[UserId], state: FolderState
    ) -> bool:
        match action:
            case Grant():
                return role >= Role.SHARE and action.role < role
            case Remove():
                return role >= Role.SHARE and state.role(action.user_id) < role
            case Epoch():
                return role >= _epoch_level(action.core)
            case Storage():
                return role >= Role.OWNER
            case Expel():
                owner = self._user_revoking(action.revoking_entry, action.device_id)
                return owner in own or (owner is not None and role > state.role(owner))
            case Leave():
                return Role.NONE < role < Role.ROOT
            case Admit():
                return role > Role.NONE
            case Genesis():
                return False

    # ------------------------------------------------------------ checking

    @property
    def _known(self) -> Facts:
        assert self._facts is not None
        return self._facts

    def _signer(self, entry: Entry, past: int) -> bytes:
        if not self._order:
            return self._genesis_certificate(entry).sign_pk
        for admission in self._known.admissions.get(DeviceId(entry.author_id), ()):
            if is_in(past, admission.entry):
                return admission.certificate.sign_pk
        match [decode_action(action) for action in entry.actions]:
            case [Admit(device_id) as admit] if device_id == entry.author_id:
                # It admits itself, and does nothing else: that it is its user's is in the ledger
                # that it cites, and what it may do follows from its user's role.
                user_id, certificate = self._certified(admit)
                if user_id == self._known.root or user_id in self._known.grants:
                    return certificate.sign_pk
        raise BadLedger("an entry by a device that was not admitted in its past")

    def _genesis_certificate(self, entry: Entry) -> Certificate:
        match [decode_action(action) for action in entry.actions]:
            case [Genesis() as genesis, Admit() as admit, Epoch() as epoch]:
                pass
            case _:
                raise BadLedger("a folder begins with its genesis, a device and an epoch")
        if admit.device_id != entry.author_id or None in epoch.core.commits:
            raise BadLedger(
                "a genesis by a device it does not admit, or with an epoch that lacks tiers"
            )
        if genesis.root not in self._users:
            raise Waiting("the root's user ledger is not here")
        user_id, certificate = self._certified(admit)
        if user_id != genesis.root:
            raise BadLedger("a genesis by a device of somebody else than its root")
        return certificate

    def _index_actions(self, entry: Entry, past: int) -> None:
        index = len(self._order)
        actions = [decode_action(action) for action in entry.actions]
        admitted: dict[int, tuple[UserId, Certificate]] = {}
        owners: dict[int, UserId] = {}
        for place, action in enumerate(actions):
            match action:
                case Admit():
                    admitted[place] = self._certified(action)
                case Expel():
                    owners[place] = self._owner(action)
                case Epoch():
                    self._check_core(action.core, past, is_first=index == 0)
                case Genesis() if index:
                    raise BadLedger("a second genesis")
        if sum(isinstance(action, Epoch) for action in actions) > 1:
            raise BadLedger("two epochs in one entry")
        if self._facts is None:
            assert isinstance(actions[0], Genesis)
            self._facts = Facts(actions[0].root, self._past)
        self._facts.authors.append(DeviceId(entry.author_id))
        for place, action in enumerate(actions):
            self._note(entry, Act(index, place), action, admitted.get(place), owners.get(place))

    def _note(
        self,
        entry: Entry,
        act: Act,
        action: Action,
        admitted: tuple[UserId, Certificate] | None,
        owner: UserId | None,
    ) -> None:
        facts = self._known
        if not isinstance(action, Admit):
            facts.judged.add(act.entry)
        match action:
            case Grant():
                facts.grants.setdefault(action.user_id, []).append((act, action))
            case Remove():
                facts.removals.setdefault(action.user_id, []).append((act, action))
            case Admit():
                assert admitted is not None
                admission = Admission(act.entry, *admitted)
                facts.admissions.setdefault(action.device_id, []).append(admission)
                self._citations.append((act.entry, admission.user_id, action.user_heads))
            case Expel():
                assert owner is not None
                facts.expels.setdefault(action.device_id, []).append((act, owner, action))
                self._citations.append((act.entry, owner, (action.revoking_entry,)))
            case Leave():
                facts.leaves.add(act.entry)
            case Epoch():
                facts.epochs.add(act.entry)
                self._cores[entry.id] = action.core
                depths = (self._depths[parent] for parent in action.core.parents)
                self._depths[entry.id] = 1 + max(depths, default=0)
            case Storage():
                self._storages.append((act.entry, action))

    def _certified(self, admit: Admit) -> tuple[UserId, Certificate]:
        """The user that the cited heads belong to, and the certificate that is live there."""
        for user_id, user in self._users.items():
            if all(head in user for head in admit.user_heads):
                certificate = user.live_devices(admit.user_heads).get(admit.device_id)
                if certificate is None:
                    raise BadLedger("an admission of a device that is not live at the cited heads")
                return user_id, certificate
        raise Waiting("a user ledger that an admission cites is not here")

    def _owner(self, expel: Expel) -> UserId:
        if (owner := self._user_revoking(expel.revoking_entry, expel.device_id)) is not None:
            return owner
        if any(expel.revoking_entry in user for user in self._users.values()):
            raise BadLedger("an expel by an entry that does not revoke the device")
        raise Waiting("the revocation that an expel cites is not here")

    def _user_revoking(self, entry_id: EntryId, device_id: DeviceId) -> UserId | None:
        for user_id, user in self._users.items():
            if user.has_revocation(entry_id, device_id):
                return user_id
        return None

    def _check_core(self, core: EpochCore, past: int, is_first: bool) -> None:
        if core.folder_id != (NO_FOLDER if is_first else self._id) or is_first != (
            not core.parents
        ):
            raise BadLedger("an epoch of another folder, or without parents")
        for parent in core.parents:
            if parent not in self._cores or not is_in(past, self._index[parent]):
                raise BadLedger("an epoch whose parent is not an epoch in its past")

    # ------------------------------------------------------------ judging

    def _stands(self, user_id: UserId, device_id: DeviceId, entry_id: EntryId) -> bool:
        return entry_id in self._users[user_id].state().revocations.get(device_id, ())

    def _forget_if_grown(self) -> None:
        """Drops verdicts when more is known: a user ledger may say something else of an expel."""
        version = self.version
        if version[1] != self._version[1] or len(self._states) > _CACHE_MAX:
            self._states.clear()
        if version != self._version or len(self._covering) + len(self._void_rules) > _CACHE_MAX:
            self._covering.clear()
            self._void_rules.clear()
        self._version = version

    def _judge_epoch(self, epoch_id: EntryId, state: FolderState) -> bool:
        index = self._index.get(epoch_id)
        core = self._cores.get(epoch_id)
        if index is None or core is None or not is_in(state.past, index):
            return False
        if state.levels.get(index, 0) < _epoch_level(core):
            return False
        known = self._past[index] | 1 << index
        if self._cutting(state) & ~known:
            return False
        recipients = {recipient_id for recipient_id, _ in core.recipients}
        cited: dict[UserId, set[EntryId]] = {}
        for entry, user_id, heads in self._citations:
            if is_in(known, entry):
                cited.setdefault(user_id, set()).update(heads)
        return not any(
            recipients & self._users[user_id].state(heads).revocations.keys()
            for user_id, heads in cited.items()
        )

    def _cutting(self, state: FolderState) -> int:
        """The entries of a state that put somebody out, and that an epoch has to cover."""
        facts, cutting = self._known, 0
        for removals in facts.removals.values():
            for act, _ in removals:
                if state.levels.get(act.entry, 0) >= Role.SHARE:
                    cutting |= 1 << act.entry
        for expels in facts.expels.values():
            for act, _, _ in expels:
                cutting |= 1 << act.entry
        for entry in facts.leaves:
            if Role.NONE < state.levels.get(entry, Role.NONE) <= Role.WRITE:
                cutting |= 1 << entry
        return cutting & state.past


def _epoch_level(core: EpochCore) -> Role:
    """The least role that may author this epoch: who renews A or O has to be an owner."""
    return Role.WRITE if core.commits[2:] == (None, None) else Role.OWNER
