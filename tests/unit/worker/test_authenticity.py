"""The proofs of what comes over the link, and that the key behind them is shown to nobody but members."""

import msgspec
import pytest

from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.liveness import LifeSign
from hanas_core.members.registry import Registration
from hanas_overseer import picture
from hanas_overseer.observer import Observation
from hanas_serving.budget import Budget
from hanas_worker.neighbours.authenticity import Verifier, is_proof, mac
from hanas_worker.ops import status
from hanas_worker.ops.memory import MemoryState
from tests.unit.core.scenery import bare_folder, serve
from tests.unit.worker.nodes import backup_of

KEY = "5" * 32


def test_a_proof_is_about_one_content_of_one_kind_under_one_key() -> None:
    proof = mac(KEY, "keep-alive", b"content")
    assert proof == "f0a8833093f23c833fac0519783a2811495fa9d6227054187c5a33931cb251a1"  # as openssl says
    assert is_proof(proof, KEY, "keep-alive", b"content")
    for key, what, content in (
        ("6" * 32, "keep-alive", b"content"),
        (KEY, "answer", b"content"),
        (KEY, "keep-alive", b""),
    ):
        assert not is_proof(proof, key, what, content)
    for other in ("", proof.upper(), proof[:-1], proof + "0", "ä" * 64):
        assert not is_proof(other, KEY, "keep-alive", b"content")


def test_nobody_waits_behind_a_gate_without_a_key() -> None:
    with pytest.raises(AssertionError, match="empty key"):
        Verifier("", 1.0, lambda: 0.0)


async def test_no_document_shows_the_key() -> None:
    node = backup_of(serve(bare_folder(), 1), bare_folder())
    shown = node.presence.content()
    key = node.host.link_key
    assert shown.link_key == key
    assert key not in msgspec.json.encode(status.document(node, MemoryState.of(Budget()))).decode()
    presence = msgspec.structs.replace(shown, logs=(LogPresence(),))
    observation = Observation(registrations=(Registration("b", 0, "http://b:1", "http://b:2"),), presences=(presence,))
    assert isinstance(observation.presences[0], Presence)
    document = picture.cluster("f" * 32, observation, [LifeSign(presence, True, 0.0, True)], (), {})
    assert document.members[0].alive
    assert key not in msgspec.json.encode(document).decode()
