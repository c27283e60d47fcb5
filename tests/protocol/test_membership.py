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
    first = graph.add(ROOT, [0], grant(1, 4), grant(2, 2))
    left = graph.add(2, [first], "leave")
    graph.add(ROOT, [first], "leave")
    assert graph.roles() == {0: Role.ROOT, 1: Role.OWNER}
    graph.add(1, [left], grant(2, 1))
    assert graph.roles()[2] == Role.READ


def test_an_admin_that_leaves_keeps_what_it_did_before_but_not_beside() -> None:
    graph = Graph()
    first = graph.add(ROOT, [0], grant(1, 4))
    before = graph.add(1, [first], grant(2, 2))
    graph.add(1, [before], "leave", grant(3, 1))
    graph.add(1, [before], grant(4, 2), which=1)
    assert graph.roles() == {0: Role.ROOT, 2: Role.WRITE, 3: Role.READ}


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


def put_out(graph: Graph, *others: int) -> None:
    """The root removes these people, and whoever left: only from then on is a leave final."""
    roles = graph.roles()
    gone = [number for number in range(PEOPLE) if number not in roles]
    graph.add(ROOT, graph.heads(), *map(remove, [*gone, *others]))


@pytest.mark.row("A19")
@given(SEEDS)
@settings(max_examples=300, deadline=None)
def test_chains_of_removed_people_and_accomplices_change_nothing(seed: int) -> None:
    random = Random(seed)
    graph = random_graph(random, 12)
    graph.is_revoked = False
    put_out(graph, random.randint(1, 3))
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
    graph.is_revoked = False
    put_out(graph)
    before = graph.roles()
    gang = [number for number in range(PEOPLE) if before.get(number, 0) < Role.SHARE]
    assume(gang)
    attack(random, graph, gang)
    after = graph.roles()
    assert all(after.get(n) == role for n, role in before.items() if n not in gang)
    assert all(after.get(n, 0) <= before.get(n, 0) for n in gang)


def test_who_left_takes_back_what_it_did_until_somebody_higher_removes_it() -> None:
    """The open risk 7 of THREATS, and what closes it."""
    for is_removed in (False, True):
        graph = Graph()
        first = graph.add(ROOT, [0], grant(1, 4))
        graph.add(1, [graph.add(1, [first], grant(2, 3))], "leave")
        if is_removed:
            put_out(graph)
        assert graph.roles() == {0: Role.ROOT, 2: Role.SHARE}
        graph.add(1, [first], "leave", which=1)  # as if it had left before it let anybody in
        assert graph.roles() == ({0: Role.ROOT, 2: Role.SHARE} if is_removed else {0: Role.ROOT})


def test_no_rule_tells_a_second_leave_from_a_first() -> None:
    """Why it is open: the two histories are one set of entries. In one the act was before a leave,
    and a leave is made up beside it; in the other the act and its leave are made up beside a leave.
    The act is to stand in the one and to be void in the other.
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
    assert graphs[0].roles() == graphs[1].roles() == {0: Role.ROOT}
