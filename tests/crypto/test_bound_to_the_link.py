"""What two sides sign or confirm names the link that it went over, so that nobody can carry it to
another (ATTACKS A24, A25).
"""

from __future__ import annotations

from itertools import combinations

from crypto.ids import DeviceId
from crypto.link_auth import transcript
from crypto.pairing_keys import PairingKey, Side, pairing_transcript

ONE, OTHER = b"1" * 32, b"2" * 32
CLIENT, SERVER = DeviceId(b"c" * 32), DeviceId(b"s" * 32)


def test_a_pairing_s_transcript_is_of_both_messages_and_the_link() -> None:
    transcripts = [
        pairing_transcript(hello, reply, binding)
        for hello in (b"hello", b"hell")
        for reply in (b"reply", b"oreply")
        for binding in (ONE, OTHER)
    ]
    assert len(set(transcripts)) == 8


def test_a_scanned_code_s_confirmation_is_good_on_its_link_only() -> None:
    """Both sides have the key from the code alone: nothing else tells the links apart."""
    key = PairingKey.from_qr_secret(b"q" * 32)
    here, there = (pairing_transcript(b"hello", b"reply", binding) for binding in (ONE, OTHER))
    for side in Side:
        assert key.confirmation(side, here) != key.confirmation(side, there)
    assert key.check_number(here) != key.check_number(there)


def test_a_handshake_s_transcript_is_of_all_its_parts() -> None:
    base = (b"hello", b"n" * 32, ONE, CLIENT, SERVER)
    changed = (b"hallo", b"m" * 32, OTHER, SERVER, CLIENT)
    found = {transcript(*base)}
    for size in (1, 2):
        for places in combinations(range(5), size):
            parts = [changed[n] if n in places else base[n] for n in range(5)]
            found.add(transcript(*parts))  # type: ignore[arg-type]
    assert len(found) == 1 + 5 + 10
