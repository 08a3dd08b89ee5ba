"""What a worker remembers of a log, and shows to the next run of itself and to the others."""

from hanas_core.log.positions import NOWHERE, Position
from hanas_core.members.documents import LogPresence, Presence
from hanas_core.members.witness import Witness
from hanas_serving.runtime import Runtime
from hanas_worker.host import settings
from hanas_worker.host.host import Host
from hanas_worker.log.state import LogState
from tests.unit.core.scenery import FOLDER_ID, bare_folder, claim_of
from tests.unit.worker.test_peers import REGISTRATIONS, presence

HERE, THERE = Position(3, 1, 8192), Position(2, 7, 4096)


async def log_state() -> LogState:
    return LogState(Host(settings.read({"WORKER_ID": "me"}), bare_folder(), FOLDER_ID, Runtime()))


def showing(member: str, witness: Witness) -> Presence:
    return presence(member, logs=(LogPresence(witness=witness),))


async def test_a_worker_knows_what_it_has_read_and_does_not_forget_it() -> None:
    state = await log_state()
    assert state.witness() == Witness(FOLDER_ID)
    state.read_to = HERE
    state.member.see(0.0, claim_of(3, "b"), 0)
    assert state.witness() == Witness(FOLDER_ID, 3, HERE)
    state.read_to = NOWHERE  # it reads the log anew
    assert state.witness() == Witness(FOLDER_ID, 3, HERE)


async def test_a_worker_passes_on_what_the_others_know_and_what_it_knew_itself() -> None:
    state = await log_state()
    peers = state.host.peers
    peers.find([showing("me", Witness(FOLDER_ID, 3, THERE)), None])
    assert state.witness() == Witness(FOLDER_ID, 3, THERE)
    peers.update(0.0, REGISTRATIONS, [None, showing("one", Witness(FOLDER_ID, 2, HERE)), presence("two")])
    assert state.witness() == Witness(FOLDER_ID, 3, HERE)


async def test_what_is_known_of_another_folder_is_not_passed_on() -> None:
    state = await log_state()
    state.host.peers.update(0.0, REGISTRATIONS, [None, showing("one", Witness("0" * 32, 9, HERE)), None])
    assert state.witness() == Witness(FOLDER_ID)
