"""Evaluation alone, over facts without signatures: thousands of random graphs in a second."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from crypto.ids import DeviceId, EntryId, UserId
from protocol.folder_actions import Expel, Grant, Remove, Role
from protocol.membership import Act, Admission, Facts, FolderState, evaluate
from protocol.user_ledger import Certificate

PEOPLE = 7
ROOT = 0
SEEDS = st.integers(0, 1 << 48)


def user(number: int) -> UserId:
    return UserId(bytes([number]) * 32)


def device(number: int, which: int = 0) -> DeviceId:
    return DeviceId(bytes([number, which]) * 16)


class Graph:
    """Entries by hand: a folder whose people all have two devices, admitted at the genesis."""

    def __init__(self, is_revoked: bool = False) -> None:
        self.past: list[int] = []
        self.acts: list[tuple[DeviceId, list[object]]] = []
        self.facts = Facts(user(ROOT), self.past)
        self.is_revoked = is_revoked
        self.add(ROOT, [])
        for number in range(PEOPLE):
            for which in range(2):
                certificate = Certificate(user(number), bytes(32), bytes(32))
                self.facts.admissions[device(number, which)] = [
                    Admission(0, user(number), certificate)
                ]

    def add(self, author: int, parents: list[int], *actions: object, which: int = 0) -> int:
        """One entry; gives its index."""
        entry = len(self.past)
        past = 0
        for parent in parents:
            past |= self.past[parent] | 1 << parent
        self.past.append(past)
        self.acts.append((device(author, which), list(actions)))
        facts = self.facts
        facts.authors.append(device(author, which))
        facts.judged.add(entry)
        for place, action in enumerate(actions):
            act = Act(entry, place)
            match action:
                case Grant():
                    facts.grants.setdefault(action.user_id, []).append((act, action))
                case Remove():
                    facts.removals.setdefault(action.user_id, []).append((act, action))
                case Expel():
                    owner = user(action.device_id[0])
                    facts.expels.setdefault(action.device_id, []).append((act, owner, action))
                case "leave":
                    facts.leaves.add(entry)
        return entry

    def state(self) -> FolderState:
        return evaluate(self.facts, (1 << len(self.past)) - 1, lambda *_: self.is_revoked)

    def roles(self) -> dict[int, Role]:
        return {user_id[0]: role for user_id, role in self.state().roles.items()}

    def leaving(self) -> set[int]:
        return {user_id[0] for user_id in self.state().leaving}

    def heads(self) -> list[int]:
        named = 0
        for past in self.past:
            named |= past
        return [entry for entry in range(len(self.past)) if not named >> entry & 1]


def grant(number: int, role: int) -> Grant:
    return Grant(user(number), Role(role))


def remove(number: int) -> Remove:
    return Remove(user(number))


def expel(number: int, which: int = 0) -> Expel:
    return Expel(device(number, which), EntryId(bytes(32)))


def random_action(random: Random, author: int) -> object:
    kind = random.random()
    if kind < 0.5:
        return grant(random.randrange(PEOPLE), random.randint(1, 4))
    if kind < 0.85:
        return remove(random.randrange(PEOPLE))
    return "leave" if kind < 0.88 else expel(random.randrange(PEOPLE), random.randrange(2))


def random_parents(random: Random, graph: Graph) -> list[int]:
    if random.random() < 0.5:
        return random.sample(heads := graph.heads(), min(len(heads), 8))
    return [random.randrange(len(graph.past)) for _ in range(random.randint(1, 3))]


def random_graph(random: Random, entries: int) -> Graph:
    graph = Graph(is_revoked=random.random() < 0.5)
    graph.add(ROOT, [0], grant(1, 4), grant(2, 4), grant(3, 3), grant(4, 2))
    for _ in range(entries):
        author = random.choice([0, 1, 1, 2, 2, 3, 3, 4, 5])
        actions = [random_action(random, author) for _ in range(random.randint(1, 2))]
        graph.add(author, random_parents(random, graph), *actions, which=random.randrange(2))
    return graph


def test_root_grants_and_removes() -> None:
    graph = Graph()
    given_ = graph.add(ROOT, [0], grant(1, 4), grant(2, 1))
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.READ}
    graph.add(ROOT, [given_], remove(1))
    assert graph.roles() == {0: Role.ROOT, 2: Role.READ}


@pytest.mark.row("A20")
def test_only_roles_below_ones_own_are_granted_and_only_from_share_up() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 3), grant(2, 2))
    graph.add(1, [first], grant(3, 2))
    graph.add(1, [first], grant(4, 3))
    graph.add(2, [first], grant(5, 1))
    assert graph.roles() == {0: Role.ROOT, 1: Role.SHARE, 2: Role.WRITE, 3: Role.WRITE}


@pytest.mark.row("A21")
def test_equals_cannot_remove_each_other() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 4))
    graph.add(1, [first], remove(2))
    graph.add(2, [first], remove(1))
    graph.add(1, [first], remove(ROOT))
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.OWNER}


@pytest.mark.row("A21")
def test_removal_beats_a_concurrent_grant_and_yields_to_a_later_one() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 3))
    removed = graph.add(1, [first], remove(3))
    graph.add(2, [first], grant(3, 2))
    assert 3 not in graph.roles()
    graph.add(2, [removed], grant(3, 1))
    assert graph.roles()[3] == Role.READ


def test_a_removed_admin_takes_its_unseen_grants_along() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4))
    seen = graph.add(1, [first], grant(2, 2))
    graph.add(ROOT, [seen], remove(1))
    graph.add(1, [seen], grant(3, 3))
    assert graph.roles() == {0: Role.ROOT, 2: Role.WRITE}


def test_demotion_is_a_removal_and_a_grant_in_one_entry_in_this_order() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 4))
    graph.add(ROOT, [first], remove(1), grant(1, 1))
    graph.add(ROOT, [first], grant(2, 1), remove(2))
    assert graph.roles() == {0: Role.ROOT, 1: Role.READ}


def test_a_lower_level_does_not_remove_a_higher_role() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 3), grant(3, 2))
    graph.add(2, [first], remove(1), remove(3))
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.SHARE}


def test_who_leaves_is_out_until_granted_again() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 1))
    raised = graph.add(1, [first], grant(2, 2))
    left = graph.add(2, [raised], "leave")
    graph.add(ROOT, [first], "leave")
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER}  # no reader is left of the writer
    assert graph.leaving() == {2}
    graph.add(1, [left], grant(2, 1))
    assert graph.roles()[2] == Role.READ
    assert not graph.leaving()


@pytest.mark.parametrize("role", [Role.SHARE, Role.OWNER])
def test_who_lets_others_in_leaves_by_being_removed(role: Role) -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, role))
    left = graph.add(1, [graph.add(1, [first], grant(2, 2))], "leave")
    graph.add(1, [left], grant(3, 1))
    assert graph.roles() == {0: Role.ROOT, 1: role, 2: Role.WRITE, 3: Role.READ}
    assert graph.leaving() == {1}
    graph.add(ROOT, [left], remove(1))
    assert graph.roles() == {0: Role.ROOT, 2: Role.WRITE}
    assert not graph.leaving()


def test_a_leave_that_a_removal_did_not_see_is_nothing() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 2))
    graph.add(ROOT, [first], remove(1), remove(2))
    graph.add(1, [first], "leave")
    graph.add(2, [first], "leave")
    assert graph.roles() == {0: Role.ROOT}
    assert not graph.leaving()


def test_an_expel_needs_a_standing_revocation() -> None:
    for is_revoked in (False, True):
        graph = Graph(is_revoked)
        first = graph.add(ROOT, [0], grant(1, 4))
        graph.add(1, [first], expel(1, 1))
        assert (device(1, 1) in graph.state().devices) != is_revoked


def test_an_expelled_device_speaks_only_in_the_past_of_its_expel() -> None:
    graph = Graph(is_revoked=True)
    first = graph.add(ROOT, [0], grant(1, 4))
    before = graph.add(1, [first], grant(2, 2), which=1)
    graph.add(1, [before], expel(1, 1))
    graph.add(1, [before], grant(3, 2), which=1)
    graph.add(1, [before], grant(4, 2), which=0)
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.WRITE, 4: Role.WRITE}


def test_an_expel_is_by_the_same_user_or_a_higher_level() -> None:
    graph = Graph(is_revoked=True)
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 4), grant(3, 2), grant(4, 1))
    graph.add(2, [first], expel(1))
    graph.add(4, [first], expel(3))
    state = graph.state()
    assert device(1) in state.devices
    assert device(3) in state.devices
    graph.add(2, [first], expel(3))
    assert device(3) not in graph.state().devices


@pytest.mark.row("A21")
def test_two_devices_that_expel_each_other_are_out_and_their_pins_do_not_count() -> None:
    graph = Graph(is_revoked=True)
    first = graph.add(ROOT, [0], grant(1, 4))
    graph.add(1, [first], expel(1, 1))
    graph.add(1, [first], expel(1, 0), which=1)
    state = graph.state()
    assert not state.devices.keys() & {device(1, 0), device(1, 1)}
    assert not any(cut.is_trusted for cuts in state.expels.values() for cut in cuts)


# ---------------------------------------------------------------- fuzz


@pytest.mark.row("A21")
@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_the_root_is_never_out_and_nobody_else_is_root(seed: int) -> None:
    roles = random_graph(Random(seed), 15).roles()
    assert roles.pop(ROOT) is Role.ROOT
    assert Role.ROOT not in roles.values()


@pytest.mark.row("A21")
@given(SEEDS)
@settings(max_examples=200, deadline=None)
def test_any_order_of_delivery_gives_the_same_state(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random, 15)
    other = Graph(graph.is_revoked)
    names = {0: 0}
    while len(names) < len(graph.past):
        ready = [
            entry
            for entry in range(len(graph.past))
            if entry not in names
            and all(p in names for p in range(entry) if graph.past[entry] >> p & 1)
        ]
        entry = random.choice(ready)
        author, actions = graph.acts[entry]
        parents = [names[p] for p in range(entry) if graph.past[entry] >> p & 1]
        names[entry] = other.add(author[0], parents, *actions, which=author[1])
    ours, theirs = graph.state(), other.state()
    assert ours.roles == theirs.roles
    assert ours.devices.keys() == theirs.devices.keys()
    assert {names[entry]: level for entry, level in ours.levels.items()} == theirs.levels


def attack(random: Random, graph: Graph, gang: list[int]) -> None:
    """Entries that the gang makes up, on any old state or on each other, as if from before."""
    for _ in range(random.randint(1, 6)):
        author = random.choice(gang)
        actions = [random_action(random, author) for _ in range(random.randint(1, 3))]
        graph.add(author, random_parents(random, graph), *actions, which=random.randrange(2))


@pytest.mark.row("A19")
@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_chains_of_removed_people_and_accomplices_change_nothing(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random, 12)
    graph.add(ROOT, graph.heads(), *map(remove, {*graph.leaving(), random.randint(1, 3)}))
    before = graph.roles()
    gang = [number for number in range(PEOPLE) if number not in before]
    assume(gang)
    attack(random, graph, gang)
    assert graph.roles() == before


@pytest.mark.row("A20")
@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_people_below_share_change_nobody_elses_role(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random, 12)
    before, left = graph.roles(), graph.leaving()
    gang = [number for number in range(PEOPLE) if before.get(number, 0) < Role.SHARE]
    assume(gang)
    attack(random, graph, gang)
    after = graph.roles()
    assert all(after.get(n) == role for n, role in before.items() if n not in gang)
    assert all(after.get(n, 0) <= before.get(n, 0) for n in gang if n not in left)


@pytest.mark.row("A19")
def test_no_expel_takes_back_what_a_removal_has_seen() -> None:
    """Who was removed may revoke a device of its own, and say that it did not know what it did."""
    for is_removed in (False, True):
        graph = Graph(is_revoked=True)
        first = graph.add(ROOT, [0], grant(1, 4), grant(3, 2))
        acted = graph.add(1, [first], grant(2, 3), remove(3))
        if is_removed:
            graph.add(ROOT, [acted], remove(1))
        graph.add(1, [first], expel(1), which=1)
        others = {2: Role.SHARE} if is_removed else {1: Role.OWNER, 3: Role.WRITE}
        assert graph.roles() == {0: Role.ROOT, **others}


@pytest.mark.row("A19")
def test_who_left_comes_back_by_expelling_a_device_until_it_was_removed() -> None:
    """That the device which said it was stolen may be true, and nobody else can tell."""
    for is_removed in (False, True):
        graph = Graph(is_revoked=True)
        first = graph.add(ROOT, [0], grant(1, 2))
        left = graph.add(1, [first], "leave")
        if is_removed:
            graph.add(ROOT, [left], remove(1))
        graph.add(1, [first], expel(1), which=1)
        assert graph.roles() == {0: Role.ROOT, **({} if is_removed else {1: Role.WRITE})}


@pytest.mark.row("A19")
def test_who_leaves_takes_back_nothing_that_it_did() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4), grant(3, 2))
    acted = graph.add(1, [first], grant(2, 3), remove(3))
    graph.add(1, [acted], "leave")
    graph.add(1, [first], "leave", which=1)  # as if it had left before it did anything
    graph.add(1, [0], "leave", which=1)  # as if before it was anybody
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.SHARE}


def test_two_histories_that_no_rule_tells_apart() -> None:
    """Why a leave of who lets others in changes nothing by itself. The two are one set of entries:
    in one the act was before a leave, and a leave is made up beside it; in the other the act and
    its leave are made up beside a leave. Were leaves final, it would have to stand in the one and
    be void in the other.
    """
    graphs = []
    for is_honest_first in (True, False):
        graph = Graph()
        first = graph.add(ROOT, [0], grant(1, 4))
        if not is_honest_first:
            graph.add(1, [first], "leave", which=1)
        act = graph.add(1, [first], grant(2, 3))
        graph.add(1, [act], "leave")
        if is_honest_first:
            graph.add(1, [first], "leave", which=1)
        graphs.append(graph)
    assert graphs[0].roles() == graphs[1].roles() == {0: Role.ROOT, 1: Role.OWNER, 2: Role.SHARE}
