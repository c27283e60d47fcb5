"""The handshake of CRYPTO 7, and the attacks that it names: each must end without a result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.ids import DeviceId
from crypto.keys import DeviceKeys
from crypto.link_auth import (
    open_intro,
    seal_intro,
    sign_accept,
    sign_hello,
    sign_proof,
    transcript,
)
from protocol.errors import NotAuthenticated
from protocol.handshake import (
    ACCEPT,
    HELLO,
    INTRO_ENTRIES_MAX,
    PROOF,
    ClientHandshake,
    PeerKeys,
    ServerHandshake,
)
from protocol.link import Link, LinkKind
from protocol.links import authenticate_client, authenticate_server
from protocol.wire import HANDSHAKE_FRAME_LENGTH_MAX, decode, encode
from tests.protocol.link_stage import peer_keys, serving

QUIC, TLS = LinkKind.QUIC, LinkKind.TLS
BINDING, OTHER_BINDING = b"b" * 32, b"o" * 32
RANDOM = Random(7)
ALICE, BOB, MALLORY = (DeviceKeys.generate(RANDOM.randbytes) for _ in range(3))
KNOWN = {keys.device_id: peer_keys(keys) for keys in (ALICE, MALLORY)}


def client(
    keys: DeviceKeys = ALICE,
    server: DeviceKeys = BOB,
    kind: LinkKind = QUIC,
    binding: bytes = BINDING,
    entries: tuple[bytes, ...] = (),
) -> ClientHandshake:
    return ClientHandshake(keys, peer_keys(server), kind, binding, RANDOM.randbytes, entries)


def server(
    keys: DeviceKeys = BOB,
    kind: LinkKind = QUIC,
    binding: bytes = BINDING,
    known: dict[DeviceId, PeerKeys] | None = None,
) -> ServerHandshake:
    devices = KNOWN if known is None else known
    return ServerHandshake(
        keys, kind, binding, RANDOM.randbytes, lambda device_id, entries: devices.get(device_id)
    )


def frame_of(side: ClientHandshake | ServerHandshake, number: int) -> bytes:
    ((found, payload),) = side.frames_to_send()
    assert found == number
    return payload


def refused(side: ClientHandshake | ServerHandshake, number: int, payload: bytes) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        side.receive(number, payload)
    assert str(caught.value) == "the handshake failed"
    assert caught.value.__cause__ is None
    assert side.frames_to_send() == []
    assert side.result is None


def run(a: ClientHandshake, b: ServerHandshake) -> None:
    b.receive(HELLO, frame_of(a, HELLO))
    a.receive(ACCEPT, frame_of(b, ACCEPT))
    b.receive(PROOF, frame_of(a, PROOF))


@pytest.mark.parametrize("kind", list(LinkKind))
def test_two_devices_that_know_each_other(kind: LinkKind) -> None:
    a, b = client(kind=kind), server(kind=kind)
    run(a, b)
    assert a.result is not None
    assert b.result is not None
    assert a.result.peer == peer_keys(BOB)
    assert b.result.peer == peer_keys(ALICE)
    assert a.result.link_id == b.result.link_id


def test_each_link_has_another_id() -> None:
    ids = set()
    for _ in range(10):
        a = client()
        run(a, server())
        assert a.result is not None
        ids.add(a.result.link_id)
    assert len(ids) == 10


@given(st.lists(st.binary(max_size=200), max_size=INTRO_ENTRIES_MAX))
@settings(max_examples=20, deadline=None)
def test_ledger_entries_arrive_and_lengths_say_little(entries: list[bytes]) -> None:
    seen: list[list[bytes]] = []

    def lookup(device_id: DeviceId, brought: list[bytes]) -> PeerKeys:
        seen.append(brought)
        return peer_keys(ALICE)

    a = client(entries=tuple(entries))
    hello = frame_of(a, HELLO)
    assert len(hello) <= HANDSHAKE_FRAME_LENGTH_MAX
    assert (len(hello) - 88) % 1_024 in range(-3, 3)  # padded, but for the length of a length
    b = ServerHandshake(BOB, QUIC, BINDING, RANDOM.randbytes, lookup)
    b.receive(HELLO, hello)
    assert seen == [entries]


@given(st.lists(st.integers(0, 65_000), max_size=40))
@settings(max_examples=30, deadline=None)
def test_of_many_or_long_entries_the_newest_that_fit_are_brought(sizes: list[int]) -> None:
    entries = [bytes([number]) * size for number, size in enumerate(sizes)]
    seen: list[list[bytes]] = []

    def lookup(device_id: DeviceId, brought: list[bytes]) -> PeerKeys:
        seen.append(brought)
        return peer_keys(ALICE)

    hello = frame_of(client(entries=tuple(entries)), HELLO)
    assert len(hello) <= HANDSHAKE_FRAME_LENGTH_MAX
    ServerHandshake(BOB, QUIC, BINDING, RANDOM.randbytes, lookup).receive(HELLO, hello)
    (brought,) = seen
    assert brought == entries[len(entries) - len(brought) :]
    if len(brought) < min(len(entries), INTRO_ENTRIES_MAX):
        assert sum(map(len, brought)) + len(entries[-len(brought) - 1]) > 15_000


def test_too_many_entries_are_refused() -> None:
    nonce = RANDOM.randbytes(32)
    signature = sign_hello(ALICE, QUIC, nonce, BINDING, BOB.device_id)
    for count, is_refused in ((INTRO_ENTRIES_MAX, False), (INTRO_ENTRIES_MAX + 1, True)):
        intro = encode([ALICE.device_id, [b""] * count, signature])
        box = seal_intro(BOB.dh_public, QUIC, nonce, BINDING, intro)
        b, hello = server(), encode([1, int(QUIC), nonce, box])
        if is_refused:
            refused(b, HELLO, hello)
        else:
            b.receive(HELLO, hello)


# The attacks


def test_1_a_certificate_in_the_middle() -> None:
    refused(server(binding=OTHER_BINDING), HELLO, frame_of(client(), HELLO))


def test_2_a_middle_that_speaks_to_both_with_its_own_certificate_on_real_links() -> None:
    """Mallory ends both TLS channels and passes frames on: the bindings differ."""

    async def scenario() -> None:
        async with serving(admits=False) as bobs, serving(admits=False) as mallorys:
            to_mallory = await mallorys.dial(TLS)
            from_alice = await mallorys.links.get()
            to_bob = await bobs.dial(TLS)
            from_mallory = await bobs.links.get()

            async def pass_on(source: Link, target: Link) -> None:
                while (frame := await source.receive()) is not None:
                    target.send(frame[0], [frame[1]])
                target.abort()

            async def bob() -> None:
                first = await from_mallory.receive()
                assert first is not None
                with pytest.raises(NotAuthenticated):
                    await authenticate_server(
                        from_mallory, first, BOB, lambda device_id, entries: KNOWN.get(device_id)
                    )

            async def alice() -> None:
                with pytest.raises(NotAuthenticated):
                    await authenticate_client(to_mallory, ALICE, peer_keys(BOB))

            async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
                for work in (pass_on(from_alice, to_bob), pass_on(to_bob, from_alice)):
                    tasks.create_task(work)
                tasks.create_task(bob())
                tasks.create_task(alice())

    asyncio.run(scenario())


def test_3_a_hello_for_one_kind_of_link_carried_to_the_other() -> None:
    hello = frame_of(client(kind=QUIC), HELLO)
    refused(server(kind=TLS), HELLO, hello)
    version, _, nonce, box = decode(hello)
    refused(server(kind=TLS), HELLO, encode([version, int(TLS), nonce, box]))


def test_4_a_hello_replayed_gets_an_accept_that_is_of_no_use() -> None:
    hello = frame_of(client(), HELLO)
    b = server()
    b.receive(HELLO, hello)
    accept = frame_of(b, ACCEPT)
    assert b.result is None
    forged = sign_proof(MALLORY, RANDOM.randbytes(32), accept)
    refused(b, PROOF, encode([forged]))


def test_5_a_hello_and_its_proof_replayed() -> None:
    a, b = client(), server()
    hello = frame_of(a, HELLO)
    b.receive(HELLO, hello)
    a.receive(ACCEPT, frame_of(b, ACCEPT))
    proof = frame_of(a, PROOF)
    b.receive(PROOF, proof)
    again = server()
    again.receive(HELLO, hello)
    again.frames_to_send()
    refused(again, PROOF, proof)


def test_6_unknown_key_share() -> None:
    """Alice talks to Mallory, who shows Alice's Hello to Bob as it is."""
    refused(server(), HELLO, frame_of(client(server=MALLORY), HELLO))


def test_7_unknown_key_share_sealed_again() -> None:
    """Mallory may open what was for her and seal it to Bob, but Alice's signature names Mallory."""
    _, kind, nonce, box = decode(frame_of(client(server=MALLORY), HELLO))
    intro = open_intro(MALLORY, kind, nonce, BINDING, box)
    sealed = seal_intro(BOB.dh_public, kind, nonce, BINDING, intro)
    refused(server(), HELLO, encode([1, kind, nonce, sealed]))


def test_8_a_link_to_oneself() -> None:
    known = {BOB.device_id: peer_keys(BOB)}
    refused(server(known=known), HELLO, frame_of(client(keys=BOB, server=BOB), HELLO))


@pytest.mark.row("A25")
def test_9_a_prober_who_knows_no_key_of_bob() -> None:
    for size in (0, 48, 1_072, 15_000):
        hello = encode([1, int(QUIC), RANDOM.randbytes(32), RANDOM.randbytes(size)])
        refused(server(), HELLO, hello)


@pytest.mark.row("A25")
def test_10_a_prober_who_knows_bobs_keys_but_is_nobody() -> None:
    stranger = DeviceKeys.generate(RANDOM.randbytes)
    refused(server(), HELLO, frame_of(client(keys=stranger), HELLO))


def test_11_an_impostor_of_bob_learns_nothing_and_proves_nothing() -> None:
    a = client()
    hello = frame_of(a, HELLO)
    refused(server(keys=MALLORY), HELLO, hello)  # it cannot even read who calls
    nonce = RANDOM.randbytes(32)
    t = transcript(hello, nonce, BINDING, ALICE.device_id, BOB.device_id)
    refused(a, ACCEPT, encode([1, nonce, sign_accept(MALLORY, t)]))


@pytest.mark.row("A25")
def test_12_an_impostor_of_alice() -> None:
    nonce = RANDOM.randbytes(32)
    signature = sign_hello(MALLORY, QUIC, nonce, BINDING, BOB.device_id)
    intro = encode([ALICE.device_id, [], signature])
    box = seal_intro(BOB.dh_public, QUIC, nonce, BINDING, intro)
    refused(server(), HELLO, encode([1, int(QUIC), nonce, box]))


@pytest.mark.row("A25")
def test_13_a_removed_member_gets_no_accept() -> None:
    known = {device_id: keys for device_id, keys in KNOWN.items() if device_id != ALICE.device_id}
    refused(server(known=known), HELLO, frame_of(client(), HELLO))


@pytest.mark.row("A01")
def test_a_lookup_that_names_another_device_is_no_answer() -> None:
    nonce = RANDOM.randbytes(32)
    signature = sign_hello(MALLORY, QUIC, nonce, BINDING, BOB.device_id)
    intro = encode([MALLORY.device_id, [], signature])
    box = seal_intro(BOB.dh_public, QUIC, nonce, BINDING, intro)
    b = server(known={MALLORY.device_id: peer_keys(ALICE)})
    refused(b, HELLO, encode([1, int(QUIC), nonce, box]))
    # Nor if the signature happens to be that device's own.
    signature = _signed_by_alice_for(MALLORY.device_id, nonce)
    box = seal_intro(
        BOB.dh_public, QUIC, nonce, BINDING, encode([MALLORY.device_id, [], signature])
    )
    b = server(known={MALLORY.device_id: peer_keys(ALICE)})
    refused(b, HELLO, encode([1, int(QUIC), nonce, box]))


def _signed_by_alice_for(device_id: DeviceId, nonce: bytes) -> bytes:
    return ALICE.sign("link hello", b"\1\1", nonce, BINDING, device_id, BOB.device_id)


def test_reflection_and_frames_out_of_place() -> None:
    a, b = client(), server()
    hello = frame_of(a, HELLO)
    refused(a, HELLO, hello)
    refused(b, PROOF, hello)
    refused(b, ACCEPT, hello)
    b.receive(HELLO, hello)
    accept = frame_of(b, ACCEPT)
    refused(b, HELLO, hello)
    refused(b, ACCEPT, accept)
    a.receive(ACCEPT, accept)
    with pytest.raises(NotAuthenticated):
        a.receive(ACCEPT, accept)


@pytest.mark.parametrize("number", [HELLO, ACCEPT, PROOF])
def test_every_changed_byte_is_refused(number: int) -> None:
    def stage() -> tuple[ClientHandshake | ServerHandshake, bytes]:
        a, b = client(), server()
        hello = frame_of(a, HELLO)
        if number == HELLO:
            return b, hello
        b.receive(HELLO, hello)
        accept = frame_of(b, ACCEPT)
        if number == ACCEPT:
            return a, accept
        a.receive(ACCEPT, accept)
        return b, frame_of(a, PROOF)

    side, good = stage()
    step = max(1, len(good) // 60)
    for at in [*range(0, min(48, len(good))), *range(48, len(good), step)]:
        flipped = good[:at] + bytes((good[at] ^ RANDOM.choice((1, 128)),)) + good[at + 1 :]
        refused(side, number, flipped)
    for wrong in (good[:-1], good + b"\0", b"", encode([]), encode(None)):
        refused(side, number, wrong)
    side.receive(number, good)


@given(st.sampled_from([HELLO, ACCEPT, PROOF, 0, 4, 255]), st.binary(max_size=2_000))
@settings(max_examples=100, deadline=None)
def test_any_bytes_raise_only_one_error(number: int, payload: bytes) -> None:
    makers: list[Callable[[], ClientHandshake | ServerHandshake]] = [client, server]
    for make in makers:
        side = make()
        side.frames_to_send()
        refused(side, number, payload)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-5, 5)
        | st.binary(max_size=64)
        | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=5),
        max_leaves=8,
    )
)
@settings(max_examples=100, deadline=None)
def test_any_value_inside_the_box_raises_only_one_error(intro: object) -> None:
    nonce = RANDOM.randbytes(32)
    box = seal_intro(BOB.dh_public, QUIC, nonce, BINDING, encode(intro))
    refused(server(), HELLO, encode([1, int(QUIC), nonce, box]))
