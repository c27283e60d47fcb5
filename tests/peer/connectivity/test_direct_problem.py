"""What is said of a direct way that is not there is true, as far as anybody can know."""

from __future__ import annotations

import pytest

from peer.connectivity import direct_problem as said
from peer.connectivity.direct_problem import changes_ports, direct_problem
from protocol.candidates import Candidate, CandidateKind

LOCAL = Candidate(CandidateKind.LOCAL, "10.0.0.2", 22330)
LOCAL6 = Candidate(CandidateKind.LOCAL, "2600:cafe::10:2", 22330)
SEEN = Candidate(CandidateKind.OBSERVED, "11.0.0.10", 32330)
ALSO = Candidate(CandidateKind.OBSERVED, "11.0.0.10", 32331)
ELSEWHERE = Candidate(CandidateKind.OBSERVED, "11.0.0.11", 32330)
SEEN6 = Candidate(CandidateKind.OBSERVED, "2600:cafe::10:2", 22330)
MAPPED = Candidate(CandidateKind.MAPPED, "11.0.0.10", 22330)


@pytest.mark.parametrize(
    ("own", "theirs", "sentence"),
    [
        ([LOCAL, SEEN], [], said.NO_ADDRESSES),
        ([LOCAL], [LOCAL, ELSEWHERE], said.NOT_SEEN),
        ([LOCAL, SEEN], [LOCAL], said.NOT_SEEN_THERE),
        ([LOCAL, SEEN], [LOCAL6], said.NO_COMMON_FAMILY),
        ([LOCAL6, SEEN6], [LOCAL, ELSEWHERE], said.NO_COMMON_FAMILY),
        ([LOCAL, SEEN, ALSO], [LOCAL, ELSEWHERE], said.OURS_CHANGES),
        ([LOCAL, ELSEWHERE], [LOCAL, SEEN, ALSO], said.THEIRS_CHANGES),
        ([LOCAL, SEEN, ALSO], [LOCAL, SEEN, ALSO], said.BOTH_CHANGE),
        ([LOCAL6, LOCAL, SEEN], [LOCAL, ELSEWHERE], "None of the 3 addresses"),
    ],
)
def test_each_reason_has_its_sentence(
    own: list[Candidate], theirs: list[Candidate], sentence: str
) -> None:
    assert direct_problem(own, theirs, 3).startswith(sentence)
    assert direct_problem(own, theirs, 3).endswith(".")


@pytest.mark.parametrize(
    ("candidates", "changes"),
    [
        ([], False),
        ([SEEN], False),
        ([SEEN, SEEN], False),
        ([SEEN, ELSEWHERE, SEEN6], False),
        ([LOCAL, MAPPED, SEEN], False),
        ([SEEN, ALSO], True),
    ],
)
def test_two_ports_of_one_address_show_what_the_router_does(
    candidates: list[Candidate], changes: bool
) -> None:
    assert changes_ports(candidates) is changes


def test_what_was_told_and_not_tried_is_said() -> None:
    assert direct_problem([LOCAL, SEEN], [LOCAL, ELSEWHERE], 0) == said.TRIED_ENOUGH
