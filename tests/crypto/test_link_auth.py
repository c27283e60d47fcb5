"""The bytes of the link handshake: bound to roles, kind, certificate and what went before."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.errors import OpenError, SignatureError
from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.link_auth import (
    INTRO_SIZE_MAX,
    link_binding,
    open_intro,
    pad_intro,
    seal_intro,
    sign_accept,
    sign_hello,
    sign_proof,
    transcript,
    unpad_intro,
    verify_accept,
    verify_hello,
    verify_proof,
)
from crypto.primitives import wrap
from tests.crypto.seeded import Seeded
from tests.crypto.test_primitives import flips

CLIENT = DeviceKeys.generate(Seeded("client"))
SERVER = DeviceKeys.generate(Seeded("server"))
QUIC, TLS = 1, 2
NONCE = b"\x0c" * 32
BINDING = link_binding(b"a certificate in DER")


def test_the_binding_is_a_hash_of_the_certificate() -> None:
    assert BINDING == sha256(b"holdfast/1 link certificate\0a certificate in DER").digest()
    assert BINDING != link_binding(b"another certificate in DER")


@given(st.binary(max_size=4000))
def test_what_is_padded_comes_back(intro: bytes) -> None:
    padded = pad_intro(intro)
    assert len(padded) % 1024 == 0
    assert len(padded) - len(intro) <= 4 + 1023
    assert unpad_intro(padded) == intro


def test_intros_are_bounded() -> None:
    assert len(pad_intro(bytes(INTRO_SIZE_MAX - 4))) == INTRO_SIZE_MAX
    with pytest.raises(AssertionError):
        pad_intro(bytes(INTRO_SIZE_MAX - 3))


BAD_PADDINGS = {
    "empty": b"",
    "no step": pad_intro(b"intro")[:-1],
    "a step too many": pad_intro(b"intro") + bytes(1024),
    "too long": (INTRO_SIZE_MAX + 1000).to_bytes(4, "big") + bytes(INTRO_SIZE_MAX + 1020),
    "beyond the end": b"\0\0\x04\0" + bytes(1020),
    "far beyond the end": b"\xff" * 1024,
    "something in the fill": pad_intro(b"intro")[:-1] + b"\1",
}


@pytest.mark.parametrize("case", BAD_PADDINGS)
def test_padding_has_one_form(case: str) -> None:
    with pytest.raises(OpenError):
        unpad_intro(BAD_PADDINGS[case])


def test_an_intro_opens_for_its_server_on_its_link_only() -> None:
    box = seal_intro(SERVER.dh_public, QUIC, NONCE, BINDING, b"intro")
    assert len(box) == 1024 + 48
    assert open_intro(SERVER, QUIC, NONCE, BINDING, box) == b"intro"
    for keys, kind, nonce, binding in (
        (CLIENT, QUIC, NONCE, BINDING),
        (SERVER, TLS, NONCE, BINDING),
        (SERVER, QUIC, bytes(32), BINDING),
        (SERVER, QUIC, NONCE, link_binding(b"in the middle")),
    ):
        with pytest.raises(OpenError) as caught:
            open_intro(keys, kind, nonce, binding, box)
        assert caught.value.args == ()
    for bad in flips(box)[::5]:
        with pytest.raises(OpenError):
            open_intro(SERVER, QUIC, NONCE, BINDING, bad)


def test_a_box_too_large_is_refused_unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    context = (b"\x01\x01", NONCE, BINDING)
    large = (INTRO_SIZE_MAX + 1020).to_bytes(4, "big") + bytes(INTRO_SIZE_MAX + 1020)
    box = wrap(SERVER.dh_public, "link hello box", *context, plaintext=large)

    def never(*_: object, **__: object) -> bytes:
        raise AssertionError("it was opened")

    monkeypatch.setattr("crypto.keys.unwrap", never)
    with pytest.raises(OpenError):
        open_intro(SERVER, QUIC, NONCE, BINDING, box)


def test_a_hello_means_one_server_on_one_link() -> None:
    signature = sign_hello(CLIENT, QUIC, NONCE, BINDING, SERVER.device_id)
    good = (QUIC, NONCE, BINDING, CLIENT.device_id, SERVER.device_id)
    verify_hello(CLIENT.sign_public, signature, *good)
    stranger = DeviceId(bytes(32))
    for bad in (
        (TLS, *good[1:]),
        (QUIC, bytes(32), *good[2:]),
        (QUIC, NONCE, bytes(32), *good[3:]),
        (QUIC, NONCE, BINDING, stranger, SERVER.device_id),
        (QUIC, NONCE, BINDING, CLIENT.device_id, stranger),
        (QUIC, NONCE, BINDING, SERVER.device_id, CLIENT.device_id),
    ):
        with pytest.raises(SignatureError):
            verify_hello(CLIENT.sign_public, signature, *bad)
    with pytest.raises(SignatureError):
        verify_hello(SERVER.sign_public, signature, *good)


def test_the_transcript_covers_everything_that_both_saw() -> None:
    seen = (b"hello", bytes(32), BINDING, CLIENT.device_id, SERVER.device_id)
    t = transcript(*seen)
    swapped = (*seen[:3], seen[4], seen[3])
    changed = [
        (b"hellO", *seen[1:]),
        (seen[0], b"\1" * 32, *seen[2:]),
        (*seen[:2], bytes(32), *seen[3:]),
        swapped,
    ]
    assert len({t, *(transcript(*other) for other in changed)}) == 5


def test_accept_and_proof_are_not_each_other() -> None:
    t = b"\x0d" * 32
    accept, proof = sign_accept(SERVER, t), sign_proof(CLIENT, t, b"accept")
    verify_accept(SERVER.sign_public, accept, t)
    verify_proof(CLIENT.sign_public, proof, t, b"accept")
    with pytest.raises(SignatureError):
        verify_accept(SERVER.sign_public, accept, bytes(32))
    with pytest.raises(SignatureError):
        verify_proof(CLIENT.sign_public, proof, t, b"another accept")
    with pytest.raises(SignatureError):
        verify_proof(CLIENT.sign_public, proof, bytes(32), b"accept")
    with pytest.raises(SignatureError):  # reflected to its author in the other role
        verify_proof(SERVER.sign_public, accept, t, b"accept")
    with pytest.raises(SignatureError):
        verify_accept(CLIENT.sign_public, proof, t)
