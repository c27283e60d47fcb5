import pytest

from protocol.changesets import check_fork
from protocol.log_outcomes import ForkProof
from tests.protocol.people import Person, Place


@pytest.mark.row("A14")
def test_a_fork_proof_and_the_accepted_changeset_convince_a_stranger() -> None:
    anna = Person(31)
    place = Place.found(anna)
    first, second = place.draft_and_seal([[1]]), place.draft_and_seal([[2]])
    place.take(first)
    proof = place.receive(second.changeset.wire)
    assert isinstance(proof, ForkProof)
    assert proof.our_hash == first.changeset.hash
    slot = check_fork(first.changeset.evidence, proof.evidence, anna.device.sign_public)
    assert (slot.log_id, slot.seq) == proof.position
